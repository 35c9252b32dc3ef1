// Spares the forward passes of one step of training what they share.
//
// A program runs the same operations in every pass; those before its first mark take the same tensors. The memo notes, for each operation of the first pass,
// what it was, what it took and what it gave. In a later pass the operation at the same place that takes the very same tensors, unwritten since, gives the
// same results: they are handed out again, with the graph that made them. What draws random numbers, writes, or takes no tensor is computed anew.

#include "pc_tch_marks.h"
#include "pc_tch_shared.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

using at::Tensor;
using c10::IValue;

namespace {

constexpr auto KEY = c10::DispatchKey::TESTING_ONLY_GenericMode;

// A tensor that an operation took.
struct Taken {
  Tensor tensor;
  int64_t version;
};

struct Entry {
  std::string name;
  std::vector<IValue> arguments;
  std::vector<Taken> tensors;
  std::vector<IValue> results;
  bool good = false;
};

// What an operator does that keeps it from being remembered.
bool is_pure(const c10::OperatorHandle& op) {
  static thread_local std::unordered_map<const void*, bool> known;
  const void* key = &op.schema();
  auto found = known.find(key);
  if (found != known.end()) return found->second;
  bool pure = !op.hasTag(at::Tag::nondeterministic_seeded) && !op.schema().is_mutable() && !op.schema().returns().empty();
  known.emplace(key, pure);
  return pure;
}

int64_t version_of(const Tensor& value) { return value.is_inference() ? 0 : value._version(); }

// Collects the tensors of an argument. False where it has something that cannot be compared.
bool gather(const IValue& value, std::vector<Taken>& tensors) {
  if (value.isTensor()) {
    const Tensor& tensor = value.toTensor();
    tensors.push_back({tensor, tensor.defined() ? version_of(tensor) : 0});
    return true;
  }
  if (value.isTensorList() || value.isOptionalTensorList() || value.isList()) {
    for (const IValue& element : value.toListRef()) {
      if (!gather(element, tensors)) return false;
    }
    return true;
  }
  return value.isNone() || value.isInt() || value.isDouble() || value.isBool() || value.isString() || value.isDevice() || value.isComplexDouble();
}

bool is_same(const IValue& a, const IValue& b) {
  if (a.isTensor() && b.isTensor()) return a.toTensor().unsafeGetTensorImpl() == b.toTensor().unsafeGetTensorImpl();
  if (a.isList() && b.isList()) {
    auto left = a.toListRef(), right = b.toListRef();
    if (left.size() != right.size()) return false;
    for (size_t i = 0; i < left.size(); ++i) {
      if (!is_same(left[i], right[i])) return false;
    }
    return true;
  }
  if (a.isNone() || b.isNone()) return a.isNone() && b.isNone();
  if (a.isInt() && b.isInt()) return a.toInt() == b.toInt();
  if (a.isDouble() && b.isDouble()) return a.toDouble() == b.toDouble();
  if (a.isBool() && b.isBool()) return a.toBool() == b.toBool();
  if (a.isString() && b.isString()) return a.toStringRef() == b.toStringRef();
  if (a.isDevice() && b.isDevice()) return a.toDevice() == b.toDevice();
  if (a.isComplexDouble() && b.isComplexDouble()) return a.toComplexDouble() == b.toComplexDouble();
  return false;
}

}  // namespace

struct pc_tch_memo {
  std::vector<Entry> entries;
  bool recorded = false;
  size_t at = 0;
  size_t spared = 0;
  bool on = false;
  // By storage: the entries that have given tensors in it.
  std::unordered_map<const void*, std::vector<size_t>> givers;
  // What depends on a mark, and so on states that move: nothing of it is kept.
  std::unordered_set<const void*> moving;

  // Forgets whatever has given a tensor that is written now: what it gave is not what it gives.
  void spoil(const Tensor& written) {
    if (!written.defined() || !written.has_storage()) return;
    auto found = givers.find(written.storage().unsafeGetStorageImpl());
    if (found == givers.end()) return;
    for (size_t giver : found->second) entries[giver] = Entry();
    givers.erase(found);
  }

  void note_results(size_t index) {
    std::vector<Taken> given;
    for (const IValue& result : entries[index].results) gather(result, given);
    for (const Taken& own : given) {
      if (own.tensor.defined() && own.tensor.has_storage()) givers[own.tensor.storage().unsafeGetStorageImpl()].push_back(index);
    }
  }
};

namespace {

thread_local pc_tch_memo* remembering = nullptr;

void call(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  c10::impl::ExcludeDispatchKeyGuard below(KEY);
  op.callBoxed(stack);
}

void record(pc_tch_memo& memo, const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  size_t count = schema.arguments().size();
  bool good = is_pure(op), moves = false;
  std::vector<Taken> tensors;
  for (size_t i = 0; i < count; ++i) {
    const IValue& argument = (*stack)[stack->size() - count + i];
    std::vector<Taken> own;
    good = gather(argument, own) && good;
    const auto* alias = schema.arguments()[i].alias_info();
    for (Taken& taken : own) {
      moves = moves || memo.moving.count(taken.tensor.unsafeGetTensorImpl()) != 0;
      if (alias != nullptr && alias->isWrite()) memo.spoil(taken.tensor);
      tensors.push_back(std::move(taken));
    }
  }
  Entry entry;
  entry.good = good && !moves && !tensors.empty();
  if (entry.good) {
    entry.name = c10::toString(op.operator_name());
    entry.arguments.assign(stack->end() - static_cast<std::ptrdiff_t>(count), stack->end());
    entry.tensors = std::move(tensors);
  }
  call(op, stack);
  std::vector<IValue> results(stack->end() - static_cast<std::ptrdiff_t>(schema.returns().size()), stack->end());
  if (moves) {
    std::vector<Taken> given;
    for (const IValue& result : results) gather(result, given);
    for (const Taken& own : given) memo.moving.insert(own.tensor.unsafeGetTensorImpl());
  }
  bool keeps = entry.good;
  if (keeps) entry.results = std::move(results);
  memo.entries.push_back(std::move(entry));
  if (keeps) memo.note_results(memo.entries.size() - 1);
}

bool replay(pc_tch_memo& memo, const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  if (memo.at >= memo.entries.size()) return false;
  const Entry& entry = memo.entries[memo.at++];
  size_t count = op.schema().arguments().size();
  if (!entry.good || entry.arguments.size() != count || entry.name != c10::toString(op.operator_name())) return false;
  for (size_t i = 0; i < count; ++i) {
    if (!is_same((*stack)[stack->size() - count + i], entry.arguments[i])) return false;
  }
  for (const Taken& own : entry.tensors) {
    if (own.tensor.defined() && version_of(own.tensor) != own.version) return false;
  }
  stack->erase(stack->end() - static_cast<std::ptrdiff_t>(count), stack->end());
  stack->insert(stack->end(), entry.results.begin(), entry.results.end());
  ++memo.spared;
  return true;
}

void fallback(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  pc_tch_memo* memo = remembering;
  if (memo == nullptr) return call(op, stack);
  if (!memo->recorded) return record(*memo, op, stack);
  if (!replay(*memo, op, stack)) call(op, stack);
}

}  // namespace

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

extern "C" {

pc_tch_memo* pc_tch_memo_new(void) { return new pc_tch_memo(); }

void pc_tch_memo_free(pc_tch_memo* memo) {
  if (memo == nullptr) return;
  pc_tch_memo_off(memo);
  delete memo;
}

char* pc_tch_memo_on(pc_tch_memo* memo) {
  return pc_tch::guarded([&] {
    TORCH_CHECK(remembering == nullptr, "this thread remembers another pass");
    remembering = memo;
    memo->on = true;
    memo->at = 0;
    c10::impl::tls_set_dispatch_key_included(KEY, true);
  });
}

void pc_tch_memo_off(pc_tch_memo* memo) {
  if (!memo->on) return;
  memo->on = false;
  memo->recorded = true;
  remembering = nullptr;
  c10::impl::tls_set_dispatch_key_included(KEY, false);
}

void pc_tch_memo_pause(int paused) {
  if (remembering != nullptr) c10::impl::tls_set_dispatch_key_included(KEY, paused == 0);
}

void pc_tch_memo_moves(tensor value) {
  if (remembering != nullptr) remembering->moving.insert(static_cast<Tensor*>(value)->unsafeGetTensorImpl());
}

size_t pc_tch_memo_spared(const pc_tch_memo* memo) { return memo->spared; }

}  // extern "C"
