// Activations, with differences that do not cancel and slopes that keep their digits in saturation.
#pragma once
#include "pc_dev.cuh"

enum { PC_IDENTITY = 0, PC_RELU = 1, PC_TANH = 2 };

// exp(x) and exp(x) - 1 for x <= 0, by 2^n (1 + q) with q = exp(r) - 1 on |r| <= ln(2) / 2. Without
// branches, so that several can be under way at once.
PC_DEV void pc_exp_both(float x, float& e, float& m1) {
  bool low = !(x > -87.f), nan = x != x;
  float c = low ? -87.f : x;
  float n = pc_add(pc_add(pc_mul(c, 1.44269504f), 12582912.f), -12582912.f);
  float r = pc_fma(n, -0.693359375f, c);
  r = pc_fma(n, 2.12194440e-4f, r);
  float q = 1.f / 5040.f;
  q = pc_fma(q, r, 1.f / 720.f);
  q = pc_fma(q, r, 1.f / 120.f);
  q = pc_fma(q, r, 1.f / 24.f);
  q = pc_fma(q, r, 1.f / 6.f);
  q = pc_fma(q, r, 0.5f);
  q = pc_fma(pc_mul(q, r), r, r);
  float s = pc_float((u32)((int)n + 127) << 23);
  e = pc_fma(s, q, s);
  m1 = pc_fma(s, q, pc_add(s, -1.f));
  e = low ? (nan ? x : 0.f) : e;
  m1 = low ? (nan ? x : -1.f) : m1;
}

// 1 / x for 1 <= x <= 2: a polynomial that is 1% off at most, and two steps of Newton's. Two
// multiplications a step, where a division has a slow way for numbers that cannot come here.
PC_DEV float pc_inverse(float x) {
  float y = pc_fma(pc_fma(32.f / 99.f, x, -144.f / 99.f), x, 210.f / 99.f);
  y = pc_fma(pc_fma(-x, y, 1.f), y, y);
  return pc_fma(pc_fma(-x, y, 1.f), y, y);
}

// f(x) and f'(x).
PC_DEV void pc_activate(int act, float x, float& y, float& slope) {
  if (act == PC_TANH) {
    float e, m1;
    pc_exp_both(x < 0.f ? pc_add(x, x) : -pc_add(x, x), e, m1);
    float s = pc_inverse(pc_add(1.f, e));
    float t = pc_mul(-m1, s);
    y = x < 0.f ? -t : t;
    slope = pc_mul(pc_mul(4.f, e), pc_mul(s, s));
  } else if (act == PC_RELU) {
    y = x <= 0.f ? 0.f : x; // a NaN stays one
    slope = x > 0.f ? 1.f : 0.f;
  } else {
    y = x;
    slope = 1.f;
  }
}

// f(a + d) - f(a) and f'(a + d). For tanh it is sinh(d) / (cosh(a) cosh(x)), x = a + d, with exponentials that cannot overflow:
// |d| - |a| - |x| is -2 min(|a|, |x|) where a and x have one sign, and 0 where they have not.
PC_DEV float pc_change(int act, float a, float d, float& slope) {
  float x = pc_add(a, d);
  if (act == PC_TANH) {
    float ea, ex, ed, unused, m1;
    pc_exp_both(a < 0.f ? pc_add(a, a) : -pc_add(a, a), ea, unused);
    pc_exp_both(x < 0.f ? pc_add(x, x) : -pc_add(x, x), ex, unused);
    pc_exp_both(d < 0.f ? pc_add(d, d) : -pc_add(d, d), ed, m1);
    float top = (a < 0.f) == (x < 0.f) ? (ea > ex ? ea : ex) : 1.f;
    float sa = pc_inverse(pc_add(1.f, ea)), sx = pc_inverse(pc_add(1.f, ex));
    slope = pc_mul(pc_mul(4.f, ex), pc_mul(sx, sx));
    float t = pc_mul(pc_mul(-2.f, m1), pc_mul(top, pc_mul(sa, sx)));
    return d < 0.f ? -t : t;
  }
  if (act == PC_RELU) {
    slope = x > 0.f ? 1.f : 0.f;
    float both = a > 0.f ? d : x, below = a > 0.f ? -a : 0.f;
    return x <= 0.f ? below : both;
  }
  slope = 1.f;
  return d;
}

// One warp: the largest of n numbers, and the sum of exp(x - largest).
template <class Sum, class At> PC_DEV Sum pc_exp_sum(int n, At at, float& largest) {
  int lane = pc_tid() & 31;
  largest = at(0);
  for (int k = lane; k < n; k += 32) largest = at(k) > largest ? at(k) : largest;
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) {
    float other = pc_shfl_xor(largest, half);
    largest = other > largest ? other : largest;
  }
  Sum sum = 0;
  for (int k = lane; k < n; k += 32) {
    float e, unused;
    pc_exp_both(at(k) - largest, e, unused);
    sum += e;
  }
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) sum += pc_shfl_xor(sum, half);
  return sum;
}

// One warp: a sum over n numbers.
template <class Sum, class At> PC_DEV Sum pc_warp_sum(int n, At at) {
  Sum sum = 0;
  for (int k = pc_tid() & 31; k < n; k += 32) sum += at(k);
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) sum += pc_shfl_xor(sum, half);
  return sum;
}

// Adds up what the threads of a block of so many warps have, in f64 and an order that is always the same. The first thread has the sum.
template <int warps> PC_DEV double pc_block_sum(double* sums, double sum) {
  int tid = pc_tid();
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) sum += pc_shfl_xor(sum, half);
  if ((tid & 31) == 0) sums[tid >> 5] = sum;
  pc_block_sync();
  double total = 0.0;
  if (tid == 0)
    for (int w = 0; w < warps; w++) total += sums[w];
  return total;
}
