// Activations of a graph's layers: values, differences that do not cancel, and slopes.
#pragma once
#include "pc_dev.cuh"
#include "pc_math.cuh"

// After those of pc_math.cuh.
enum {
  PC_LEAKY_RELU = 3,
  PC_HARD_TANH = 4,
  PC_SIGMOID = 5,
  PC_GELU = 6,
  PC_SILU = 7,
  PC_SOFTPLUS = 8
};

// sigmoid(x) and sigmoid(-x), neither with overflow nor by subtraction from 1.
PC_DEV void pc_sigmoids(float x, float& y, float& complement) {
  float t, unused;
  pc_exp_both(x < 0.f ? x : -x, t, unused);
  float large = pc_div(1.f, 1.f + t), small = pc_div(t, 1.f + t);
  y = x >= 0.f ? large : small;
  complement = x >= 0.f ? small : large;
}

// log(1 + t) for t from -1/2 to 1: 2 atanh(t / (2 + t)).
PC_DEV float pc_log1p(float t) {
  float s = pc_div(t, 2.f + t), square = s * s, series = 1.f / 15.f;
  series = series * square + 1.f / 13.f;
  series = series * square + 1.f / 11.f;
  series = series * square + 1.f / 9.f;
  series = series * square + 1.f / 7.f;
  series = series * square + 1.f / 5.f;
  series = series * square + 1.f / 3.f;
  series = series * square + 1.f;
  return 2.f * s * series;
}

// log(1 + exp(-|x|)).
PC_DEV float pc_softplus_tail(float x) {
  float t, unused;
  pc_exp_both(x < 0.f ? x : -x, t, unused);
  return pc_log1p(t);
}

// x, or the nearer of two bounds; a NaN stays one.
PC_DEV float pc_bounded(float x, float low, float high) {
  x = x <= low ? low : x;
  return x >= high ? high : x;
}

// The normal distribution's tail beyond |x|, and its density at x.
PC_DEV void pc_normal(double x, double& tail, double& density) {
  tail = 0.5 * pc_erfc((x < 0.0 ? -x : x) * 0.70710678118654752);
  density = 0.39894228040143268 * pc_exp(-0.5 * x * x);
}

// f(x), and its slope there. Where not SMOOTH, f is made of straight pieces: the identity, relu,
// leaky relu or hard tanh; a kernel that knows so has no code of the others.
template <bool SMOOTH> PC_DEV float pc_function(int act, float leak, float x, float& slope) {
  float y, complement;
  switch (act) {
  case PC_LEAKY_RELU: slope = x > 0.f ? 1.f : leak; return x * slope;
  case PC_HARD_TANH: slope = x > -1.f && x < 1.f ? 1.f : 0.f; return pc_bounded(x, -1.f, 1.f);
  }
  if (!SMOOTH) {
    pc_activate(act == PC_RELU ? PC_RELU : PC_IDENTITY, x, y, slope);
    return y;
  }
  switch (act) {
  case PC_SIGMOID:
    pc_sigmoids(x, y, complement);
    slope = y * complement;
    return y;
  case PC_GELU: {
    double tail, density;
    pc_normal(x, tail, density);
    double phi = x >= 0.f ? 1.0 - tail : tail;
    slope = (float)(phi + x * density);
    return (float)(x * phi);
  }
  case PC_SILU:
    pc_sigmoids(x, y, complement);
    slope = y + x * y * complement;
    return x * y;
  case PC_SOFTPLUS:
    pc_sigmoids(x, slope, complement);
    return (x <= 0.f ? 0.f : x) + pc_softplus_tail(x);
  default: pc_activate(act, x, y, slope); return y;
  }
}

// The part of the way from a to a + d that lies between -1 and 1, counted from the kink that a is
// beyond.
PC_DEV float pc_hard_tanh_change(float a, float d) {
  float x = a + d;
  if (a > 1.f) return pc_bounded(a > 2.f ? x - 1.f : (a - 1.f) + d, -2.f, 0.f);
  if (a < -1.f) return pc_bounded(a < -2.f ? x + 1.f : (a + 1.f) + d, 0.f, 2.f);
  return x != x ? x : pc_bounded(d, -1.f - a, 1.f - a);
}

PC_DEV float pc_gelu_change(float a, float d, float& slope) {
  double from = a, step = d, x = from + step, tail_a, tail_x, density, unused;
  pc_normal(from, tail_a, unused);
  pc_normal(x, tail_x, density);
  double phi = x >= 0.0 ? 1.0 - tail_x : tail_x, at = phi + x * density;
  slope = (float)at;
  // d Phi(x) + a (Phi(x) - Phi(a)), the difference by tails where both are on one side.
  double apart = (from >= 0.0) == (x >= 0.0) ? tail_a - tail_x : 1.0 - tail_a - tail_x;
  double far = step * phi + from * (x >= 0.0 ? apart : -apart);
  // For short steps that would cancel: Taylor's series back from x.
  double square = x * x, size = step < 0.0 ? -step : step;
  double bend = (2.0 - square) - step / 3.0 * (x * (square - 4.0)) +
                step * step / 12.0 * ((7.0 - square) * square - 4.0);
  double near = step * (at - 0.5 * step * (density * bend));
  return (float)(size * (1.0 + (x < 0.0 ? -x : x)) < 0.015625 ? near : far);
}

// log(1 + sigmoid(a) (exp(d) - 1)) for short steps; from parts that differ too much to cancel for
// long ones.
PC_DEV float pc_softplus_change(float a, float d, float& slope) {
  float x = a + d, complement, unused, size = d < 0.f ? -d : d;
  pc_sigmoids(x, slope, complement);
  if (size <= 0.69f) {
    float s, e, m1;
    pc_sigmoids(a, s, complement);
    pc_exp_both(-size, e, m1);
    return pc_log1p(s * (d <= 0.f ? m1 : pc_div(-m1, e)));
  }
  return pc_change(PC_RELU, a, d, unused) + (pc_softplus_tail(x) - pc_softplus_tail(a));
}

// x sigmoid(x) - max(x, 0).
PC_DEV float pc_silu_tail(float x) {
  float y, unused, size = x < 0.f ? -x : x;
  pc_sigmoids(-size, y, unused);
  return -size * y;
}

// f(a + d) - f(a), and the slope at a + d.
template <bool SMOOTH>
PC_DEV float pc_function_change(int act, float leak, float a, float d, float& slope) {
  float x = a + d, unused, complement;
  switch (act) {
  case PC_LEAKY_RELU:
    slope = x > 0.f ? 1.f : leak;
    if (a > 0.f) return x > 0.f ? d : leak * x - a;
    return x > 0.f ? x - leak * a : leak * d;
  case PC_HARD_TANH: slope = x > -1.f && x < 1.f ? 1.f : 0.f; return pc_hard_tanh_change(a, d);
  }
  if (!SMOOTH) return pc_change(act == PC_RELU ? PC_RELU : PC_IDENTITY, a, d, slope);
  switch (act) {
  case PC_SIGMOID: {
    float s;
    pc_sigmoids(x, s, complement);
    slope = s * complement;
    return 0.5f * pc_change(PC_TANH, 0.5f * a, 0.5f * d, unused);
  }
  case PC_GELU: return pc_gelu_change(a, d, slope);
  case PC_SILU: {
    float s;
    pc_sigmoids(x, s, complement);
    slope = s + x * s * complement;
    // d s(x) + a (s(x) - s(a)) cancels over long steps. There, as for softplus, relu and what is
    // left beside it cannot.
    if (d <= 1.f && d >= -1.f)
      return d * s + a * (0.5f * pc_change(PC_TANH, 0.5f * a, 0.5f * d, unused));
    return pc_change(PC_RELU, a, d, unused) + (pc_silu_tail(x) - pc_silu_tail(a));
  }
  case PC_SOFTPLUS: return pc_softplus_change(a, d, slope);
  default: return pc_change(act, a, d, slope);
  }
}
