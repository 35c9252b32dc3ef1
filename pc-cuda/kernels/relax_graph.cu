// The element-by-element parts of a relaxation of any size, for all layers in one launch; the products between them are a library's.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_FUSED_THREADS 256

// Runs `body(layer, element)` over this block's elements.
template <class Body> PC_DEV void pc_each(const PcFused& p, Body body) {
  int l = 0, block = pc_bid();
  while (l + 1 < p.layers && p.layer[l + 1].first <= block) l++;
  const PcFusedLayer& y = p.layer[l];
  int start = (block - y.first) * PC_CHUNK, end = start + PC_CHUNK;
  if (end > y.count) end = y.count;
  for (int i = start + pc_tid(); i < end; i += PC_FUSED_THREADS) body(y, i);
}

// z = W v + b, mu = f(z), f'(z), and v = mu (plus an offset) where the vertex follows.
PC_KERNEL(pc_predict, PC_FUSED_THREADS, PcPredict) {
  int start = pc_bid() * PC_CHUNK, end = start + PC_CHUNK;
  if (end > p.count) end = p.count;
  for (int i = start + pc_tid(); i < end; i += PC_FUSED_THREADS) {
    float z = p.product[i] + (p.bias ? p.bias[i % p.width] : 0.f), mu, slope;
    pc_activate(p.act, z, mu, slope);
    p.z[i] = z;
    p.mu[i] = mu;
    p.slope[i] = slope;
    if (p.value) p.value[i] = mu + (p.offset ? p.offset[i] : 0.f);
  }
}

// e = r + d - [f(z + dz) - f(z)], f' there, and g = pi f' e.
PC_KERNEL(pc_errors, PC_FUSED_THREADS, PcFused) {
  pc_each(p, [](const PcFusedLayer& y, int i) {
    float dz = y.dz ? y.dz[i] : 0.f, slope;
    if (y.shift) dz += y.shift[i % y.width];
    float change = pc_change(y.act, y.z[i], dz, slope);
    float e = (y.r ? y.r[i] : 0.f) + ((y.d ? y.d[i] : 0.f) - change);
    y.e[i] = e;
    y.slope[i] = slope;
    if (y.g) y.g[i] = y.precision * slope * e;
  });
}

// g = pi f' e.
PC_KERNEL(pc_gate, PC_FUSED_THREADS, PcFused) {
  pc_each(p, [](const PcFusedLayer& y, int i) { y.g[i] = y.precision * y.slope[i] * y.e[i]; });
}

// d += rate (force - pi e), v = v_ref + d.
PC_KERNEL(pc_move, PC_FUSED_THREADS, PcFused) {
  float rate = p.rate;
  pc_each(p, [rate](const PcFusedLayer& y, int i) {
    float d = y.d[i] + rate * ((y.force ? y.force[i] : 0.f) - y.precision * y.e[i]);
    y.d[i] = d;
    y.v[i] = y.ref[i] + d;
  });
}

// e += rate (force - pi e), and g = pi f' e for the next pull.
PC_KERNEL(pc_move_frozen, PC_FUSED_THREADS, PcFused) {
  float rate = p.rate;
  pc_each(p, [rate](const PcFusedLayer& y, int i) {
    float e = y.e[i] + rate * ((y.force ? y.force[i] : 0.f) - y.precision * y.e[i]);
    y.e[i] = e;
    y.g[i] = y.precision * y.slope[i] * e;
  });
}

// The drive of a live output, a warp a row: lambda (y - mu), or lambda (y - mass softmax(mu)).
PC_KERNEL(pc_drive, PC_FUSED_THREADS, PcDrive) {
  int row = pc_bid() * (PC_FUSED_THREADS / 32) + (pc_tid() >> 5), n = p.classes;
  if (row >= p.rows) return;
  u64 first = (u64)row * n;
  const float *ref = p.ref + first, *target = p.target + first, *slope = p.slope + first;
  float *e = p.e + first, *g = p.g + first, largest = 0.f, scale = 0.f;
  bool entropy = p.loss == PC_CROSS_ENTROPY;
  if (entropy) {
    float sum = pc_exp_sum<float>(n, [=](int k) { return ref[k] - e[k]; }, largest);
    scale = pc_div(pc_warp_sum<float>(n, [=](int k) { return target[k]; }), sum);
  }
  for (int k = pc_tid() & 31; k < n; k += 32) {
    float x, unused;
    pc_exp_both(entropy ? ref[k] - e[k] - largest : 0.f, x, unused);
    float drive = p.lambda * (entropy ? target[k] - scale * x : (target[k] - ref[k]) + e[k]);
    e[k] = drive;
    g[k] = slope[k] * drive;
  }
}
