// Walks libtorch's autograd graph and pulls its nodes one by one. libtorch's backward engine is never called.

#include "pc_tch.h"
#include "guarded.h"
#include "pc_tch_shared.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/add.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mul.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/input_metadata.h>
#include <torch/csrc/autograd/node.h>
#include <torch/csrc/autograd/variable.h>

#include <atomic>
#include <cstring>
#include <exception>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

using at::Tensor;
using pc_tch::give;
using pc_tch::guarded;
using pc_tch::of;
using torch::autograd::AccumulateGrad;
using torch::autograd::Edge;
using torch::autograd::Node;
using torch::autograd::variable_list;

struct pc_tch_graph {
  std::vector<c10::intrusive_ptr<Node>> nodes;
  std::vector<std::string> names;
  std::unordered_map<const Node*, size_t> index;
};

namespace {

std::atomic<size_t> live{0};

// Nodes that can come next are kept in the engine's own order, so that sums are taken in the same order and come out bit for bit.
struct Later {
  bool operator()(const Node* a, const Node* b) const { return a->sequence_nr() < b->sequence_nr(); }
};

void walk(pc_tch_graph& graph, const std::vector<Edge>& roots) {
  std::unordered_map<Node*, size_t> waiting;
  std::vector<Node*> stack;
  auto visit = [&](Node* node) {
    if (waiting.emplace(node, 0).second) stack.push_back(node);
  };
  for (const Edge& root : roots) visit(root.function.get());
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    for (const Edge& edge : node->next_edges()) {
      if (edge.is_valid()) {
        visit(edge.function.get());
        ++waiting[edge.function.get()];
      }
    }
  }
  std::priority_queue<Node*, std::vector<Node*>, Later> ready;
  for (const Edge& root : roots) {
    Node* node = root.function.get();
    if (waiting[node] == 0 && graph.index.emplace(node, 0).second) ready.push(node);
  }
  graph.nodes.reserve(waiting.size());
  graph.names.reserve(waiting.size());
  while (!ready.empty()) {
    Node* node = ready.top();
    ready.pop();
    graph.index[node] = graph.nodes.size();
    graph.nodes.push_back(node->getptr());
    graph.names.push_back(node->name());
    for (const Edge& edge : node->next_edges()) {
      if (edge.is_valid() && --waiting[edge.function.get()] == 0) ready.push(edge.function.get());
    }
  }
}

bool is_leaf(const Node& node) { return dynamic_cast<const AccumulateGrad*>(&node) != nullptr; }

// Whether hooks want to see what passes a node.
bool is_hooked(Node& node) {
  return !node.tensor_pre_hooks().empty() || !node.retains_grad_hooks().empty() || !node.pre_hooks().empty() || !node.post_hooks().empty();
}

// Whether nothing else can see the numbers of a tensor.
bool is_ours(const Tensor& value) {
  return value.use_count() == 1 && value.layout() == at::kStrided && value.is_non_overlapping_and_dense() && value.has_storage() &&
      value.storage().use_count() == 1;
}

void add(Tensor& sum, const Tensor& x) {
  if (!sum.defined()) {
    sum = x;
  } else if (sum.layout() != at::kStrided && x.layout() == at::kStrided) {
    sum = x + sum;
  } else if (is_ours(sum)) {
    sum.add_(x);
  } else {
    sum = sum + x;
  }
}

// What the engine does around a node: its device and stream, hooks before, the node, checks of what it returns, hooks after.
variable_list run(Node& node, variable_list&& inputs, bool last) {
  std::optional<c10::Stream> own = node.stream();
  if (own) {
    // Sums of what arrives are taken on the current stream, and nothing here waits for another.
    c10::Stream current = c10::impl::VirtualGuardImpl(own->device_type()).getStream(own->device());
    TORCH_CHECK(*own == current, "its forward pass ran on another stream of ", own->device(), " than the current one");
  }
  c10::OptionalStreamGuard guard(own);
  for (const auto& hook : node.tensor_pre_hooks()) inputs = (*hook)(inputs);
  if (last) {
    for (const auto& entry : node.retains_grad_hooks()) inputs = (*entry.second)(inputs);
  }
  for (const auto& hook : node.pre_hooks()) inputs = (*hook)(inputs);
  variable_list seen;
  if (!node.post_hooks().empty()) seen = inputs;
  variable_list outputs = node(std::move(inputs));
  torch::autograd::validate_outputs(node.next_edges(), outputs, [&](const std::string& why) {
    return "Function " + node.name() + " returned an " + why;
  });
  for (const auto& hook : node.post_hooks()) outputs = (*hook)(outputs, seen);
  return outputs;
}

}  // namespace

extern "C" {

char* pc_tch_graph_new(const tensor* roots, size_t count, pc_tch_graph** graph) {
  return guarded([&] {
    std::vector<Edge> edges;
    for (size_t i = 0; i < count; ++i) {
      const Tensor& root = of(roots[i]);
      TORCH_CHECK(root.defined(), "it is undefined");
      TORCH_CHECK(root.requires_grad(), "it does not depend on anything that requires a gradient");
      edges.push_back(torch::autograd::impl::gradient_edge(root));
    }
    auto made = std::make_unique<pc_tch_graph>();
    walk(*made, edges);
    *graph = made.release();
    ++live;
  });
}

void pc_tch_graph_free(pc_tch_graph* graph) {
  if (graph == nullptr) return;
  delete graph;
  --live;
}

size_t pc_tch_live(void) { return live.load(); }

size_t pc_tch_nodes(const pc_tch_graph* graph) { return graph->nodes.size(); }

const char* pc_tch_name(const pc_tch_graph* graph, size_t node) { return graph->names[node].c_str(); }

int pc_tch_kind(const pc_tch_graph* graph, size_t node) {
  if (is_leaf(*graph->nodes[node])) return PC_TCH_LEAF;
  return is_hooked(*graph->nodes[node]) ? PC_TCH_HOOKED : PC_TCH_OPERATION;
}

size_t pc_tch_slots(const pc_tch_graph* graph, size_t node) { return graph->nodes[node]->num_inputs(); }

size_t pc_tch_edges(const pc_tch_graph* graph, size_t node) { return graph->nodes[node]->num_outputs(); }

void pc_tch_edge(const pc_tch_graph* graph, size_t node, size_t edge, int64_t* target, size_t* slot) {
  const Edge& next = graph->nodes[node]->next_edge(edge);
  auto found = next.is_valid() ? graph->index.find(next.function.get()) : graph->index.end();
  *target = found == graph->index.end() ? -1 : static_cast<int64_t>(found->second);
  *slot = next.input_nr;
}

char* pc_tch_find(const pc_tch_graph* graph, tensor value, int64_t* node, size_t* slot) {
  return guarded([&] {
    *node = -1;
    const Tensor& sought = of(value);
    if (!sought.defined() || !sought.requires_grad()) return;
    // Of a view that was changed in place it makes the node anew, or throws where there can be none.
    Edge edge = torch::autograd::impl::gradient_edge(sought);
    auto found = graph->index.find(edge.function.get());
    if (found == graph->index.end()) return;
    *node = static_cast<int64_t>(found->second);
    *slot = edge.input_nr;
  });
}

char* pc_tch_pull(pc_tch_graph* graph, size_t index, const tensor* cotangents, int last, int release, tensor* results) {
  return guarded([&] {
    // A copy of the pointer: a hook might let go of the graph's edges.
    c10::intrusive_ptr<Node> node = graph->nodes[index];
    // With the mode on, every pull would record a graph of its own.
    c10::AutoGradMode off(false);
    variable_list inputs(node->num_inputs());
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (cotangents[i] != nullptr) inputs[i] = of(cotangents[i]);
    }
    if (release != 0) node->will_release_variables();
    variable_list outputs = run(*node, std::move(inputs), last != 0);
    if (release != 0) node->release_variables();
    for (size_t i = 0; i < outputs.size() && i < node->num_outputs(); ++i) {
      // What no edge takes on is not wanted.
      results[i] = node->next_edge(i).is_valid() ? give(std::move(outputs[i])) : nullptr;
    }
  });
}

char* pc_tch_release(pc_tch_graph* graph, size_t node) {
  return guarded([&] { graph->nodes[node]->release_variables(); });
}

char* pc_tch_accumulate(pc_tch_graph* graph, size_t index, tensor gradient) {
  return guarded([&] {
    std::unique_ptr<Tensor> taken(static_cast<Tensor*>(gradient));
    c10::intrusive_ptr<Node> node = graph->nodes[index];
    c10::AutoGradMode off(false);
    variable_list inputs;
    inputs.reserve(1);
    // The only handle moves in, so that the accumulation may keep the tensor itself rather than a copy.
    inputs.push_back(std::move(*taken));
    run(*node, std::move(inputs), true);
  });
}

char* pc_tch_add(tensor* sum, tensor x) {
  return guarded([&] {
    c10::AutoGradMode off(false);
    if (x == nullptr) return;
    if (*sum == nullptr) *sum = new Tensor();
    add(*static_cast<Tensor*>(*sum), of(x));
  });
}

char* pc_tch_axpby(tensor* y, double a, tensor x, double b) {
  return guarded([&] {
    c10::AutoGradMode off(false);
    if (*y != nullptr && a == 0.0) {
      delete static_cast<Tensor*>(*y);
      *y = nullptr;
    }
    if (*y == nullptr) {
      if (x != nullptr) *y = new Tensor(b == 1.0 ? of(x) : of(x).mul(b));
      return;
    }
    Tensor& value = *static_cast<Tensor*>(*y);
    if (a != 1.0) {
      if (is_ours(value)) {
        value.mul_(a);
      } else {
        value = value.mul(a);
      }
    }
    if (x == nullptr) return;
    if (value.layout() != at::kStrided && of(x).layout() == at::kStrided) {
      value = of(x).mul(b).add(value);
    } else if (is_ours(value)) {
      value.add_(of(x), b);
    } else {
      value = value.add(of(x), b);
    }
  });
}

char* pc_tch_norm_squared(tensor x, double* norm) {
  return guarded([&] {
    c10::AutoGradMode off(false);
    const Tensor& value = of(x);
    Tensor dense = value.layout() == at::kStrided ? value : value.to_dense();
    if (dense.is_complex()) dense = dense.abs();
    double length = at::linalg_vector_norm(dense, 2, {}, false, at::kDouble).item<double>();
    *norm = length * length;
  });
}

void pc_tch_free_text(char* text) { delete[] text; }

}  // extern "C"

namespace pc_tch {

char* caught(const std::function<void()>& work) noexcept { return guarded(work); }

char* message(const char* what) { return text(what); }

const std::vector<c10::intrusive_ptr<Node>>& nodes_of(const pc_tch_graph& graph) { return graph.nodes; }

variable_list run_node(Node& node, variable_list&& inputs, bool last) { return run(node, std::move(inputs), last); }

void add_to(Tensor& sum, const Tensor& x) { add(sum, x); }

}  // namespace pc_tch
