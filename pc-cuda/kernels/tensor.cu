// What the engine's loop asks of a tensor, one kernel each, and the sums behind energies.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_TENSOR_THREADS 256

enum { PC_FILL = 0, PC_AXPY = 1, PC_SCALE = 2, PC_MULTIPLY = 3, PC_SUM = 4, PC_ERROR = 5, PC_PRODUCT = 6, PC_ADD_PRODUCT = 7 };

// Element by element: x; out + x a; x out; out a; x a + y b; a + b - c with what is missing zero; a b; out + a b.
PC_KERNEL_MANY(pc_map, PC_TENSOR_THREADS, PcMap) {
  int start = pc_bid() * PC_CHUNK, end = start + PC_CHUNK;
  if (end > p.count) end = p.count;
  for (int i = start + pc_tid(); i < end; i += PC_TENSOR_THREADS) {
    float* o = p.out + i;
    switch (p.operation) {
    case PC_FILL: *o = p.x; break;
    case PC_AXPY: *o += p.x * p.a[i]; break;
    case PC_SCALE: *o *= p.x; break;
    case PC_MULTIPLY: *o *= p.a[i]; break;
    case PC_SUM: *o = p.x * p.a[i] + p.y * p.b[i]; break;
    case PC_PRODUCT: *o = p.a[i] * p.b[i]; break;
    case PC_ADD_PRODUCT: *o += p.a[i] * p.b[i]; break;
    default: *o = (p.a ? p.a[i] : 0.f) + ((p.b ? p.b[i] : 0.f) - (p.c ? p.c[i] : 0.f));
    }
  }
}

// velocity <- momentum velocity + g with g = force - precision e; d += rate velocity; v = ref + d. Without velocity d += rate g; without v only d.
PC_KERNEL_MANY(pc_step, PC_TENSOR_THREADS, PcStep) {
  int start = pc_bid() * PC_CHUNK, end = start + PC_CHUNK;
  if (end > p.count) end = p.count;
  for (int i = start + pc_tid(); i < end; i += PC_TENSOR_THREADS) {
    float g = (p.force ? p.force[i] : 0.f) - (p.e ? p.precision * p.e[i] : 0.f);
    if (p.velocity) {
      g += p.momentum * p.velocity[i];
      p.velocity[i] = g;
    }
    float d = p.d[i] + p.rate * g;
    p.d[i] = d;
    if (p.v) p.v[i] = p.ref[i] + d;
  }
}

// a . b, a number a block.
PC_KERNEL(pc_dot, PC_TENSOR_THREADS, PcReduce) {
  PC_SHARED(raw);
  int start = pc_bid() * PC_CHUNK, end = start + PC_CHUNK;
  if (end > p.count) end = p.count;
  double sum = 0.0;
  for (int i = start + pc_tid(); i < end; i += PC_TENSOR_THREADS) sum += (double)p.a[i] * (double)p.b[i];
  sum = pc_block_sum<PC_TENSOR_THREADS / 32>((double*)raw, sum);
  if (pc_tid() == 0) p.out[pc_bid()] = sum;
}

// |theta|^2 of several tensors, a number a block, where `v` points to; not finite where any element is not, since no square of an f32 is too large.
PC_KERNEL(pc_norms, PC_TENSOR_THREADS, PcOptimise) {
  PC_SHARED(raw);
  int l = 0, block = pc_bid();
  while (l + 1 < p.parts && p.part[l + 1].first <= block) l++;
  const PcPart& y = p.part[l];
  int start = (block - y.first) * PC_CHUNK, end = start + PC_CHUNK;
  if (end > y.count) end = y.count;
  double sum = 0.0;
  for (int i = start + pc_tid(); i < end; i += PC_TENSOR_THREADS) sum += (double)y.theta[i] * (double)y.theta[i];
  sum = pc_block_sum<PC_TENSOR_THREADS / 32>((double*)raw, sum);
  if (pc_tid() == 0) ((double*)y.v)[block - y.first] = sum;
}
