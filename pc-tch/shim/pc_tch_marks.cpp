// What marked programs need: segments of an autograd graph, pulled one by one.

#include "pc_tch_tape.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

using at::Tensor;
using pc_tch::give;
using pc_tch::of;
using pc_tch::guarded;
using torch::autograd::AccumulateGrad;
using torch::autograd::Edge;
using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {

constexpr size_t NONE = PC_TCH_NONE;


// The leaves of each segment, each node of which is met once.
void find_reach(pc_tch_tape& tape) {
  std::vector<size_t> seen(tape.leaf.size(), NONE);
  std::vector<size_t> stack;
  for (size_t root = 0; root < tape.roots.size(); ++root) {
    auto& reach = tape.reach[root];
    auto visit = [&](size_t at) {
      if (at == NONE || seen[at] == root) return;
      seen[at] = root;
      stack.push_back(at);
    };
    visit(tape.roots[root].first);
    while (!stack.empty()) {
      size_t at = stack.back();
      stack.pop_back();
      if (tape.leaf[at] != NONE) reach.push_back(tape.leaf[at]);
      for (const Edge& edge : tape.node(at).next_edges()) {
        if (!edge.is_valid()) continue;
        auto found = tape.index.find(edge.function.get());
        if (found != tape.index.end()) visit(found->second);
      }
    }
    std::sort(reach.begin(), reach.end());
  }
}

void describe(pc_tch_tape& tape, const tensor* marks) {
  const auto& nodes = pc_tch::nodes_of(*tape.graph);
  for (size_t at = 0; at < nodes.size(); ++at) tape.index.emplace(nodes[at].get(), at);
  tape.leaf.assign(nodes.size(), NONE);
  tape.leads.assign(nodes.size(), 0);
  tape.arrivals.resize(nodes.size());
  tape.queued.assign(nodes.size(), 0);
  for (size_t mark = 0; mark < tape.marks; ++mark) {
    Edge edge = torch::autograd::impl::gradient_edge(of(marks[mark]));
    auto found = tape.index.find(edge.function.get());
    if (found != tape.index.end()) tape.leaf[found->second] = mark;
  }
  for (size_t at = 0; at < nodes.size(); ++at) {
    if (tape.leaf[at] == NONE && dynamic_cast<const AccumulateGrad*>(nodes[at].get()) != nullptr) {
      tape.leaf[at] = tape.marks + tape.parameters.size();
      tape.parameters.push_back(at);
    }
  }
  // Backprop's order has every node after those that send to it.
  for (size_t at = nodes.size(); at-- > 0;) {
    if (tape.leaf[at] != NONE) tape.leads[at] = tape.leaf[at] < tape.marks ? PC_TCH_MARKS : PC_TCH_PARAMETERS;
    for (const Edge& edge : nodes[at]->next_edges()) {
      if (!edge.is_valid()) continue;
      auto found = tape.index.find(edge.function.get());
      if (found != tape.index.end()) tape.leads[at] |= tape.leads[found->second];
    }
  }
}

// Lets go of what a pull has left where it was broken off.
struct Tidy {
  pc_tch_tape& tape;
  std::priority_queue<size_t, std::vector<size_t>, std::greater<size_t>> ready;

  ~Tidy() {
    for (; !ready.empty(); ready.pop()) {
      tape.arrivals[ready.top()].clear();
      tape.queued[ready.top()] = 0;
    }
  }

  void arrive(size_t at, size_t slot, const Tensor& value) {
    auto& slots = tape.arrivals[at];
    if (slots.empty()) slots.resize(std::max<size_t>(tape.node(at).num_inputs(), 1));
    pc_tch::add_to(slots[slot], value);
    if (tape.queued[at] == 0) {
      tape.queued[at] = 1;
      ready.push(at);
    }
  }
};

void pull(pc_tch_tape& tape, size_t root, const Tensor& cotangent, int what, tensor* results) {
  auto [start, slot] = tape.roots[root];
  if (start == NONE || (tape.leads[start] & what) == 0) return;
  c10::AutoGradMode off(false);
  tape.go_after(what);
  const auto& reach = tape.reach[root];
  Tidy tidy{tape, {}};
  tidy.arrive(start, slot, cotangent);
  while (!tidy.ready.empty()) {
    size_t at = tidy.ready.top();
    tidy.ready.pop();
    tape.queued[at] = 0;
    variable_list inputs = std::move(tape.arrivals[at]);
    tape.arrivals[at].clear();
    if (tape.leaf[at] != NONE) {
      auto place = std::lower_bound(reach.begin(), reach.end(), tape.leaf[at]) - reach.begin();
      results[place] = give(std::move(inputs[0]));
      continue;
    }
    variable_list outputs = tape.run(at, std::move(inputs), (what & PC_TCH_PARAMETERS) != 0);
    const auto& edges = tape.node(at).next_edges();
    for (size_t edge = 0; edge < outputs.size() && edge < edges.size(); ++edge) {
      if (!outputs[edge].defined() || !edges[edge].is_valid()) continue;
      auto found = tape.index.find(edges[edge].function.get());
      if (found != tape.index.end()) tidy.arrive(found->second, edges[edge].input_nr, outputs[edge]);
    }
  }
}

}  // namespace

extern "C" {

char* pc_tch_tape_new(const tensor* roots, size_t count, const tensor* marks, size_t marked, pc_tch_tape** tape) {
  return guarded([&] {
    auto made = std::make_unique<pc_tch_tape>();
    made->marks = marked;
    made->roots.assign(count, {NONE, 0});
    made->reach.resize(count);
    std::vector<tensor> tracked;
    for (size_t i = 0; i < count; ++i) {
      if (of(roots[i]).requires_grad()) tracked.push_back(roots[i]);
    }
    if (char* error = pc_tch_graph_new(tracked.data(), tracked.size(), &made->graph)) {
      std::string what(error);
      pc_tch_free_text(error);
      TORCH_CHECK(false, what);
    }
    describe(*made, marks);
    for (size_t i = 0; i < count; ++i) {
      if (!of(roots[i]).requires_grad()) continue;
      Edge edge = torch::autograd::impl::gradient_edge(of(roots[i]));
      made->roots[i] = {made->index.at(edge.function.get()), edge.input_nr};
    }
    find_reach(*made);
    *tape = made.release();
  });
}

void pc_tch_tape_free(pc_tch_tape* tape) { delete tape; }

void pc_tch_tape_rest(pc_tch_tape* tape) { tape->go_after(PC_TCH_MARKS | PC_TCH_PARAMETERS); }

size_t pc_tch_tape_parameters(const pc_tch_tape* tape) { return tape->parameters.size(); }

tensor pc_tch_tape_parameter(const pc_tch_tape* tape, size_t parameter) {
  auto& node = static_cast<AccumulateGrad&>(tape->node(tape->parameters[parameter]));
  return new Tensor(node.variable);
}

size_t pc_tch_identity(tensor value) { return reinterpret_cast<size_t>(of(value).unsafeGetTensorImpl()); }

const size_t* pc_tch_tape_reach(const pc_tch_tape* tape, size_t root, size_t* count) {
  *count = tape->reach[root].size();
  return tape->reach[root].data();
}

char* pc_tch_tape_pull(pc_tch_tape* tape, size_t root, tensor cotangent, int what, tensor* results) {
  return guarded([&] { pull(*tape, root, of(cotangent), what, results); });
}

char* pc_tch_leaf_accumulate(tensor leaf, tensor gradient) {
  return guarded([&] {
    std::unique_ptr<Tensor> taken(static_cast<Tensor*>(gradient));
    auto node = torch::autograd::impl::grad_accumulator(of(leaf));
    TORCH_CHECK(node, "it needs no gradient");
    c10::AutoGradMode off(false);
    variable_list inputs;
    inputs.reserve(1);
    inputs.push_back(std::move(*taken));
    pc_tch::run_node(*node, std::move(inputs), true);
  });
}

int pc_tch_grad_enabled(void) { return at::GradMode::is_enabled() ? 1 : 0; }

}  // extern "C"
