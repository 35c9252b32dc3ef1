// Reads off the operations of a loss whether it is a sum or a mean over samples.

#include "pc_tch_tape.h"

#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <torch/csrc/autograd/generated/Functions.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

using at::Tensor;
using pc_tch::guarded;
using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {

constexpr size_t NONE = PC_TCH_NONE;

int reduction_field(const Node& node) {
  using namespace torch::autograd::generated;
#define PC_TCH_FIELD(Type) \
  if (const auto* own = dynamic_cast<const Type*>(&node)) return static_cast<int>(own->reduction);
  PC_TCH_FIELD(NllLossBackward0)
  PC_TCH_FIELD(NllLoss2DBackward0)
  PC_TCH_FIELD(MseLossBackward0)
  PC_TCH_FIELD(BinaryCrossEntropyBackward0)
  PC_TCH_FIELD(BinaryCrossEntropyWithLogitsBackward0)
  PC_TCH_FIELD(SmoothL1LossBackward0)
  PC_TCH_FIELD(HuberLossBackward0)
  PC_TCH_FIELD(SoftMarginLossBackward0)
  PC_TCH_FIELD(MultiMarginLossBackward0)
  PC_TCH_FIELD(MultilabelMarginLossBackward0)
#undef PC_TCH_FIELD
  return -1;
}

bool is_nll(const Node& node) { return node.name() == "NllLossBackward0" || node.name() == "NllLoss2DBackward0"; }

bool passes_evenly(const Node& node) {
  static const std::set<std::string> names = {
      "MulBackward0", "MulBackward1", "DivBackward1", "AddBackward1",           "DivBackward0",        "NegBackward0",        "ViewBackward0",      "ReshapeAliasBackward0",
      "UnsafeViewBackward0",    "SqueezeBackward0",    "SqueezeBackward1",    "UnsqueezeBackward0", "SumBackward1",
      "MeanBackward1",          "ExpandBackward0",     "AddBackward0",        "SubBackward0",       "SubBackward1",
      "TransposeBackward0",     "PermuteBackward0",    "CloneBackward0",      "ToCopyBackward0",
  };
  return names.count(node.name()) != 0;
}

bool is_near(double value, double sought) { return std::abs(value - sought) < 1e-5; }

// Reads how a loss was reduced.
struct Reader {
  pc_tch_tape& tape;
  double samples;
  bool sums = false, means = false;
  // A weight that is both: 1 of one sample, 1/2 of two.
  bool either = false;
  std::string why;

  struct Step {
    size_t at, slot;
    Tensor factor;
    // Whether something has divided it by the number of samples.
    bool divided = false;
  };

  // What a node sends towards marks.
  std::vector<Step> send(const Step& step) {
    variable_list inputs(tape.node(step.at).num_inputs());
    inputs[step.slot] = step.factor;
    variable_list outputs = tape.run(step.at, std::move(inputs), false);
    std::vector<Step> sent;
    const auto& edges = tape.node(step.at).next_edges();
    for (size_t edge = 0; edge < outputs.size() && edge < edges.size(); ++edge) {
      if (!edges[edge].is_valid() || !outputs[edge].defined()) continue;
      auto found = tape.index.find(edges[edge].function.get());
      if (found == tape.index.end()) continue;
      Step next{found->second, edges[edge].input_nr, outputs[edge], step.divided};
      if (samples > 1.0 && tape.node(step.at).name().rfind("DivBackward", 0) == 0 && step.factor.numel() == 1) {
        double before = step.factor.item<double>(), after = next.factor.reshape({-1})[0].item<double>();
        next.divided = next.divided || is_near(after * samples, before);
      }
      sent.push_back(std::move(next));
    }
    return sent;
  }

  void unclear(const std::string& reason) {
    if (why.empty()) why = reason;
  }

  void mean_over(double count) {
    if (std::fmod(count, samples) == 0.0) {
      means = true;
    } else {
      unclear("it is a mean over " + std::to_string(static_cast<long long>(count)) + " numbers, which its samples do not divide");
    }
  }

  // A sum, and what weighs its terms alike.
  void sum_of(Step step) {
    while (tape.leaf[step.at] == NONE && passes_evenly(tape.node(step.at))) {
      auto sent = send(step);
      if (sent.size() != 1 || sent[0].factor.numel() == 0) break;
      const Tensor flat = sent[0].factor.reshape({-1});
      if (!(flat == flat[0]).all().item<bool>()) break;
      step = sent[0];
    }
    double count = static_cast<double>(step.factor.numel());
    double weight = std::abs(step.factor.reshape({-1})[0].item<double>());
    bool mean = is_near(weight * samples, 1.0) || is_near(weight * samples, 0.5) || is_near(weight * count, 1.0);
    bool sum = is_near(weight, 1.0) || is_near(weight, 0.5);
    if (step.divided && std::fmod(count, samples) == 0.0) {
      means = true;
    } else if (std::fmod(count, samples) == 0.0 && mean && sum) {
      either = true;
    } else if (std::fmod(count, samples) != 0.0 || mean == sum) {
      unclear("it is a sum of " + std::to_string(static_cast<long long>(count)) + " numbers with the weight " + std::to_string(weight));
    } else {
      (mean ? means : sums) = true;
    }
  }

  void read(size_t at, size_t slot, Tensor one) {
    std::vector<Step> stack{{at, slot, std::move(one), false}};
    for (size_t steps = 0; !stack.empty(); ++steps) {
      Step step = std::move(stack.back());
      stack.pop_back();
      if (steps > 10000) return unclear("its parts are too many to read");
      if (tape.leaf[step.at] != NONE) {
        unclear("a vertex goes into it as one number");
        continue;
      }
      const Node& node = tape.node(step.at);
      int field = reduction_field(node);
      auto sent = send(step);
      bool sum = node.name() == "SumBackward0" || node.name() == "SumBackward1" || field == at::Reduction::Sum;
      bool mean = node.name() == "MeanBackward0" || node.name() == "MeanBackward1" || field == at::Reduction::Mean;
      for (Step& next : sent) {
        const Tensor& arrived = next.factor;
        if (!sum && !mean) {
          if (arrived.numel() == 1) {
            stack.push_back(std::move(next));
          } else {
            unclear("`" + node.name() + "` makes one number of many");
          }
        } else if (mean && is_nll(node)) {
          mean_over(arrived.dim() < 2 ? 1.0 : static_cast<double>(arrived.numel() / std::max<int64_t>(arrived.size(1), 1)));
        } else if (mean) {
          mean_over(static_cast<double>(arrived.numel()));
        } else if (field < 0) {
          sum_of(std::move(next));
        } else {
          // What this sum of losses was multiplied by.
          double weight = std::abs(step.factor.item<double>());
          bool divided = step.divided || is_near(weight * samples, 1.0) || is_near(weight * samples, 0.5);
          bool plain = !step.divided && (is_near(weight, 1.0) || is_near(weight, 0.5));
          if (divided && plain) {
            either = true;
          } else if (divided == plain) {
            unclear("it is a sum with the weight " + std::to_string(weight));
          } else {
            (divided ? means : sums) = true;
          }
        }
      }
    }
  }
};

}  // namespace

extern "C" {

char* pc_tch_tape_reduction(pc_tch_tape* tape, size_t root, size_t samples, int* reduction, char** why) {
  return guarded([&] {
    *reduction = PC_TCH_NO_REDUCTION;
    auto [start, slot] = tape->roots[root];
    if (start == NONE || (tape->leads[start] & PC_TCH_MARKS) == 0) return;
    c10::AutoGradMode off(false);
    tape->go_after(PC_TCH_MARKS);
    const auto& metadata = tape->node(start).input_metadata(slot);
    Reader reader{*tape, static_cast<double>(samples), false, false, false, {}};
    reader.read(start, slot, at::ones_symint(metadata.shape_as_dim_vector(), metadata.options()));
    if (reader.sums && reader.means) reader.unclear("parts of it are sums and parts means");
    if (!reader.why.empty()) {
      *reduction = PC_TCH_UNCLEAR;
      *why = pc_tch::text(reader.why.c_str());
    } else if (reader.sums || reader.means) {
      *reduction = reader.means ? PC_TCH_MEAN : PC_TCH_SUM;
    } else if (reader.either) {
      *reduction = PC_TCH_EITHER;
    }
  });
}

}  // extern "C"
