// What a forward pass moves beside its values: generators, and tensors that were there before.

#include "pc_tch_marks.h"
#include "pc_tch_shared.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

using at::Tensor;
using pc_tch::of;
using pc_tch::guarded;

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

}  // namespace

extern "C" {

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
