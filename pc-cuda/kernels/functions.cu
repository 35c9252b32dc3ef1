// Activations, softmax and layer normalisation of a graph's layers: values, differences that do not
// cancel, slopes and pullbacks.
#include "pc_dev.cuh"
#include "pc_functions.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_FUNCTION_THREADS 256

// f(a), or f(a + d) - f(a) where there is a d; and the slope at a or a + d.
PC_KERNEL_MANY(pc_function_activate, PC_FUNCTION_THREADS, PcActivate) {
  int start = pc_bid() * PC_CHUNK, end = start + PC_CHUNK;
  if (end > p.count) end = p.count;
  for (int i = start + pc_tid(); i < end; i += PC_FUNCTION_THREADS) {
    float slope, y;
    if (p.d)
      y = pc_function_change<true>(p.act, p.leak, p.a[i], p.d[i], slope);
    else
      y = pc_function<true>(p.act, p.leak, p.a[i], slope);
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
