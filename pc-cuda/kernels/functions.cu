// Activations, softmax and layer normalisation of a graph's layers: values, differences that do not cancel, slopes and pullbacks.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_FUNCTION_THREADS 256

// After those of pc_math.cuh.
enum { PC_LEAKY_RELU = 3, PC_HARD_TANH = 4, PC_SIGMOID = 5, PC_GELU = 6, PC_SILU = 7, PC_SOFTPLUS = 8 };

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

PC_DEV float pc_function(int act, float leak, float x, float& slope) {
  float y, complement;
  switch (act) {
  case PC_LEAKY_RELU: slope = x > 0.f ? 1.f : leak; return x * slope;
  case PC_HARD_TANH: slope = x > -1.f && x < 1.f ? 1.f : 0.f; return pc_bounded(x, -1.f, 1.f);
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

// The part of the way from a to a + d that lies between -1 and 1, counted from the kink that a is beyond.
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
  double bend = (2.0 - square) - step / 3.0 * (x * (square - 4.0)) + step * step / 12.0 * ((7.0 - square) * square - 4.0);
  double near = step * (at - 0.5 * step * (density * bend));
  return (float)(size * (1.0 + (x < 0.0 ? -x : x)) < 0.015625 ? near : far);
}

// log(1 + sigmoid(a) (exp(d) - 1)) for short steps; from parts that differ too much to cancel for long ones.
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

PC_DEV float pc_function_change(int act, float leak, float a, float d, float& slope) {
  float x = a + d, unused, complement;
  switch (act) {
  case PC_LEAKY_RELU:
    slope = x > 0.f ? 1.f : leak;
    if (a > 0.f) return x > 0.f ? d : leak * x - a;
    return x > 0.f ? x - leak * a : leak * d;
  case PC_HARD_TANH: slope = x > -1.f && x < 1.f ? 1.f : 0.f; return pc_hard_tanh_change(a, d);
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
    // d s(x) + a (s(x) - s(a)) cancels over long steps. There, as for softplus, relu and what is left beside it cannot.
    if (d <= 1.f && d >= -1.f) return d * s + a * (0.5f * pc_change(PC_TANH, 0.5f * a, 0.5f * d, unused));
    return pc_change(PC_RELU, a, d, unused) + (pc_silu_tail(x) - pc_silu_tail(a));
  }
  case PC_SOFTPLUS: return pc_softplus_change(a, d, slope);
  default: return pc_change(act, a, d, slope);
  }
}

// f(a), or f(a + d) - f(a) where there is a d; and the slope at a or a + d.
PC_KERNEL_MANY(pc_function_activate, PC_FUNCTION_THREADS, PcActivate) {
  int start = pc_bid() * PC_CHUNK, end = start + PC_CHUNK;
  if (end > p.count) end = p.count;
  for (int i = start + pc_tid(); i < end; i += PC_FUNCTION_THREADS) {
    float slope, y;
    if (p.d)
      y = pc_function_change(p.act, p.leak, p.a[i], p.d[i], slope);
    else
      y = pc_function(p.act, p.leak, p.a[i], slope);
    p.out[i] = y;
    p.slope[i] = slope;
  }
}

// The row of a warp, and how much of it a causal softmax sees.
PC_DEV int pc_row() { return pc_bid() * (PC_FUNCTION_THREADS / 32) + (pc_tid() >> 5); }
PC_DEV int pc_seen(const PcSoftmax& p, int row) { return p.causal ? p.length + 1 + row % p.period - p.period : p.length; }

// out = current = softmax(a).
PC_KERNEL_MANY(pc_function_softmax, PC_FUNCTION_THREADS, PcSoftmax) {
  int row = pc_row(), lane = pc_tid() & 31;
  if (row >= p.rows) return;
  const float* a = p.a + (u64)row * p.length;
  float *out = p.out + (u64)row * p.length, *current = p.current + (u64)row * p.length, largest;
  int seen = pc_seen(p, row);
  double sum = pc_exp_sum<double>(seen, [=](int k) { return a[k]; }, largest);
  float inverse = (float)(1.0 / sum);
  for (int k = lane; k < p.length; k += 32) {
    float e = 0.f, unused;
    if (k < seen) pc_exp_both(a[k] - largest, e, unused);
    out[k] = current[k] = e * inverse;
  }
}

// exp(x) of either sign, where it is in range.
PC_DEV float pc_exp_any(float x) {
  float e, unused;
  pc_exp_both(x <= 0.f ? x : -x, e, unused);
  return x > 0.f ? pc_div(1.f, e) : e;
}

// out = softmax(a + d) - s and current = softmax(a + d), with s = softmax(a). Softmax stays where all move together, so d counts from that of the
// largest class: with g = s (exp(d) - 1) and m = sum g the difference is (g - s m) / (1 + m). What a class has grown to counts from the largest, too,
// by logarithms, since s itself may have underflowed. Where another class has taken over by far, the old share and the new have nothing in common,
// and are subtracted.
PC_KERNEL_MANY(pc_function_softmax_change, PC_FUNCTION_THREADS, PcSoftmax) {
  int row = pc_row(), lane = pc_tid() & 31;
  if (row >= p.rows) return;
  u64 first = (u64)row * p.length;
  const float *a = p.a + first, *d = p.d + first, *s = p.s + first;
  float *out = p.out + first, *current = p.current + first;
  int seen = pc_seen(p, row);
  float best = s[0], place = 0.f;
  for (int k = lane; k < seen; k += 32)
    if (s[k] > best) best = s[k], place = (float)k;
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) {
    float other = pc_shfl_xor(best, half), there = pc_shfl_xor(place, half);
    if (other > best || (other == best && there < place)) best = other, place = there;
  }
  float shift = d[(int)place], top = a[(int)place], share = (float)pc_log((double)best), grown = share;
  auto logarithm = [=](int k) { return (a[k] - top) + share + (d[k] - shift); };
  for (int k = lane; k < seen; k += 32) {
    float x = logarithm(k);
    grown = x > grown ? x : grown;
  }
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) {
    float other = pc_shfl_xor(grown, half);
    grown = other > grown ? other : grown;
  }
  if (grown > 30.f) {
    float largest;
    double sum = pc_exp_sum<double>(seen, logarithm, largest);
    float inverse = (float)(1.0 / sum);
    for (int k = lane; k < p.length; k += 32) {
      float e = 0.f, unused;
      if (k < seen) pc_exp_both(logarithm(k) - largest, e, unused);
      current[k] = e * inverse;
      out[k] = e * inverse - s[k];
    }
    return;
  }
  // 1 + m is the sum of what shares have grown to, which cannot cancel.
  double m = 0.0, sum = 0.0;
  for (int k = lane; k < seen; k += 32) {
    float step = d[k] - shift, g, w, e, m1;
    if (step <= 1.f && step >= -1.f) {
      pc_exp_both(step <= 0.f ? step : -step, e, m1);
      g = s[k] * (step <= 0.f ? m1 : pc_div(-m1, e));
      w = s[k] + g;
    } else {
      w = pc_exp_any(logarithm(k));
      g = w - s[k];
    }
    out[k] = g;
    current[k] = w;
    m += g;
    sum += w;
  }
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) m += pc_shfl_xor(m, half), sum += pc_shfl_xor(sum, half);
  float inverse = (float)(1.0 / sum), lost = (float)m;
  for (int k = lane; k < p.length; k += 32) {
    out[k] = k < seen ? (out[k] - s[k] * lost) * inverse : 0.f;
    current[k] *= inverse; // what is not seen stays 0
  }
}

// out = s (u - u . s), with the cotangent u in a.
PC_KERNEL_MANY(pc_function_softmax_pull, PC_FUNCTION_THREADS, PcSoftmax) {
  int row = pc_row();
  if (row >= p.rows) return;
  const float *u = p.a + (u64)row * p.length, *s = p.s + (u64)row * p.length;
  float mean = (float)pc_warp_sum<double>(p.length, [=](int k) { return (double)u[k] * (double)s[k]; });
  for (int k = pc_tid() & 31; k < p.length; k += 32) p.out[(u64)row * p.length + k] = s[k] * (u[k] - mean);
}

PC_DEV float pc_inverse_root(double variance, float epsilon) { return pc_div(1.f, pc_sqrt((float)(variance + (double)epsilon))); }

// out = gain n + bias with n = (a - mean) / sigma; keeps a - mean, n and 1 / sigma.
PC_KERNEL_MANY(pc_function_norm, PC_FUNCTION_THREADS, PcNorm) {
  int row = pc_row(), lane = pc_tid() & 31;
  if (row >= p.rows) return;
  u64 first = (u64)row * p.length;
  const float* a = p.a + first;
  float *centred = p.centred + first, *normal = p.normal + first, *out = p.out + first;
  double mean = pc_warp_sum<double>(p.length, [=](int k) { return (double)a[k]; }) / p.length;
  for (int k = lane; k < p.length; k += 32) centred[k] = (float)((double)a[k] - mean);
  double variance = pc_warp_sum<double>(p.length, [=](int k) { return ((double)a[k] - mean) * ((double)a[k] - mean); }) / p.length;
  float inverse = pc_inverse_root(variance, p.epsilon);
  for (int k = lane; k < p.length; k += 32) {
    normal[k] = centred[k] * inverse;
    out[k] = p.gain[k] * normal[k] + p.bias[k];
  }
  if (lane == 0) p.before[row] = p.inverse[row] = inverse;
}

// How far that moves with a by d (none for not at all), and with the parameters from the old ones: with c' = c + e the variance grows by the mean of
// e (c + c'), and 1 / sigma by -growth / (sigma sigma' (sigma + sigma')).
PC_KERNEL_MANY(pc_function_norm_change, PC_FUNCTION_THREADS, PcNorm) {
  int row = pc_row(), lane = pc_tid() & 31;
  if (row >= p.rows) return;
  u64 first = (u64)row * p.length;
  const float *d = p.d ? p.d + first : nullptr, *centred = p.centred + first;
  float *normal = p.normal + first, *out = p.out + first, inverse = p.before[row];
  double mean = pc_warp_sum<double>(p.length, [=](int k) { return d ? (double)d[k] : 0.0; }) / p.length;
  auto moved = [=](int k) { return d ? (double)d[k] - mean : 0.0; };
  double growth = pc_warp_sum<double>(p.length, [=](int k) { return moved(k) * (2.0 * (double)centred[k] + moved(k)); }) / p.length;
  double variance = pc_warp_sum<double>(p.length, [=](int k) {
                      double now = (double)centred[k] + moved(k);
                      return now * now;
                    }) / p.length;
  float now = pc_inverse_root(variance, p.epsilon), product = inverse * now;
  float change = -(float)growth * product * product / (inverse + now);
  for (int k = lane; k < p.length; k += 32) {
    float e = (float)moved(k), c = centred[k], y = p.gain[k] * (e * now + c * change);
    if (p.old_gain) y += (p.gain[k] - p.old_gain[k]) * (c * inverse) + (p.bias[k] - p.old_bias[k]);
    normal[k] = (c + e) * now;
    out[k] = y;
  }
  if (lane == 0) p.inverse[row] = now;
}

// out = (f - mean f - n mean(f n)) / sigma with f = u gain, and the cotangent u in a.
PC_KERNEL_MANY(pc_function_norm_pull, PC_FUNCTION_THREADS, PcNorm) {
  int row = pc_row();
  if (row >= p.rows) return;
  u64 first = (u64)row * p.length;
  const float *u = p.a + first, *gain = p.gain, *normal = p.normal + first;
  double mean = 0.0, along = 0.0;
#pragma unroll 1
  for (int k = pc_tid() & 31; k < p.length; k += 32) {
    double f = (double)u[k] * (double)gain[k];
    mean += f;
    along += f * (double)normal[k];
  }
#pragma unroll
  for (int half = 16; half > 0; half >>= 1) mean += pc_shfl_xor(mean, half), along += pc_shfl_xor(along, half);
  mean /= p.length;
  along /= p.length;
  for (int k = pc_tid() & 31; k < p.length; k += 32)
    p.out[first + k] = p.inverse[row] * (float)((double)u[k] * (double)gain[k] - mean - (double)normal[k] * along);
}
