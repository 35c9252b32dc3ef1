// Runs a launch on the CPU: fibers, barriers, poisoned shared memory, seeded and unfair scheduling, deadlocks found.
#include "pc_sim.h"
#include <cstdio>
#include <string>
#include <sys/mman.h>

// Under the address sanitizer shared memory ends where it ends, and a fiber's stack starts clean: the frames of the last one never returned.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
static const size_t GUARD = 0;
#else
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address))
static const size_t GUARD = 256;
#endif

extern "C" {
extern int pcsim_kernels;
void pcsim_switch(void** save, void* to);
}
#if defined(__x86_64__)
asm(R"(
.text
.globl pcsim_switch
.hidden pcsim_switch
.type pcsim_switch,@function
pcsim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pcsim_switch,.-pcsim_switch
)");
static const int SAVED = 6, ENTRY = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.globl pcsim_switch
.hidden pcsim_switch
.type pcsim_switch,%function
pcsim_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size pcsim_switch,.-pcsim_switch
)");
static const int SAVED = 20, ENTRY = 11;
#else
#error "the host layer knows x86-64 and aarch64"
#endif

namespace pcsim {
thread_local Fiber* current;
static thread_local void* scheduler;
static thread_local Entry entry;
static thread_local const void* params;
static thread_local std::string* failure;
static thread_local std::vector<Bulk>* bulks;
static Kernel* kernels;

Kernel::Kernel(const char* name, Entry entry, u32 threads, size_t size)
    : name(name), entry(entry), threads(threads), size(size), next(kernels) {
  kernels = this;
}

// The fibers' stacks, kept from one launch to the next.
struct Stacks {
  static const size_t SIZE = 256 << 10;
  char* base = nullptr;
  size_t count = 0;
  char* get(size_t wanted) {
    if (wanted > count) {
      release();
      void* memory = mmap(nullptr, wanted * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) return nullptr;
      base = (char*)memory;
      count = wanted;
    }
    return base;
  }
  void release() {
    if (base) munmap(base, count * SIZE);
    base = nullptr;
    count = 0;
  }
  ~Stacks() { release(); }
};
static thread_local Stacks stacks;

static void yield() {
  Fiber* own = current;
  pcsim_switch(&own->stack, scheduler);
  current = own;
}

void fail(const char* message) {
  Fiber& f = *current;
  if (failure->empty())
    *failure = std::string(message) + " (block " + std::to_string(f.block->id) + ", thread " + std::to_string(f.tid) + ")";
  for (;;) yield();
}

void arrive(Barrier* barrier, const char* where) {
  Fiber& f = *current;
  if (f.waits) fail("a thread arrived at a barrier before it had passed the one before");
  f.where = where;
  f.waits = barrier;
  f.round = barrier->round;
  if (++barrier->have == barrier->need) {
    barrier->have = 0;
    barrier->round++;
  }
}

void pass() {
  Fiber& f = *current;
  if (!f.waits) fail("a thread waited at a barrier at which it had not arrived");
  while (f.waits->round == f.round) yield();
  f.waits = nullptr;
}

void meet(Barrier* barrier, const char* where) {
  Fiber& f = *current;
  // A cluster barrier may be under way: arrived at, not passed.
  Barrier* outer = f.waits;
  u32 round = f.round;
  f.waits = nullptr;
  arrive(barrier, where);
  pass();
  f.waits = outer;
  f.round = round;
}

void pause() {
  Fiber& f = *current;
  Barrier* outer = f.waits;
  f.waits = nullptr;
  yield();
  f.waits = outer;
}

void watch(const Signal* signal, u32 parity) {
  Fiber& f = *current;
  const char* where = f.where;
  f.where = "a signal";
  f.signal = signal;
  f.parity = parity;
  while ((signal->round & 1) == parity) yield();
  f.signal = nullptr;
  f.where = where;
}

#include "pc_wgmma.h"

static void begin() {
  entry(params);
  Fiber& f = *current;
  if (f.waits) fail("a thread ended between arriving at a barrier and passing it");
  if (!f.copies.empty()) fail("a thread ended before its asynchronous copies had");
  if (!f.products.empty()) fail("a thread ended before its products had");
  f.done = true;
  f.block->finished++;
  for (;;) yield();
}

struct Random {
  u64 state;
  u32 below(u32 n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (u32)((state >> 33) % n);
  }
};

// Waits for nothing, for a barrier that has opened, or for a signal that has. Only a fiber that stands at one has switched away.
static bool ready(const Fiber& f) {
  if (f.signal) return (f.signal->round & 1) != f.parity;
  return !f.waits || f.waits->round != f.round;
}

static void run_cluster(std::vector<Fiber>& fibers, u32 blocks, u64 seed, Random& random) {
  std::vector<u32> live(fibers.size());
  for (size_t i = 0; i < live.size(); i++) live[i] = (u32)i;
  u32 threads = (u32)(fibers.size() / blocks), held = ~0u;
  for (u32 round = 0; !live.empty() && failure->empty(); round++) {
    if (seed && round % 4 == 0)
      for (size_t i = live.size() - 1; i > 0; i--) std::swap(live[i], live[random.below((u32)i + 1)]);
    // Odd seeds let one block, or one warp in all, run as far as it can before the others may.
    u32 favoured = blocks, warp = ~0u;
    if (seed & 1) {
      if (blocks > 1) favoured = (seed & 2) ? random.below(blocks) : (u32)((seed >> 2) + round / 64) % blocks;
      else warp = random.below(threads / 32);
    }
    // The other seeds hold a warp of the cluster back: it runs where no other can.
    if (seed && !(seed & 1) && round % 16 == 0) held = random.below(blocks * (threads / 32));
    auto first = [&](const Fiber& f) {
      u32 rank = (u32)f.block->rank, own = (u32)f.tid / 32;
      if (favoured != blocks) return rank == favoured;
      return warp != ~0u ? own == warp : rank * (threads / 32) + own != held;
    };
    bool progress = false;
    for (int pass = 0; pass < 2 && !progress; pass++) {
      size_t kept = 0;
      for (size_t i = 0; i < live.size(); i++) {
        Fiber& f = fibers[live[i]];
        if ((pass == 1 || first(f)) && ready(f) && failure->empty()) {
          f.block->started = true;
          current = &f;
          pcsim_switch(&scheduler, f.stack);
          progress = true;
        }
        if (!f.done) live[kept++] = live[i];
      }
      live.resize(kept);
    }
    // Bulk copies come as late as they may for seed 0, and any time for others.
    if (!bulks->empty() && failure->empty() && (!progress || (seed && random.below(4) == 0))) {
      arrived(seed ? random.below((u32)bulks->size()) : bulks->size() - 1);
      progress = true;
    }
    if (!progress && !live.empty() && failure->empty()) {
      Fiber& f = fibers[live[0]];
      *failure = "deadlock: " + std::to_string(live.size()) + " threads are stuck, the first of them (block " + std::to_string(f.block->id) +
                 ", thread " + std::to_string(f.tid) + ") at " + f.where;
    }
  }
  if (!bulks->empty() && failure->empty()) *failure = "a cluster ended before its bulk copies had";
  bulks->clear();
}
} // namespace pcsim

// Runs a kernel, of `members` grids. Returns 0, or 1 with what went wrong in `message`.
extern "C" int pcsim_launch(const char* name, u32 grid, u32 members, u32 block, u32 cluster, u32 shared, u64 seed, const void* params, size_t size,
                            char* message, size_t room) {
  using namespace pcsim;
  std::string error;
  std::vector<Bulk> on_the_way;
  failure = &error;
  bulks = &on_the_way;
  const Kernel* kernel = pcsim_kernels ? kernels : nullptr;
  while (kernel && strcmp(kernel->name, name)) kernel = kernel->next;
  if (!kernel) error = std::string("no kernel is called ") + name;
  else if (kernel->threads != block) error = std::string(name) + " runs in blocks of " + std::to_string(kernel->threads) + " threads";
  else if (kernel->size != size) error = std::string(name) + " takes " + std::to_string(kernel->size) + " bytes, not " + std::to_string(size);
  else if (!grid || !members || !cluster || cluster > 16 || grid % cluster) error = "the grid is not made of whole clusters of at most 16 blocks";
  else if (shared > 232448) error = "more shared memory than a block may have";
  if (error.empty()) {
    size_t count = (size_t)cluster * block;
    entry = kernel->entry;
    pcsim::params = params;
    char* memory = stacks.get(count);
    if (!memory) error = "no memory for stacks";
    Random random{seed * 0x9E3779B97F4A7C15ull + 1};
    // Clusters run one after the other, but nothing may rest on which comes first: in order for seed 0, from last to first for odd seeds, shuffled
    // for the others.
    std::vector<u32> order(grid / cluster * members);
    for (u32 i = 0; i < order.size(); i++) order[i] = seed & 1 ? (u32)order.size() - 1 - i : i;
    if (seed && !(seed & 1))
      for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random.below((u32)i)]);
    for (size_t turn = 0; turn < order.size() && error.empty(); turn++) {
      u32 base = order[turn] % (grid / cluster) * cluster, member = order[turn] / (grid / cluster);
      std::vector<std::unique_ptr<Block>> blocks;
      std::vector<Block*> members;
      Barrier cluster_barrier;
      cluster_barrier.need = (int)count;
      for (u32 i = 0; i < cluster; i++) {
        auto b = std::make_unique<Block>();
        // Every word is a NaN until it is written, and so is what lies behind the end.
        void* room = nullptr;
        if (posix_memalign(&room, 1024, shared + GUARD + 1)) room = nullptr;
        b->shared = (unsigned char*)room;
        if (!b->shared) {
          error = "no memory for shared memory";
          break;
        }
        memset(b->shared, 0xff, shared + GUARD);
        b->id = (int)(base + i);
        b->member = (int)member;
        b->rank = (int)i;
        b->threads = (int)block;
        b->barrier.need = (int)block;
        b->warps.resize((block + 31) / 32);
        b->bytes = shared;
        b->rights.resize((block + 127) / 128);
        for (Warp& w : b->warps) w.barrier.need = 32;
        b->cluster = &members;
        b->cluster_barrier = &cluster_barrier;
        members.push_back(b.get());
        blocks.push_back(std::move(b));
      }
      if (!error.empty()) break;
      std::vector<Fiber> fibers(count);
      for (size_t i = 0; i < count; i++) {
        Fiber& f = fibers[i];
        f.block = blocks[i / block].get();
        f.tid = (int)(i % block);
        f.lane = f.tid & 31;
        f.warp = &f.block->warps[f.tid >> 5];
        ASAN_UNPOISON_MEMORY_REGION(memory + (i + 1) * Stacks::SIZE - (32 << 10), 32 << 10);
        void** top = (void**)(memory + (i + 1) * Stacks::SIZE) - 2;
        top -= SAVED + 2;
        // Aligned so that after the return to `begin` the stack stands as after a call.
        top = (void**)((uintptr_t)top & ~(uintptr_t)15);
        memset(top, 0, (SAVED + 2) * sizeof(void*));
        top[ENTRY] = (void*)begin;
        f.stack = top;
      }
      run_cluster(fibers, cluster, seed, random);
      for (auto& b : blocks) {
        for (size_t k = shared; k < shared + GUARD && error.empty(); k++)
          if (b->shared[k] != 0xff) error = "a block wrote behind its shared memory";
        free(b->shared);
      }
    }
    // Where a launch was broken off, its fibers' frames are left as they are: no stack is used again by a later launch's frames from inside.
    if (!error.empty()) stacks.release();
  }
  snprintf(message, room, "%s", error.c_str());
  return error.empty() ? 0 : 1;
}

// The bytes that a kernel takes; 0 where there is none of this name.
extern "C" size_t pcsim_size(const char* name) {
  const pcsim::Kernel* kernel = pcsim_kernels ? pcsim::kernels : nullptr;
  while (kernel && strcmp(kernel->name, name)) kernel = kernel->next;
  return kernel ? kernel->size : 0;
}
