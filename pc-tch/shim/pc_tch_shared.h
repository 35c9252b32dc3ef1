// What the shim's parts share.
#pragma once

#include "pc_tch.h"

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/node.h>
#include <torch/csrc/autograd/variable.h>

#include <cstring>
#include <exception>
#include <utility>
#include <vector>

namespace pc_tch {

inline char* text(const char* what) {
  size_t size = std::strlen(what) + 1;
  char* copy = new char[size];
  std::memcpy(copy, what, size);
  return copy;
}

// Runs `work` and turns what it throws into a message.
template <typename Work>
char* guarded(Work&& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const c10::Error& error) {
    return text(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return text(error.what());
  } catch (...) {
    return text("an exception that is no std::exception");
  }
}

inline const at::Tensor& of(tensor handle) { return *static_cast<at::Tensor*>(handle); }
inline tensor give(at::Tensor&& value) { return value.defined() ? new at::Tensor(std::move(value)) : nullptr; }

const std::vector<c10::intrusive_ptr<torch::autograd::Node>>& nodes_of(const pc_tch_graph& graph);

// Runs a node as the engine would.
torch::autograd::variable_list run_node(torch::autograd::Node& node, torch::autograd::variable_list&& inputs, bool last);

// sum <- sum + x, in place where nothing else can see the sum.
void add_to(at::Tensor& sum, const at::Tensor& x);

}  // namespace pc_tch
