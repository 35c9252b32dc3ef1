// The device layer on the CPU: the same calls as in `pc_dev.cuh`, one fiber for each thread of a launch.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

typedef uint32_t u32;
typedef unsigned long long u64;
#define PC_DEV inline
#define PC_CLUSTERS 1
#define PC_WARPGROUPS 1

namespace pcsim {
struct Barrier {
  int need = 0, have = 0;
  u32 round = 0;
};
struct Block;
struct Copy {
  void* to;
  const void* from;
};
// Counts arrivals and bytes in; a round ends when all have arrived (saying what is due is one) and all that is due has come.
struct Signal {
  u32 round;
  int missing, awaited, arrivals;
};
// A bulk copy that has not come yet.
struct Bulk {
  void* to;
  const void* from;
  u32 bytes;
  Signal* signal;
};
// The second operand of a product of a warpgroup, as it was when the product began.
struct Right {
  u64 descriptor;
  bool across;
  u32 columns;
  std::vector<uint16_t> read;
};
// Such a product under way, with what this thread's sums take of the first operand.
struct Product {
  u64 a;
  uint16_t left[2][16];
  std::shared_ptr<Right> right;
};
struct Warp {
  Barrier barrier;
  double word[2][32];
  float a[2][32][4], b[2][32][2];
};
struct Fiber {
  void* stack = nullptr;
  Block* block = nullptr;
  Warp* warp = nullptr;
  int tid = 0, lane = 0;
  bool done = false;
  Barrier* waits = nullptr; // the barrier arrived at and not yet passed
  const Signal* signal = nullptr; // waited for, until it has left the round of this parity
  u32 parity = 0;
  u32 round = 0, exchanges = 0;
  std::vector<Copy> copies;
  std::vector<size_t> groups; // where each group of copies ends
  float* sums = nullptr; // of products under way: set to NaN until all have ended
  std::vector<float> held; // what they will be
  bool began = false;
  std::vector<Product> products;
  std::vector<size_t> ends; // where each group of products ends
  size_t multiplied = 0; // how many products there were
  const char* where = "its start";
};
struct Block {
  unsigned char* shared = nullptr;
  int id = 0, member = 0, rank = 0, threads = 0, finished = 0;
  u32 bytes = 0; // of shared memory
  bool started = false;
  Barrier barrier;
  std::vector<Warp> warps;
  std::vector<std::vector<std::shared_ptr<Right>>> rights; // by warpgroup, of every product so far
  std::vector<Block*>* cluster = nullptr;
  Barrier* cluster_barrier = nullptr;
};
extern thread_local Fiber* current;
// Arrives at a barrier and stays there until all have.
void meet(Barrier* barrier, const char* where);
void arrive(Barrier* barrier, const char* where);
void pass();
// Lets others go first; a barrier that is under way stays so.
void pause();
// Waits until a signal has left the rounds of this parity.
void watch(const Signal* signal, u32 parity);
// Has a bulk copy come some time.
void bring(const Bulk& bulk);
// Begins a product of a warpgroup, of which this thread has so many sums.
void multiply(float* sums, size_t count, u64 a, u64 b, bool across);
// Ends all groups of products but the last so many.
void finish_products(size_t left);
// Ends the launch with this message; does not return.
[[noreturn]] void fail(const char* message);

typedef void (*Entry)(const void* params);
struct Kernel {
  const char* name;
  Entry entry;
  u32 threads;
  size_t size;
  Kernel* next;
  Kernel(const char* name, Entry entry, u32 threads, size_t size);
};
} // namespace pcsim

#define PC_KERNEL(name, threads, Params)                                                                                                   \
  static void name(const Params& p);                                                                                                       \
  static pcsim::Kernel name##_entry(#name, [](const void* p) { name(*(const Params*)p); }, threads, sizeof(Params));                     \
  static void name(const Params& p)
// How many blocks share registers is nothing here.
#define PC_KERNEL_OF(name, threads, blocks, Params) PC_KERNEL(name, threads, Params)
#define PC_SHARED(name) unsigned char* name = pcsim::current->block->shared

inline int pc_tid() { return pcsim::current->tid; }
inline int pc_bid() { return pcsim::current->block->id; }
inline int pc_member() { return pcsim::current->block->member; }
inline void pc_block_sync() { pcsim::meet(&pcsim::current->block->barrier, "a block barrier"); }

inline double pc_exchange(double v, int mask) {
  pcsim::Fiber& f = *pcsim::current;
  // Two places in turn: a lane may be one exchange ahead of those that still read.
  int place = f.exchanges++ & 1;
  f.warp->word[place][f.lane] = v;
  pcsim::meet(&f.warp->barrier, "a shuffle");
  return f.warp->word[place][f.lane ^ mask];
}
inline float pc_shfl_xor(float v, int mask) { return (float)pc_exchange(v, mask); }
inline double pc_shfl_xor(double v, int mask) { return pc_exchange(v, mask); }

inline u32 pc_cluster_rank() { return pcsim::current->block->rank; }
inline u32 pc_cluster_size() { return (u32)pcsim::current->block->cluster->size(); }
inline void pc_cluster_arrive() { pcsim::arrive(pcsim::current->block->cluster_barrier, "a cluster barrier"); }
inline void pc_cluster_wait() { pcsim::pass(); }
template <class T> inline T* pc_peer(T* p, u32 rank) {
  pcsim::Block& block = *pcsim::current->block;
  if (rank >= block.cluster->size()) pcsim::fail("a peer's rank is beyond the cluster");
  pcsim::Block& peer = *(*block.cluster)[rank];
  if (!peer.started) pcsim::fail("shared memory of a block that has not started was addressed");
  if (peer.finished == peer.threads) pcsim::fail("shared memory of a block that has ended was addressed");
  return (T*)(peer.shared + ((unsigned char*)p - block.shared));
}

inline void pc_cluster_note() { pc_cluster_arrive(); }

typedef pcsim::Signal PcSignal;
#define PC_SIGNAL_APART 1
inline void pc_signal_check(PcSignal* s) {
  if (s->awaited || s->missing) return;
  s->awaited = s->arrivals;
  s->round++;
}
inline void pc_signal_init(PcSignal* s, u32 arrivals = 1) { *s = {0, 0, (int)arrivals, (int)arrivals}; }
inline void pc_signals_publish() {}
inline void pc_signal_arrive(PcSignal* s) {
  if (!s->awaited) pcsim::fail("more arrivals than a round of a signal takes");
  s->awaited--;
  pc_signal_check(s);
}
inline void pc_signal_expect(PcSignal* s, u32 bytes) {
  s->missing += (int)bytes;
  pc_signal_arrive(s);
}
// An address in shared memory has the block's rank in the cluster in its upper bits.
inline u32 pc_near(const void* p) {
  return (u32)((const unsigned char*)p - pcsim::current->block->shared) | (u32)pcsim::current->block->rank << 24;
}
inline void pc_signal_wait(PcSignal* s, int round) { pcsim::watch(s, (u32)round & 1); }

struct PcTwo {
  float x, y;
};
struct PcFour {
  float x, y, z, w;
};
inline void pc_aligned(const void* p, uintptr_t bytes) {
  if ((uintptr_t)p & (bytes - 1)) pcsim::fail("an access is not aligned to its width");
}
inline PcTwo pc_load2(const float* p) {
  pc_aligned(p, 8);
  return {p[0], p[1]};
}
inline PcFour pc_load4(const float* p) {
  pc_aligned(p, 16);
  return {p[0], p[1], p[2], p[3]};
}
inline void pc_store2(float* p, float x, float y) {
  pc_aligned(p, 8);
  p[0] = x, p[1] = y;
}
inline void pc_store4(float* p, PcFour v) {
  pc_aligned(p, 16);
  p[0] = v.x, p[1] = v.y, p[2] = v.z, p[3] = v.w;
}
inline void pc_sent(PcSignal* s, u32 rank, int bytes) {
  PcSignal* far = pc_peer(s, rank);
  far->missing -= bytes;
  pc_signal_check(far);
}
inline void pc_send2(float* to, u32 rank, float x, float y, PcSignal* s) {
  pc_store2(s ? pc_peer(to, rank) : to, x, y);
  if (s) pc_sent(s, rank, 8);
}
inline void pc_send4(float* to, u32 rank, PcFour v, PcSignal* s) {
  pc_store4(s ? pc_peer(to, rank) : to, v);
  if (s) pc_sent(s, rank, 16);
}

inline void pc_copy16(void* shared, const void* global) {
  if (((uintptr_t)shared | (uintptr_t)global) & 15) pcsim::fail("an asynchronous copy is not aligned to 16 bytes");
  pcsim::current->copies.push_back({shared, global});
}
// The copies of a thread come as late as they may.
inline void pc_copy_first(size_t count) {
  pcsim::Fiber& f = *pcsim::current;
  if (count) pcsim::pause();
  for (size_t i = 0; i < count; i++) memcpy(f.copies[i].to, f.copies[i].from, 16);
  f.copies.erase(f.copies.begin(), f.copies.begin() + (long)count);
}
inline void pc_copy_wait() {
  pc_copy_first(pcsim::current->copies.size());
  pcsim::current->groups.clear();
}
inline void pc_copy_commit() { pcsim::current->groups.push_back(pcsim::current->copies.size()); }
template <int LEFT> inline void pc_copy_wait_but() {
  std::vector<size_t>& groups = pcsim::current->groups;
  if (groups.size() <= LEFT) return;
  size_t closed = groups.size() - LEFT, count = groups[closed - 1];
  groups.erase(groups.begin(), groups.begin() + (long)closed);
  for (size_t& end : groups) end -= count;
  pc_copy_first(count);
}

inline float pc_float(u32 bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
inline u32 pc_bits(float x) {
  u32 bits;
  memcpy(&bits, &x, 4);
  return bits;
}
inline bool pc_finite(float x) { return (pc_bits(x) & 0x7f800000u) != 0x7f800000u; }
inline float pc_tf32(float x) { return pc_finite(x) ? pc_float((pc_bits(x) + 0x1000u) & ~0x1fffu) : x; }
inline float pc_add(float a, float b) { return a + b; }
inline float pc_mul(float a, float b) { return a * b; }
inline float pc_fma(float a, float b, float c) { return fmaf(a, b, c); }
inline float pc_div(float a, float b) { return a / b; }
inline float pc_sqrt(float a) { return sqrtf(a); }
inline double pc_log(double a) { return log(a); }
inline double pc_exp(double a) { return exp(a); }
inline double pc_erfc(double a) { return erfc(a); }

// Operands that were not rounded to tf32 lose their last bits, as the hardware's do.
inline void pc_mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
  pcsim::Fiber& f = *pcsim::current;
  pcsim::Warp& w = *f.warp;
  int place = f.exchanges++ & 1, g = f.lane >> 2, t = f.lane & 3;
  for (int i = 0; i < 4; i++) w.a[place][f.lane][i] = pc_float(pc_bits(a[i]) & ~0x1fffu);
  for (int i = 0; i < 2; i++) w.b[place][f.lane][i] = pc_float(pc_bits(b[i]) & ~0x1fffu);
  pcsim::meet(&w.barrier, "a matrix product");
  for (int i = 0; i < 4; i++) {
    int row = g + 8 * (i >> 1), column = 2 * t + (i & 1);
    float sum = d[i];
    for (int k = 0; k < 8; k++)
      sum += w.a[place][(row & 7) * 4 + (k & 3)][(row >> 3) + 2 * (k >> 2)] * w.b[place][column * 4 + (k & 3)][k >> 2];
    d[i] = sum;
  }
}

inline u32 pc_bf16(float x) {
  u32 bits = pc_bits(x);
  return pc_finite(x) ? (bits + 0x7fffu + (bits >> 16 & 1)) >> 16 : bits >> 16 | (x != x);
}
inline u32 pc_bf16_pair(float first, float second) { return pc_bf16(first) | pc_bf16(second) << 16; }
inline u32 pc_upper_halves(float first, float second) { return pc_bits(first) >> 16 | (pc_bits(second) & 0xffff0000u); }

// Words of two bf16 numbers each, of which a product of two is exact.
inline void pc_mma_bf16(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
  pcsim::Fiber& f = *pcsim::current;
  pcsim::Warp& w = *f.warp;
  int place = f.exchanges++ & 1, g = f.lane >> 2, t = f.lane & 3;
  memcpy(w.a[place][f.lane], a, sizeof a);
  memcpy(w.b[place][f.lane], b, sizeof b);
  pcsim::meet(&w.barrier, "a matrix product");
  for (int i = 0; i < 4; i++) {
    int row = g + 8 * (i >> 1), column = 2 * t + (i & 1);
    float sum = d[i];
    for (int k = 0; k < 16; k++) {
      int lane = (k & 7) >> 1, up = 16 * (k & 1);
      u32 x = pc_bits(w.a[place][(row & 7) * 4 + lane][(row >> 3) + 2 * (k >> 3)]) >> up;
      u32 y = pc_bits(w.b[place][column * 4 + lane][k >> 3]) >> up;
      sum += pc_float(x << 16) * pc_float(y << 16);
    }
    d[i] = sum;
  }
}

inline void pc_bulk_copy(void* shared, const void* global, u32 bytes, PcSignal* s) {
  if (((uintptr_t)shared | (uintptr_t)global | bytes) & 15) pcsim::fail("a bulk copy is not of whole, aligned multiples of 16 bytes");
  pcsim::bring({shared, global, bytes, s});
}
inline void pc_bulk_copy_to_both(void* shared, const void* global, u32 bytes, PcSignal* s) {
  for (u32 rank = 0; rank < 2; rank++) pc_bulk_copy(pc_peer((unsigned char*)shared, rank), global, bytes, pc_peer(s, rank));
}
inline void pc_signal_arrive_at(PcSignal* s, u32 rank) { pc_signal_arrive(pc_peer(s, rank)); }
inline void pc_prefetch(const void*) {}
inline void pc_grid_wait() {}
inline void pc_grid_next() {}
inline void pc_wgmma_begin() { pcsim::current->began = true; }
inline void pc_wgmma_commit() { pcsim::current->ends.push_back(pcsim::current->products.size()); }
template <int LEFT> inline void pc_wgmma_wait_but() { pcsim::finish_products(LEFT); }
template <bool ACROSS, int SUMS> inline void pc_wgmma(float (&d)[SUMS], u64 a, u64 b) { pcsim::multiply(d, SUMS, a, b, ACROSS); }
