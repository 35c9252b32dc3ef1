// The device layer: everything a kernel asks of the machine, and the only file with PTX. No CUDA header is included, so that compilation at run
// time needs no include path. `pc_sim.h` gives the same calls on the CPU.
#pragma once
#ifdef PC_SIM
#include "pc_sim.h"
#else
typedef unsigned int u32;
typedef unsigned long long u64;
#define PC_DEV __device__ __forceinline__
// A kernel of `threads` threads a block that takes one struct, of which so many blocks share a multiprocessor's registers: one, so that they are not
// scarce, where nothing else is said.
#define PC_KERNEL_OF(name, threads, blocks, Params) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Params p)
#define PC_KERNEL(name, threads, Params) PC_KERNEL_OF(name, threads, 1, Params)
// Aligned as swizzled operands have to be.
#define PC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

PC_DEV int pc_tid() { return threadIdx.x; }
PC_DEV int pc_bid() { return blockIdx.x; }
// Which of several launches in one this block belongs to.
PC_DEV int pc_member() { return blockIdx.y; }
PC_DEV void pc_block_sync() { __syncthreads(); }
PC_DEV float pc_shfl_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
PC_DEV double pc_shfl_xor(double v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }

// Two and four numbers at once, at places that are aligned to as much.
struct PcTwo {
  float x, y;
};
struct PcFour {
  float x, y, z, w;
};
PC_DEV PcTwo pc_load2(const float* p) {
  float2 v = *(const float2*)p;
  return {v.x, v.y};
}
PC_DEV PcFour pc_load4(const float* p) {
  float4 v = *(const float4*)p;
  return {v.x, v.y, v.z, v.w};
}
PC_DEV void pc_store2(float* p, float x, float y) { *(float2*)p = make_float2(x, y); }
PC_DEV void pc_store4(float* p, PcFour v) { *(float4*)p = make_float4(v.x, v.y, v.z, v.w); }

// Clusters of blocks: rank and size, a barrier in two halves, and the address of the same shared memory in another block. The barrier
// publishes what was written to shared memory before, which costs far more than the meeting itself; `pc_cluster_note` arrives without that.
#if __CUDA_ARCH__ >= 900
#define PC_CLUSTERS 1
PC_DEV u32 pc_cluster_rank() {
  u32 r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
PC_DEV u32 pc_cluster_size() {
  u32 r;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(r));
  return r;
}
PC_DEV void pc_cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
PC_DEV void pc_cluster_note() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
PC_DEV void pc_cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
template <class T> PC_DEV T* pc_peer(T* p, u32 rank) {
  u64 d;
  asm("mapa.u64 %0, %1, %2;" : "=l"(d) : "l"((u64)p), "r"(rank));
  return (T*)d;
}

// Bytes that peers send, and a signal that counts them in. The signal lies in the receiver's shared memory; each round of it says once how many bytes
// are due, and opens when they are there.
typedef u64 PcSignal;
#define PC_SIGNAL_APART 2 // signals lie 16 bytes apart
PC_DEV u32 pc_near(const void* p) { return (u32)__cvta_generic_to_shared(p); }
PC_DEV u32 pc_far(u32 address, u32 rank) {
  u32 far;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(far) : "r"(address), "r"(rank));
  return far;
}
// A round takes so many arrivals; saying what is due is one.
PC_DEV void pc_signal_init(PcSignal* s, u32 arrivals = 1) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(pc_near(s)), "r"(arrivals) : "memory");
}
// Before the cluster barrier that lets peers send.
PC_DEV void pc_signals_publish() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// One thread of a block says what is due in this round.
PC_DEV void pc_signal_expect(PcSignal* s, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(pc_near(s)), "r"(bytes) : "memory");
}
PC_DEV void pc_signal_arrive(PcSignal* s) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(pc_near(s)) : "memory");
}
// Until the round of this number has ended.
PC_DEV void pc_signal_wait(PcSignal* s, int round) {
  u32 open;
  do {
    asm volatile(
        "{.reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
        : "=r"(open)
        : "r"(pc_near(s)), "r"((u32)round & 1)
        : "memory");
  } while (!open);
}
// Numbers to the same place of block `rank`, counted by its signal. Without a signal they stay here:
// a block alone has no cluster to send to.
PC_DEV void pc_send2(float* to, u32 rank, float x, float y, PcSignal* s) {
  if (!s) {
    pc_store2(to, x, y);
    return;
  }
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(pc_far(pc_near(to), rank)), "f"(x), "f"(y),
               "r"(pc_far(pc_near(s), rank))
               : "memory");
}
PC_DEV void pc_send4(float* to, u32 rank, PcFour v, PcSignal* s) {
  if (!s) {
    pc_store4(to, v);
    return;
  }
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(pc_far(pc_near(to), rank)),
               "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "r"(pc_far(pc_near(s), rank))
               : "memory");
}

// Products by warpgroups, of operands in shared memory (sm_90a alone).
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define PC_WARPGROUPS 1
// Whole multiples of 16 bytes from global to shared memory, by one thread; the signal counts them in.
PC_DEV void pc_bulk_copy(void* shared, const void* global, u32 bytes, PcSignal* s) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(pc_near(shared)), "l"(global),
               "r"(bytes), "r"(pc_near(s))
               : "memory");
}
// The same to the same place of both blocks of a cluster, each with its own signal.
PC_DEV void pc_bulk_copy_to_both(void* shared, const void* global, u32 bytes, PcSignal* s) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(pc_near(shared)),
               "l"(global), "r"(bytes), "r"(pc_near(s)), "h"((unsigned short)3)
               : "memory");
}
PC_DEV void pc_signal_arrive_at(PcSignal* s, u32 rank) {
  asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(pc_far(pc_near(s), rank)) : "memory");
}
// What will be read, to the second-level cache.
PC_DEV void pc_prefetch(const void* global) { asm volatile("prefetch.global.L2 [%0];" ::"l"(global)); }
// Where a launch may begin before the one in front of it has ended: a wait for its end, and the leave for the next one to begin.
PC_DEV void pc_grid_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
PC_DEV void pc_grid_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
// Before the first product of sums that this thread has set; the end of a group of products; and a wait for all groups but the last so many.
PC_DEV void pc_wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
PC_DEV void pc_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> PC_DEV void pc_wgmma_wait_but() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }
#define PC_EIGHT(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define PC_THIRTY_TWO(d, i) PC_EIGHT(d, i), PC_EIGHT(d, i + 8), PC_EIGHT(d, i + 16), PC_EIGHT(d, i + 24)
// d += a b, for a 64 x 16 by 16 x 192 product of bf16 numbers that lie where descriptors say, with sums spread over a warpgroup as PTX says of
// wgmma.m64n192k16. What lies side by side in memory of b are numbers of a column; where ACROSS, of a row.
template <bool ACROSS> PC_DEV void pc_wgmma(float (&d)[96], u64 a, u64 b) {
  asm volatile(
      "{.reg .pred p; setp.eq.u32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, "
      "%72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
      "}, %96, %97, p, 1, 1, 0, %98;}"
      : PC_THIRTY_TWO(d, 0), PC_THIRTY_TWO(d, 32), PC_THIRTY_TWO(d, 64)
      : "l"(a), "l"(b), "n"(ACROSS ? 1 : 0));
}
#endif
#endif

// 16 bytes from global to shared memory, there only after this thread has waited.
PC_DEV void pc_copy16(void* shared, const void* global) {
  u32 a = (u32)__cvta_generic_to_shared(shared);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(a), "l"(global) : "memory");
}
PC_DEV void pc_copy_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// Copies in groups: what this thread has asked for since the last commit, and a wait for all groups but the last so many.
PC_DEV void pc_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> PC_DEV void pc_copy_wait_but() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

// The nearest tf32 number, ties away from zero.
PC_DEV float pc_tf32(float x) {
  u32 r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return __uint_as_float(r);
}
// d += a b, for a 16 x 8 by 8 x 8 product of tf32 numbers spread over a warp as PTX says of mma.m16n8k8.
PC_DEV void pc_mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
                 "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
// Two bf16 numbers, the nearest ones, ties to even: the first in the lower half.
PC_DEV u32 pc_bf16_pair(float first, float second) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
  return r;
}
// The upper halves of two numbers in a word: two that are bf16 numbers already.
PC_DEV u32 pc_upper_halves(float first, float second) {
  return __byte_perm(__float_as_uint(first), __float_as_uint(second), 0x7632);
}
// d += a b, for a 16 x 16 by 16 x 8 product of bf16 numbers, two a word, spread over a warp as PTX says of mma.m16n8k16.
PC_DEV void pc_mma_bf16(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
                 "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}

// Arithmetic that the compiler may not contract, so that host and device agree to the last bit.
PC_DEV float pc_add(float a, float b) { return __fadd_rn(a, b); }
PC_DEV float pc_mul(float a, float b) { return __fmul_rn(a, b); }
PC_DEV float pc_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
PC_DEV float pc_div(float a, float b) { return __fdiv_rn(a, b); }
PC_DEV float pc_sqrt(float a) { return __fsqrt_rn(a); }
PC_DEV double pc_log(double a) { return log(a); }
PC_DEV double pc_exp(double a) { return exp(a); }
PC_DEV double pc_erfc(double a) { return erfc(a); }
PC_DEV float pc_float(u32 bits) { return __uint_as_float(bits); }
#endif

// A kernel that has a second form, `name_many`: several launches of one size in one, each with a struct of its own. It is what steps that were recorded
// are made of: see `device/works.rs`.
#define PC_MANY 4096 // bytes of structs that such a launch takes at most
#define PC_KERNEL_MANY(name, threads, Params)                                   \
  PC_DEV void name##_body(const Params& p);                                     \
  struct name##_params {                                                        \
    Params of[PC_MANY / sizeof(Params)];                                        \
  };                                                                            \
  PC_KERNEL(name, threads, Params) { name##_body(p); }                          \
  PC_KERNEL(name##_many, threads, name##_params) { name##_body(p.of[pc_member()]); } \
  PC_DEV void name##_body(const Params& p)
