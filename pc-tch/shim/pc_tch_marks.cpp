// What marked programs need: segments of an autograd graph pulled one by one, and a watch over what a forward pass leaves behind.

#include "pc_tch_marks.h"
#include "pc_tch_shared.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/generated/Functions.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
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

namespace {

constexpr size_t NONE = static_cast<size_t>(-1);


struct Cut {
  size_t node, edge;
  Edge was;
};

}  // namespace

struct pc_tch_tape {
  pc_tch_graph* graph = nullptr;
  size_t marks = 0;
  // By root: its node and slot, and the leaves of its segment.
  std::vector<std::pair<size_t, size_t>> roots;
  std::vector<std::vector<size_t>> reach;
  // By node: which leaf it is, and what it leads to.
  std::vector<size_t> leaf;
  std::vector<int> leads;
  std::unordered_map<const Node*, size_t> index;
  // By parameter: its node.
  std::vector<size_t> parameters;
  // By node: what has arrived, in one pull.
  std::vector<variable_list> arrivals;
  std::vector<char> queued;
  // Edges that lead to nothing that the present pulls are after are taken out, so that nothing is computed for them.
  int what = PC_TCH_MARKS | PC_TCH_PARAMETERS;
  std::vector<Cut> cuts;

  ~pc_tch_tape() {
    restore();
    pc_tch_graph_free(graph);
  }

  Node& node(size_t at) const { return *pc_tch::nodes_of(*graph)[at]; }

  void restore() {
    for (Cut& cut : cuts) node(cut.node).next_edges()[cut.edge] = std::move(cut.was);
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
        edges[edge] = Edge();
      }
    }
  }

  variable_list run(size_t at, variable_list&& inputs, bool last) {
    c10::intrusive_ptr<Node> held = pc_tch::nodes_of(*graph)[at];
    return pc_tch::run_node(*held, std::move(inputs), last);
  }
};

struct pc_tch_watch {
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
  bool on = false;
  bool draws = false;
  std::vector<Tensor> written;
  std::unordered_set<const void*> known;
  std::unordered_set<const void*> born;
};

namespace {

// What an operator does, as far as a watch cares.
struct Habit {
  bool draws = false;
  bool fresh = false;
  std::vector<size_t> writes;
  // Where its running statistics and the flag that they move are, 0 for none.
  size_t statistics = 0;
};

thread_local pc_tch_watch* watching = nullptr;

Habit learn_habit(const at::RecordFunction& call) {
  Habit habit;
  auto name = call.operator_name();
  if (!name) return habit;
  auto found = c10::Dispatcher::singleton().findSchema(*name);
  if (!found) return habit;
  habit.draws = found->hasTag(at::Tag::nondeterministic_seeded);
  const auto& schema = found->schema();
  const auto& arguments = schema.arguments();
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto* alias = arguments[i].alias_info();
    if (alias != nullptr && alias->isWrite()) habit.writes.push_back(i);
    // Batch and instance norm write what their schemas do not say.
    if (arguments[i].name() == "running_mean" && alias == nullptr) habit.statistics = i;
  }
  habit.fresh = true;
  for (const auto& result : schema.returns()) habit.fresh = habit.fresh && result.alias_info() == nullptr;
  return habit;
}

const Habit& habit_of(const at::RecordFunction& call) {
  // An operator's name is one string as long as it is registered.
  static thread_local std::unordered_map<const void*, Habit> habits;
  auto found = habits.find(call.name());
  if (found == habits.end()) found = habits.emplace(call.name(), learn_habit(call)).first;
  return found->second;
}

const void* storage_of(const Tensor& value) {
  return value.defined() && value.has_storage() ? value.storage().unsafeGetStorageImpl() : nullptr;
}

void note_written(pc_tch_watch& watch, const c10::IValue& value) {
  if (!value.isTensor()) return;
  const Tensor& target = value.toTensor();
  const void* storage = storage_of(target);
  if (storage == nullptr || watch.born.count(storage) != 0 || target.requires_grad()) return;
  if (watch.known.insert(target.unsafeGetTensorImpl()).second) watch.written.push_back(target);
}

std::unique_ptr<at::ObserverContext> before(const at::RecordFunction& call) {
  if (watching == nullptr) return nullptr;
  pc_tch_watch& watch = *watching;
  const Habit& habit = habit_of(call);
  watch.draws = watch.draws || habit.draws;
  auto inputs = call.inputs();
  for (size_t at : habit.writes) {
    if (at < inputs.size()) note_written(watch, inputs[at]);
  }
  if (habit.statistics != 0 && habit.statistics + 1 < inputs.size()) {
    note_written(watch, inputs[habit.statistics]);
    note_written(watch, inputs[habit.statistics + 1]);
  }
  return nullptr;
}

void after(const at::RecordFunction& call, at::ObserverContext*) {
  if (watching == nullptr || !habit_of(call).fresh) return;
  for (const auto& output : call.outputs()) {
    if (!output.isTensor()) continue;
    if (const void* storage = storage_of(output.toTensor())) watching->born.insert(storage);
  }
}

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

char* pc_tch_tape_reduction(pc_tch_tape* tape, size_t root, size_t samples, int* reduction, char** why) {
  return guarded([&] {
    *reduction = PC_TCH_NO_REDUCTION;
    auto [start, slot] = tape->roots[root];
    if (start == NONE || (tape->leads[start] & PC_TCH_MARKS) == 0) return;
    c10::AutoGradMode off(false);
    tape->go_after(PC_TCH_MARKS);
    const auto& metadata = tape->node(start).input_metadata(slot);
    Reader reader{*tape, static_cast<double>(samples)};
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

char* pc_tch_watch_new(pc_tch_watch** watch) {
  return guarded([&] {
    TORCH_CHECK(watching == nullptr, "this thread is watched already");
    auto made = std::make_unique<pc_tch_watch>();
    made->handle = at::addThreadLocalCallback(at::RecordFunctionCallback(&before, &after)
                                                  .needsInputs(true)
                                                  .needsOutputs(true)
                                                  .scopes({at::RecordScope::FUNCTION}));
    made->on = true;
    watching = made.get();
    *watch = made.release();
  });
}

void pc_tch_watch_end(pc_tch_watch* watch) {
  if (!watch->on) return;
  watch->on = false;
  watching = nullptr;
  if (char* error = guarded([&] { at::removeCallback(watch->handle); })) pc_tch_free_text(error);
}

void pc_tch_watch_free(pc_tch_watch* watch) {
  if (watch == nullptr) return;
  pc_tch_watch_end(watch);
  delete watch;
}

int pc_tch_watch_draws(const pc_tch_watch* watch) { return watch->draws ? 1 : 0; }

size_t pc_tch_watch_written(const pc_tch_watch* watch) { return watch->written.size(); }

tensor pc_tch_watch_tensor(const pc_tch_watch* watch, size_t index) { return new Tensor(watch->written[index]); }

char* pc_tch_generator_get(tensor like, tensor* state) {
  return guarded([&] {
    at::Generator generator = at::globalContext().defaultGenerator(of(like).device());
    std::lock_guard<std::mutex> lock(generator.mutex());
    *state = new Tensor(generator.get_state());
  });
}

char* pc_tch_generator_set(tensor like, tensor state) {
  return guarded([&] {
    at::Generator generator = at::globalContext().defaultGenerator(of(like).device());
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(of(state));
  });
}

char* pc_tch_restore(tensor target, tensor source) {
  return guarded([&] {
    c10::AutoGradMode off(false);
    // Through a detached handle with its own version: saved statistics of the pass before are not pulled any more, but those of the first may be.
    Tensor own = of(target).variable_data();
    own.copy_(of(source));
  });
}

}  // extern "C"
