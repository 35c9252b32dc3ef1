// Walks libtorch's autograd graph and pulls its nodes one by one. libtorch's backward engine is never called.

#include "pc_tch.h"
#include "pc_tch_shared.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
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
#include <torch/csrc/autograd/generated/Functions.h>
#include <torch/csrc/autograd/input_metadata.h>
#include <torch/csrc/autograd/node.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <exception>
#include <memory>
#include <queue>
#include <string>
#include <typeindex>
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
using torch::autograd::generated::CudnnBatchNormBackward0;
using torch::autograd::generated::NativeBatchNormBackward0;

// What nodes of one C++ type have in common. Names are made once for each type: making one takes longer than many a pull.
struct NodeType {
  size_t name;
  bool leaf;
  bool normalises;
};

struct pc_tch_graph {
  // In the order in which the engine would run them.
  std::vector<c10::intrusive_ptr<Node>> nodes;
  std::vector<NodeType> types;
  std::vector<std::string> names;
  // By node: where its edges begin in `targets`, which has a node or -1.
  std::vector<size_t> first;
  std::vector<int64_t> targets;
  // By node as it was found, and by that number its place in the order.
  std::unordered_map<const Node*, size_t> found;
  std::vector<size_t> rank;
  // By name: whether such nodes only pass values on.
  std::vector<uint8_t> costless;
  // By node: what has arrived in a sweep.
  std::vector<variable_list> arrived;

  size_t edges(size_t node) const { return first[node + 1] - first[node]; }
};

namespace {

std::atomic<size_t> live{0};

bool normalises(const Node& node) {
  return dynamic_cast<const NativeBatchNormBackward0*>(&node) != nullptr || dynamic_cast<const CudnnBatchNormBackward0*>(&node) != nullptr;
}

// Whether a batch norm's running statistics moved with the forward pass.
template <typename Norm>
bool moves(Node& node) {
  auto* norm = dynamic_cast<Norm*>(&node);
  if (norm == nullptr || !norm->training) return false;
  try {
    return norm->running_mean_.unpack().defined();
  } catch (const c10::Error&) {
    return true;  // They have moved since.
  }
}

// Numbers all that is below the roots. Nodes that can come next are kept in the engine's own order, so that sums are taken in the same order and come
// out bit for bit.
void walk(pc_tch_graph& graph, const std::vector<Edge>& roots) {
  std::vector<Node*> found;
  std::vector<size_t> waiting, begin;
  std::vector<int64_t> flat;
  auto visit = [&](Node* node) {
    auto [place, fresh] = graph.found.try_emplace(node, found.size());
    if (fresh) {
      found.push_back(node);
      waiting.push_back(0);
    }
    return place->second;
  };
  for (const Edge& root : roots) visit(root.function.get());
  size_t starts = found.size();
  for (size_t node = 0; node < found.size(); ++node) {
    begin.push_back(flat.size());
    for (const Edge& edge : found[node]->next_edges()) {
      if (!edge.is_valid()) {
        flat.push_back(-1);
        continue;
      }
      size_t target = visit(edge.function.get());
      ++waiting[target];
      flat.push_back(static_cast<int64_t>(target));
    }
  }
  begin.push_back(flat.size());
  std::vector<uint64_t> made(found.size());
  for (size_t node = 0; node < found.size(); ++node) made[node] = found[node]->sequence_nr();
  auto later = [&](size_t a, size_t b) { return made[a] < made[b]; };
  std::priority_queue<size_t, std::vector<size_t>, decltype(later)> ready(later);
  for (size_t root = 0; root < starts; ++root) {
    if (waiting[root] == 0) ready.push(root);
  }
  std::vector<size_t> order;
  order.reserve(found.size());
  graph.rank.resize(found.size());
  while (!ready.empty()) {
    size_t node = ready.top();
    ready.pop();
    graph.rank[node] = order.size();
    order.push_back(node);
    for (size_t edge = begin[node]; edge < begin[node + 1]; ++edge) {
      if (flat[edge] >= 0 && --waiting[flat[edge]] == 0) ready.push(flat[edge]);
    }
  }
  std::unordered_map<std::type_index, NodeType> types;
  graph.nodes.reserve(order.size());
  graph.types.reserve(order.size());
  graph.first.reserve(order.size() + 1);
  graph.targets.reserve(flat.size());
  for (size_t node : order) {
    Node* own = found[node];
    auto [type, fresh] = types.try_emplace(std::type_index(typeid(*own)));
    if (fresh) {
      type->second = {graph.names.size(), dynamic_cast<const AccumulateGrad*>(own) != nullptr, normalises(*own)};
      graph.names.push_back(own->name());
    }
    graph.nodes.push_back(own->getptr());
    graph.types.push_back(type->second);
    graph.first.push_back(graph.targets.size());
    for (size_t edge = begin[node]; edge < begin[node + 1]; ++edge) {
      graph.targets.push_back(flat[edge] < 0 ? -1 : static_cast<int64_t>(graph.rank[flat[edge]]));
    }
  }
  graph.first.push_back(graph.targets.size());
}

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

void arrive(pc_tch_graph& graph, size_t node, size_t slot, const Tensor& cotangent) {
  variable_list& at = graph.arrived[node];
  if (at.empty()) at.resize(graph.nodes[node]->num_inputs());
  add(at.at(slot), cotangent);
}

// Pulls, in order, every node at which something has arrived, and hands the results on. Leaves are not pulled, nor those of which `pulled` says no.
void sweep(pc_tch_graph& graph, const uint8_t* pulled, bool last, bool release, size_t* counts) {
  for (size_t index = 0; index < graph.nodes.size(); ++index) {
    if (graph.types[index].leaf || (pulled != nullptr && pulled[index] == 0)) continue;
    Node& node = *graph.nodes[index];
    if (release) node.will_release_variables();
    if (!graph.arrived[index].empty()) {
      // The first is driven, and a vertex whatever it does.
      bool passes = index != 0 && !graph.costless.empty() && graph.costless[graph.types[index].name] != 0;
      ++counts[passes ? 1 : 0];
      counts[2] = index;
      variable_list outputs = run(node, std::exchange(graph.arrived[index], {}), last);
      for (size_t edge = 0; edge < graph.edges(index); ++edge) {
        int64_t target = graph.targets[graph.first[index] + edge];
        if (target < 0 || edge >= outputs.size() || !outputs[edge].defined()) continue;
        arrive(graph, target, node.next_edge(edge).input_nr, outputs[edge]);
      }
    }
    if (release) node.release_variables();
  }
}

// For as long as it lives, nodes compute nothing for edges that lead to no wanted leaf. Of a graph that nobody else sees.
class Pruned {
 public:
  Pruned(pc_tch_graph& graph, const std::vector<char>& wanted) {
    std::vector<char> leads(wanted);
    for (size_t node = graph.nodes.size(); node-- > 0;) {
      for (size_t edge = graph.first[node]; edge < graph.first[node + 1]; ++edge) {
        if (graph.targets[edge] >= 0 && leads[graph.targets[edge]] != 0) leads[node] = 1;
      }
    }
    for (size_t node = 0; node < graph.nodes.size(); ++node) {
      for (size_t edge = 0; edge < graph.edges(node); ++edge) {
        int64_t& target = graph.targets[graph.first[node] + edge];
        if (target < 0 || leads[target] != 0) continue;
        target = -1;
        // Nodes ask their edges what is wanted, and only the engine can say it otherwise. The edge itself is no constant.
        Edge& own = const_cast<Edge&>(graph.nodes[node]->next_edge(edge));
        cut_.emplace_back(&own, std::exchange(own, Edge()));
      }
    }
  }
  Pruned(const Pruned&) = delete;
  Pruned& operator=(const Pruned&) = delete;
  ~Pruned() {
    for (auto& [place, edge] : cut_) *place = std::move(edge);
  }

 private:
  std::vector<std::pair<Edge*, Edge>> cut_;
};

// A function is evaluated again and again, and each evaluation would move them.
void check_statistics(pc_tch_graph& graph) {
  for (size_t node = 0; node < graph.nodes.size(); ++node) {
    if (!graph.types[node].normalises) continue;
    Node& own = *graph.nodes[node];
    TORCH_CHECK(
        !moves<NativeBatchNormBackward0>(own) && !moves<CudnnBatchNormBackward0>(own),
        "its batch norm keeps running statistics, which every evaluation would move: evaluate it without training, or give it no running mean and "
        "variance");
  }
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

size_t pc_tch_edges(const pc_tch_graph* graph) { return graph->targets.size(); }

size_t pc_tch_names(const pc_tch_graph* graph) { return graph->names.size(); }

const char* pc_tch_name(const pc_tch_graph* graph, size_t name) { return graph->names[name].c_str(); }

void pc_tch_describe(const pc_tch_graph* graph, size_t* names, int* kinds, size_t* slots, size_t* first, int64_t* targets, size_t* target_slots) {
  size_t edge = 0;
  for (size_t node = 0; node < graph->nodes.size(); ++node) {
    Node& own = *graph->nodes[node];
    names[node] = graph->types[node].name;
    kinds[node] = graph->types[node].leaf ? PC_TCH_LEAF : is_hooked(own) ? PC_TCH_HOOKED : PC_TCH_OPERATION;
    slots[node] = own.num_inputs();
    first[node] = graph->first[node];
    for (const Edge& next : own.next_edges()) {
      targets[edge] = graph->targets[edge];
      target_slots[edge++] = next.input_nr;
    }
  }
  first[graph->nodes.size()] = edge;
}

void pc_tch_measure(pc_tch_graph* graph, const uint8_t* costless, size_t* vertices, size_t* depth) {
  graph->costless.assign(costless, costless + graph->names.size());
  *vertices = *depth = 0;
  // By node: the longest path to it, in vertices after the first.
  std::vector<size_t> longest(graph->nodes.size());
  for (size_t node = 0; node < graph->nodes.size(); ++node) {
    if (graph->types[node].leaf) continue;
    bool vertex = node == 0 || costless[graph->types[node].name] == 0;
    if (node != 0 && vertex) ++longest[node];
    if (vertex) {
      ++*vertices;
      *depth = std::max(*depth, longest[node]);
    }
    for (size_t edge = graph->first[node]; edge < graph->first[node + 1]; ++edge) {
      int64_t target = graph->targets[edge];
      if (target >= 0) longest[target] = std::max(longest[target], longest[node]);
    }
  }
}

char* pc_tch_sweep(pc_tch_graph* graph, size_t node, size_t slot, tensor cotangent, const uint8_t* pulled, int last, int release, size_t* counts) {
  return guarded([&] {
    std::unique_ptr<Tensor> taken(static_cast<Tensor*>(cotangent));
    c10::AutoGradMode off(false);
    graph->arrived.clear();
    graph->arrived.resize(graph->nodes.size());
    arrive(*graph, node, slot, *taken);
    taken.reset();
    sweep(*graph, pulled, last != 0, release != 0, counts);
  });
}

char* pc_tch_accumulate_arrived(pc_tch_graph* graph) {
  return guarded([&] {
    c10::AutoGradMode off(false);
    for (size_t node = 0; node < graph->arrived.size(); ++node) {
      variable_list& at = graph->arrived[node];
      // Moved in, so that the accumulation may keep the tensor itself rather than a copy.
      if (graph->types[node].leaf && !at.empty()) run(*graph->nodes[node], std::exchange(at, {}), true);
    }
  });
}

tensor pc_tch_arrived(pc_tch_graph* graph, size_t node, size_t slot) {
  if (node >= graph->arrived.size() || slot >= graph->arrived[node].size()) return nullptr;
  return give(std::exchange(graph->arrived[node][slot], {}));
}

char* pc_tch_gradients(tensor output, tensor cotangent, const tensor* leaves, size_t count, tensor* results) {
  return guarded([&] {
    c10::AutoGradMode off(false);
    if (!of(output).requires_grad()) return;
    pc_tch_graph graph;
    Edge root = torch::autograd::impl::gradient_edge(of(output));
    walk(graph, {root});
    check_statistics(graph);
    std::vector<char> wanted(graph.nodes.size());
    std::vector<int64_t> places(count, -1);
    for (size_t leaf = 0; leaf < count; ++leaf) {
      if (leaves[leaf] == nullptr) continue;
      auto found = graph.found.find(torch::autograd::impl::gradient_edge(of(leaves[leaf])).function.get());
      if (found == graph.found.end()) continue;
      places[leaf] = static_cast<int64_t>(graph.rank[found->second]);
      wanted[places[leaf]] = 1;
    }
    Pruned pruned(graph, wanted);
    graph.arrived.resize(graph.nodes.size());
    arrive(graph, 0, root.input_nr, of(cotangent));
    std::array<size_t, 3> counts{};
    sweep(graph, nullptr, true, false, counts.data());
    for (size_t leaf = 0; leaf < count; ++leaf) {
      if (places[leaf] < 0 || graph.arrived[places[leaf]].empty()) continue;
      // One tensor may have been given as several.
      Tensor found = graph.arrived[places[leaf]][0];
      results[leaf] = give(std::move(found));
    }
  });
}

char* pc_tch_check_function(tensor output) {
  return guarded([&] {
    if (!of(output).requires_grad()) return;
    pc_tch_graph graph;
    walk(graph, {torch::autograd::impl::gradient_edge(of(output))});
    check_statistics(graph);
  });
}

char* pc_tch_position(tensor like, uint64_t* position) {
  return guarded([&] {
    if (!of(like).is_cpu()) {
      *position = at::globalContext().defaultGenerator(of(like).device()).get_offset();
      return;
    }
    at::mt19937_data_pod state = at::check_generator<at::CPUGeneratorImpl>(at::detail::getDefaultCPUGenerator())->engine().data();
    *position = (static_cast<uint64_t>(state.state_[0]) << 32) + static_cast<uint64_t>(state.next_) + state.seed_;
  });
}

char* pc_tch_set_grad(tensor x, tensor gradient) {
  return guarded([&] {
    std::unique_ptr<Tensor> taken(static_cast<Tensor*>(gradient));
    of(x).mutable_grad() = taken == nullptr ? Tensor() : *taken;
  });
}

char* pc_tch_find(const pc_tch_graph* graph, tensor value, int64_t* node, size_t* slot) {
  return guarded([&] {
    *node = -1;
    const Tensor& sought = of(value);
    if (!sought.defined() || !sought.requires_grad()) return;
    // Of a view that was changed in place it makes the node anew, or throws where there can be none.
    Edge edge = torch::autograd::impl::gradient_edge(sought);
    auto found = graph->found.find(edge.function.get());
    if (found == graph->found.end()) return;
    *node = static_cast<int64_t>(graph->rank[found->second]);
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

const std::vector<c10::intrusive_ptr<Node>>& nodes_of(const pc_tch_graph& graph) { return graph.nodes; }

variable_list run_node(Node& node, variable_list&& inputs, bool last) { return run(node, std::move(inputs), last); }

void add_to(Tensor& sum, const Tensor& x) { add(sum, x); }

}  // namespace pc_tch
