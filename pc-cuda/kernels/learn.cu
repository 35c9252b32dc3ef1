// Weight gradients and optimisers. Sums run over the samples in order, so that the same batch gives the same bits.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_LEARN_THREADS 256
#define PC_TILE 32
#define PC_TILE_STRIDE (PC_TILE + 1)

// A block makes a tile of 32 x 32 weights of one layer, and where it is the first of its row of tiles the biases too.
PC_KERNEL(pc_weight_gradients, PC_LEARN_THREADS, PcWeights) {
  PC_SHARED(raw);
  float *G = (float*)raw, *V = G + PC_TILE * PC_TILE_STRIDE;
  int l = 0, block = pc_bid(), tid = pc_tid();
  while (l + 1 < p.layers && p.layer[l + 1].first <= block) l++;
  const PcWeightLayer& y = p.layer[l];
  int across = (y.inputs + PC_TILE - 1) / PC_TILE, tile = block - y.first;
  int i0 = tile / across * PC_TILE, j0 = tile % across * PC_TILE;
  int j = tid % PC_TILE, i = tid / PC_TILE * 4;
  float sum[4] = {0.f, 0.f, 0.f, 0.f}, bias = 0.f;
  for (int s0 = 0; s0 < p.batch; s0 += PC_TILE) {
    for (int q = tid; q < PC_TILE * PC_TILE; q += PC_LEARN_THREADS) {
      int s = q / PC_TILE, k = q % PC_TILE;
      bool in = s0 + s < p.batch;
      G[s * PC_TILE_STRIDE + k] = in && i0 + k < y.outputs ? y.g[(u64)(s0 + s) * y.outputs + i0 + k] : 0.f;
      V[s * PC_TILE_STRIDE + k] = in && j0 + k < y.inputs ? y.v[(u64)(s0 + s) * y.inputs + j0 + k] : 0.f;
    }
    pc_block_sync();
#pragma unroll 8
    for (int s = 0; s < PC_TILE; s++) {
      float v = V[s * PC_TILE_STRIDE + j];
#pragma unroll
      for (int r = 0; r < 4; r++) sum[r] += G[s * PC_TILE_STRIDE + i + r] * v;
    }
    if (y.db && j0 == 0 && tid < PC_TILE)
      for (int s = 0; s < PC_TILE; s++) bias += G[s * PC_TILE_STRIDE + tid];
    pc_block_sync();
  }
  if (y.dw && j0 + j < y.inputs) {
#pragma unroll
    for (int r = 0; r < 4; r++)
      if (i0 + i + r < y.outputs) {
        float* out = y.dw + (u64)(i0 + i + r) * y.inputs + j0 + j;
        *out = (y.add_w ? *out : 0.f) + y.scale * sum[r];
      }
  }
  if (y.db && j0 == 0 && tid < PC_TILE && i0 + tid < y.outputs) {
    float* out = y.db + i0 + tid;
    *out = (y.add_b ? *out : 0.f) + y.scale * bias;
  }
}

template <class Body> PC_DEV void pc_each_part(const PcOptimise& p, Body body) {
  int l = 0, block = pc_bid();
  while (l + 1 < p.parts && p.part[l + 1].first <= block) l++;
  const PcPart& y = p.part[l];
  int start = (block - y.first) * PC_CHUNK, end = start + PC_CHUNK;
  if (end > y.count) end = y.count;
  for (int i = start + pc_tid(); i < end; i += PC_LEARN_THREADS) body(y, i);
}

// u <- m u + g + w theta, theta <- theta - rate u; without momentum theta <- (1 - rate w) theta - rate g.
PC_KERNEL(pc_sgd, PC_LEARN_THREADS, PcOptimise) {
  float momentum = p.momentum, decay = p.decay;
  pc_each_part(p, [momentum, decay](const PcPart& y, int i) {
    float theta = y.theta[i], u = y.g[i] + decay * theta;
    if (y.m) {
      u += momentum * y.m[i];
      y.m[i] = u;
    }
    y.theta[i] = theta - y.rate * u;
  });
}

// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, theta <- (1 - lr w) theta - rate m / (sqrt(correction v) + epsilon). `decay` is lr w, `rate`
// and `correction` hold each tensor's own bias corrections.
PC_KERNEL(pc_adamw, PC_LEARN_THREADS, PcOptimise) {
  float b1 = p.beta1, b2 = p.beta2, keep = 1.f - p.decay, epsilon = p.epsilon;
  pc_each_part(p, [=](const PcPart& y, int i) {
    float g = y.g[i], m = b1 * y.m[i] + (1.f - b1) * g, v = b2 * y.v[i] + (1.f - b2) * g * g;
    y.m[i] = m;
    y.v[i] = v;
    y.theta[i] = keep * y.theta[i] - y.rate * m / (pc_sqrt(y.correction * v) + epsilon);
  });
}

// m <- theta - g: what a parameter has moved by since it was g.
PC_KERNEL(pc_moved, PC_LEARN_THREADS, PcOptimise) {
  pc_each_part(p, [](const PcPart& y, int i) { y.m[i] = y.theta[i] - y.g[i]; });
}

// One warp a row: L = -sum y log softmax(mu), and the drive y - softmax(mu) (times the target's mass).
PC_KERNEL(pc_cross_entropy, PC_LEARN_THREADS, PcCrossEntropy) {
  int row = pc_bid() * (PC_LEARN_THREADS / 32) + (pc_tid() >> 5), lane = pc_tid() & 31;
  if (row >= p.rows) return;
  const float *mu = p.mu + (u64)row * p.classes, *target = p.target + (u64)row * p.classes;
  float *drive = p.drive + (u64)row * p.classes, largest;
  int n = p.classes;
  double sum = pc_exp_sum<double>(n, [=](int k) { return mu[k]; }, largest);
  double mass = pc_warp_sum<double>(n, [=](int k) { return (double)target[k]; }), shift = largest;
  double inner = pc_warp_sum<double>(n, [=](int k) { return (double)target[k] * ((double)mu[k] - shift); });
  float scale = (float)(mass / sum);
  for (int k = lane; k < n; k += 32) {
    float e, unused;
    pc_exp_both(mu[k] - largest, e, unused);
    drive[k] = target[k] - scale * e;
  }
  if (lane == 0) p.loss[row] = mass * pc_log(sum) - inner;
}
