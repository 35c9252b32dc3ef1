// libtorch's optimisers, with their state in and out: tch's own handle to one is private.

#include "pc_tch.h"
#include "pc_tch_shared.h"

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <memory>
#include <stdexcept>
#include <tuple>
#include <vector>

struct pc_tch_optimizer {
  int kind;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  std::vector<at::Tensor> parameters;
};

namespace {

using pc_tch::give;
using pc_tch::guarded;
using pc_tch::of;
using namespace torch::optim;

template <typename Options>
Options adams(const pc_tch_optimizer_settings& s) {
  return Options(s.rate).betas(std::make_tuple(s.first, s.second)).eps(s.eps).weight_decay(s.decay).amsgrad(s.flag != 0);
}

std::unique_ptr<Optimizer> made(const std::vector<at::Tensor>& parameters, const pc_tch_optimizer_settings& s) {
  switch (s.kind) {
    case PC_TCH_SGD:
      return std::make_unique<SGD>(
          parameters, SGDOptions(s.rate).momentum(s.first).dampening(s.second).weight_decay(s.decay).nesterov(s.flag != 0));
    case PC_TCH_ADAM:
      return std::make_unique<Adam>(parameters, adams<AdamOptions>(s));
    case PC_TCH_ADAMW:
      return std::make_unique<AdamW>(parameters, adams<AdamWOptions>(s));
    case PC_TCH_RMSPROP:
      return std::make_unique<RMSprop>(
          parameters, RMSpropOptions(s.rate).alpha(s.first).eps(s.eps).weight_decay(s.decay).momentum(s.second).centered(s.flag != 0));
    default:
      throw std::invalid_argument("no optimiser of this kind");
  }
}

// Reads a state out, or writes it where `write` is set: one function, so that both name the same parts in the same order.
template <typename State>
void moments(State& state, bool write, int64_t* step, at::Tensor* parts) {
  if (write) {
    state.step(*step);
    state.exp_avg(parts[0]);
    state.exp_avg_sq(parts[1]);
    state.max_exp_avg_sq(parts[2]);
  } else {
    *step = state.step();
    parts[0] = state.exp_avg();
    parts[1] = state.exp_avg_sq();
    parts[2] = state.max_exp_avg_sq();
  }
}

void moments(SGDParamState& state, bool write, int64_t* step, at::Tensor* parts) {
  if (write) {
    state.momentum_buffer(parts[0]);
  } else {
    *step = 0;
    parts[0] = state.momentum_buffer();
  }
}

void moments(RMSpropParamState& state, bool write, int64_t* step, at::Tensor* parts) {
  if (write) {
    state.step(*step);
    state.square_avg(parts[0]);
    state.momentum_buffer(parts[1]);
    state.grad_avg(parts[2]);
  } else {
    *step = state.step();
    parts[0] = state.square_avg();
    parts[1] = state.momentum_buffer();
    parts[2] = state.grad_avg();
  }
}

template <typename State>
void state_of(Optimizer& optimizer, void* key, bool write, int64_t* step, at::Tensor* parts) {
  auto& states = optimizer.state();
  auto found = states.find(key);
  if (write) {
    auto fresh = std::make_unique<State>();
    moments(*fresh, true, step, parts);
    states[key] = std::move(fresh);
  } else if (found == states.end()) {
    *step = -1;
  } else {
    moments(static_cast<State&>(*found->second), false, step, parts);
  }
}

void any_state(pc_tch_optimizer& o, size_t parameter, bool write, int64_t* step, at::Tensor* parts) {
  void* key = o.parameters.at(parameter).unsafeGetTensorImpl();
  switch (o.kind) {
    case PC_TCH_SGD:
      return state_of<SGDParamState>(*o.optimizer, key, write, step, parts);
    case PC_TCH_ADAM:
      return state_of<AdamParamState>(*o.optimizer, key, write, step, parts);
    case PC_TCH_ADAMW:
      return state_of<AdamWParamState>(*o.optimizer, key, write, step, parts);
    default:
      return state_of<RMSpropParamState>(*o.optimizer, key, write, step, parts);
  }
}

}  // namespace

extern "C" {

char* pc_tch_optimizer_new(
    const pc_tch_optimizer_settings* settings, const tensor* parameters, size_t count, pc_tch_optimizer** optimizer) {
  return guarded([&] {
    auto made_one = std::make_unique<pc_tch_optimizer>();
    made_one->kind = settings->kind;
    for (size_t k = 0; k < count; ++k) made_one->parameters.push_back(of(parameters[k]));
    made_one->optimizer = made(made_one->parameters, *settings);
    *optimizer = made_one.release();
  });
}

void pc_tch_optimizer_free(pc_tch_optimizer* optimizer) { delete optimizer; }

char* pc_tch_optimizer_step(pc_tch_optimizer* optimizer) {
  return guarded([&] { optimizer->optimizer->step(); });
}

char* pc_tch_optimizer_zero_grad(pc_tch_optimizer* optimizer) {
  return guarded([&] { optimizer->optimizer->zero_grad(); });
}

char* pc_tch_optimizer_set_rate(pc_tch_optimizer* optimizer, double rate) {
  return guarded([&] {
    for (auto& group : optimizer->optimizer->param_groups()) group.options().set_lr(rate);
  });
}

char* pc_tch_optimizer_state(pc_tch_optimizer* optimizer, size_t parameter, int64_t* step, tensor* parts) {
  return guarded([&] {
    at::Tensor found[3];
    any_state(*optimizer, parameter, false, step, found);
    // Copies: the optimiser writes to its own in place.
    for (int k = 0; k < 3; ++k) parts[k] = found[k].defined() ? give(found[k].detach().clone()) : nullptr;
  });
}

char* pc_tch_optimizer_set_state(pc_tch_optimizer* optimizer, size_t parameter, int64_t step, const tensor* parts) {
  return guarded([&] {
    at::Tensor given[3];
    for (int k = 0; k < 3; ++k) {
      if (parts[k] != nullptr) given[k] = of(parts[k]).detach().clone();
    }
    any_state(*optimizer, parameter, true, &step, given);
  });
}

}
