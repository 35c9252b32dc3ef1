// Every call of the device layer once, so that a device can be compared with the host layer bit for bit. Products are of small whole numbers, which
// every order of summation gets right.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_PRIMITIVE_THREADS 64

// out: exp and exp - 1; tanh and slope; a change and its slope; tf32; quotient; root: nine numbers an input.
PC_KERNEL(pc_check_math, PC_PRIMITIVE_THREADS, PcPrimitives) {
  for (int i = pc_bid() * PC_PRIMITIVE_THREADS + pc_tid(); i < p.count; i += PC_PRIMITIVE_THREADS * 4) {
    float x = p.in[i], low = x < 0.f ? x : -x, other = p.in[(i + 1) % p.count], *o = p.out + 9 * i;
    pc_exp_both(low, o[0], o[1]);
    pc_activate(PC_TANH, x, o[2], o[3]);
    o[4] = pc_change(PC_TANH, x, other, o[5]);
    o[6] = pc_tf32(x);
    o[7] = pc_div(x, pc_add(1.f, pc_mul(other, other)));
    o[8] = pc_sqrt(pc_fma(x, x, 1.f));
  }
}

// One block: copies through shared memory, shuffles, and products. in: 64 floats; out: 64 copied, 64 shuffled, 2 x 128 products in tf32, as many in
// bf16 of rounded pairs and of halves that are rounded already.
PC_KERNEL(pc_check_warp, PC_PRIMITIVE_THREADS, PcPrimitives) {
  PC_SHARED(raw);
  float* shared = (float*)raw;
  int tid = pc_tid(), lane = tid & 31, warp = tid >> 5, g = lane >> 2, t = lane & 3;
  if (tid < 16) pc_copy16(shared + 4 * tid, p.in + 4 * tid);
  pc_copy_wait();
  pc_block_sync();
  p.out[tid] = shared[63 - tid];
  p.out[64 + tid] = pc_shfl_xor(shared[tid], 5) + (float)pc_shfl_xor((double)shared[tid], 16);
  float a[4], b[2], d[4] = {1.f, 2.f, 3.f, 4.f};
  for (int k = 0; k < 4; k++) a[k] = (float)((g + 8 * (k & 1)) * 3 + t + 4 * (k >> 1) + warp);
  for (int k = 0; k < 2; k++) b[k] = (float)((t + 4 * k) * 5 - g);
  pc_mma(d, a, b);
  for (int k = 0; k < 4; k++) p.out[128 + warp * 128 + lane * 4 + k] = d[k];
  for (int k = 0; k < 4; k++) {
    // An eighth beside a power of two is rounded away, and a half to even.
    float x = a[k] + (k & 1 ? 128.125f : 257.f), y = b[k & 1] - 256.5f;
    a[k] = pc_float(pc_bf16_pair(x, y));
    d[k] = (float)k;
  }
  for (int k = 0; k < 2; k++) b[k] = pc_float(pc_upper_halves(2.f * b[k], b[k] + 3.f));
  pc_mma_bf16(d, a, b);
  for (int k = 0; k < 4; k++) p.out[384 + warp * 128 + lane * 4 + k] = d[k];
}

#ifdef PC_CLUSTERS
// A cluster passes its blocks' numbers round: block c writes to block c + 1. out: blocks x 64.
PC_KERNEL(pc_check_cluster, PC_PRIMITIVE_THREADS, PcPrimitives) {
  PC_SHARED(raw);
  float* shared = (float*)raw;
  u32 me = pc_cluster_rank(), size = pc_cluster_size();
  int tid = pc_tid();
  pc_cluster_arrive();
  pc_cluster_wait();
  pc_peer(shared, (me + 1) % size)[tid] = p.in[tid] + (float)(me * 100);
  pc_cluster_arrive();
  pc_cluster_wait();
  p.out[pc_bid() * 64 + tid] = shared[tid];
}
#endif
