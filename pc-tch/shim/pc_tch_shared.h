// What the shim's parts share.
#pragma once

#include "pc_tch.h"

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/node.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>
#include <vector>

namespace pc_tch {

// Runs `work` and turns what it throws into a message.
char* caught(const std::function<void()>& work) noexcept;
char* message(const char* what);

const std::vector<c10::intrusive_ptr<torch::autograd::Node>>& nodes_of(const pc_tch_graph& graph);

// Runs a node as the engine would.
torch::autograd::variable_list run_node(torch::autograd::Node& node, torch::autograd::variable_list&& inputs, bool last);

// sum <- sum + x, in place where nothing else can see the sum.
void add_to(at::Tensor& sum, const at::Tensor& x);

}  // namespace pc_tch
