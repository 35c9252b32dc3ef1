// The graph of one forward pass, as the shim's parts see it.
#pragma once

#include "pc_tch_marks.h"
#include "pc_tch_shared.h"

#include <torch/csrc/autograd/edge.h>

#include <unordered_map>
#include <utility>
#include <vector>

// An edge that was taken out for a while.
struct pc_tch_cut {
  size_t node, edge;
  torch::autograd::Edge was;
};

constexpr size_t PC_TCH_NONE = static_cast<size_t>(-1);

struct pc_tch_tape {
  pc_tch_graph* graph = nullptr;
  size_t marks = 0;
  // By root: its node and slot, and the leaves of its segment.
  std::vector<std::pair<size_t, size_t>> roots;
  std::vector<std::vector<size_t>> reach;
  // By node: which leaf it is, and what it leads to.
  std::vector<size_t> leaf;
  std::vector<int> leads;
  std::unordered_map<const torch::autograd::Node*, size_t> index;
  // By parameter: its node.
  std::vector<size_t> parameters;
  // By node: what has arrived, in one pull.
  std::vector<torch::autograd::variable_list> arrivals;
  std::vector<char> queued;
  // Edges that lead to nothing that the present pulls are after are taken out, so that nothing is computed for them.
  int what = PC_TCH_MARKS | PC_TCH_PARAMETERS;
  std::vector<pc_tch_cut> cuts;

  ~pc_tch_tape() {
    restore();
    pc_tch_graph_free(graph);
  }

  torch::autograd::Node& node(size_t at) const { return *pc_tch::nodes_of(*graph)[at]; }

  void restore() {
    for (pc_tch_cut& cut : cuts) node(cut.node).next_edges()[cut.edge] = std::move(cut.was);
    cuts.clear();
  }

  void go_after(int sought) {
    if (sought == what) return;
    restore();
    what = sought;
    if (what == (PC_TCH_MARKS | PC_TCH_PARAMETERS)) return;
    for (size_t at = 0; at < leads.size(); ++at) {
      auto& edges = node(at).next_edges();
      for (size_t edge = 0; edge < edges.size(); ++edge) {
        if (!edges[edge].is_valid()) continue;
        auto found = index.find(edges[edge].function.get());
        if (found == index.end() || (leads[found->second] & what) != 0) continue;
        cuts.push_back({at, edge, std::move(edges[edge])});
        edges[edge] = torch::autograd::Edge();
      }
    }
  }

  torch::autograd::variable_list run(size_t at, torch::autograd::variable_list&& inputs, bool last) {
    c10::intrusive_ptr<torch::autograd::Node> held = pc_tch::nodes_of(*graph)[at];
    return pc_tch::run_node(*held, std::move(inputs), last);
  }
};
