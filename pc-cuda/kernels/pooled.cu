// What comes after a convolution's products, in one pass each way: bias, activation and pooling.
// Products have their channels last. Every result is written by one thread.
#include "pc_dev.cuh"
#include "pc_functions.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_POOLED_THREADS 256
// What a block takes: so many windows (or places, on the way back) of so many channels. A warp has
// a window at a time, so that where it lies is found once for all channels.
#define PC_POOLED_PLACES 32
#define PC_POOLED_CHANNELS 128
// Rows of a tile lie an odd number apart, so that columns share no bank.
#define PC_POOLED_ROW (PC_POOLED_CHANNELS + 1)
#define PC_POOLED_COLUMN (PC_POOLED_PLACES + 1)

// A window, or a place of an image, by its number.
struct PcWhere {
  int sample, row, column;
};
PC_DEV PcWhere pc_pooled_where(int number, int height, int width) {
  int row = number / width, sample = row / height;
  return {sample, row - sample * height, number - row * width};
}

// What one channel of a window comes to: the largest value, the first of equals and a NaN before
// all, or the mean. With displacements: how far it has moved from what it was at the reference; a
// largest value counts from what was the largest there. SOME products are asked for at a time.
template <bool MAX, bool SMOOTH, int SOME>
PC_DEV float pc_pooled_window(const PcPooled& p, int window, PcWhere at, int c) {
  u64 corner = ((u64)at.sample * p.height + at.row * p.stride) * p.width + at.column * p.stride;
  u64 base = corner * p.channels + c, own = (u64)window * p.channels + c;
  float bias = p.bias ? p.bias[c] : 0.f, moved = p.moved ? p.moved[c] : 0.f, unused;
  float top = 0.f, best = 0.f, steep = 0.f;
  if (MAX && p.d) {
    int was = (int)p.old[own];
    u64 there = base + (u64)(was / p.size * p.width + was % p.size) * p.channels;
    top = SMOOTH ? p.kept[there] : pc_function<SMOOTH>(p.act, p.leak, p.a[there] + bias, unused);
  }
  int count = p.size * p.size, place = -1, next_i = 0, next_j = 0, i = 0, j = 0;
  for (int first = 0; first < count; first += SOME) {
    float a[SOME], d[SOME];
    u64 from[SOME];
#pragma unroll
    for (int q = 0; q < SOME; q++) {
      from[q] = base + (u64)(next_i * p.width + next_j) * p.channels;
      bool inside = first + q < count;
      a[q] = inside ? p.a[from[q]] + bias : 0.f;
      d[q] = inside && p.d ? p.d[from[q]] + moved : 0.f;
      if (++next_j == p.size) next_j = 0, next_i++;
    }
#pragma unroll
    for (int q = 0; q < SOME; q++) {
      if (first + q >= count) break;
      float slope, x;
      if (p.d)
        x = pc_function_change<SMOOTH>(p.act, p.leak, a[q], d[q], slope);
      else
        x = pc_function<SMOOTH>(p.act, p.leak, a[q], slope);
      // The last of the windows over a place writes what is kept of it.
      bool last = (i < p.stride || at.row + 1 == p.out_h) &&
                  (j < p.stride || at.column + 1 == p.out_w);
      if (++j == p.size) j = 0, i++;
      if (MAX) {
        if (SMOOTH && !p.d && last) p.kept[from[q]] = x;
        if (p.d)
          x += (SMOOTH ? p.kept[from[q]] : pc_function<SMOOTH>(p.act, p.leak, a[q], unused)) - top;
        bool takes = place < 0 || x > best || (x != x && best == best);
        best = takes ? x : best;
        steep = takes ? slope : steep;
        place = takes ? first + q : place;
      } else {
        best += x;
        if (p.slope && last) p.slope[from[q]] = slope;
      }
    }
  }
  if (!MAX) return best * (1.f / (float)count);
  p.index[own] = (float)place;
  if (p.slope) p.slope[own] = steep;
  return best;
}

// Windows of products, turned so that channels come first.
template <bool MAX, bool SMOOTH, int SOME> PC_DEV void pc_pooled(const PcPooled& p) {
  PC_SHARED(raw);
  float* tile = (float*)raw;
  int across = (p.channels + PC_POOLED_CHANNELS - 1) / PC_POOLED_CHANNELS;
  int first_c = pc_bid() % across * PC_POOLED_CHANNELS;
  int first = pc_bid() / across * PC_POOLED_PLACES;
  int windows = p.out_h * p.out_w, end = p.samples * windows;
  int channels = p.channels - first_c, lane = pc_tid() % 32, warp = pc_tid() / 32;
  if (channels > PC_POOLED_CHANNELS) channels = PC_POOLED_CHANNELS;
  for (int k = warp; k < PC_POOLED_PLACES; k += PC_POOLED_THREADS / 32) {
    if (first + k >= end) break;
    PcWhere at = pc_pooled_where(first + k, p.out_h, p.out_w);
#pragma unroll 1
    for (int c = lane; c < channels; c += 32)
      tile[k * PC_POOLED_ROW + c] =
          pc_pooled_window<MAX, SMOOTH, SOME>(p, first + k, at, first_c + c);
  }
  pc_block_sync();
  if (first + lane >= end) return;
  int sample = (first + lane) / windows;
  float* out = (float*)p.out + ((u64)sample * p.channels + first_c) * windows;
  out += first + lane - sample * windows;
  for (int c = warp; c < channels; c += PC_POOLED_THREADS / 32)
    out[(u64)c * windows] = tile[lane * PC_POOLED_ROW + c];
}
PC_KERNEL_MANY(pc_pooled_max, PC_POOLED_THREADS, PcPooled) { pc_pooled<true, false, 4>(p); }
PC_KERNEL_MANY(pc_pooled_max_smooth, PC_POOLED_THREADS, PcPooled) { pc_pooled<true, true, 1>(p); }
PC_KERNEL_MANY(pc_pooled_mean, PC_POOLED_THREADS, PcPooled) { pc_pooled<false, false, 4>(p); }
PC_KERNEL_MANY(pc_pooled_mean_smooth, PC_POOLED_THREADS, PcPooled) { pc_pooled<false, true, 1>(p); }

// The first and the last of the windows along an axis that a place lies in.
PC_DEV int pc_pooled_first(int place, int size, int stride) {
  return place < size ? 0 : (place - size) / stride + 1;
}
PC_DEV int pc_pooled_last(int place, int stride, int windows) {
  int last = place / stride;
  return last < windows ? last : windows - 1;
}

// What the windows over a place hand back to it, times the slope: the cotangent of those whose
// largest value it is, or all of theirs in equal shares. As pixels of `row` numbers, with zeros
// behind the channels. HALVES: these are bf16 numbers, and `row` is even.
template <bool HALVES> PC_DEV void pc_pooled_back(const PcPooled& p) {
  PC_SHARED(raw);
  float* tile = (float*)raw; // a column of windows for each channel
  int* largest = (int*)(tile + PC_POOLED_CHANNELS * PC_POOLED_COLUMN); // a row of channels for each
  const int turns = PC_POOLED_PLACES * 32 / PC_POOLED_THREADS, parts = PC_POOLED_CHANNELS / 32;
  int across = (p.row + PC_POOLED_CHANNELS - 1) / PC_POOLED_CHANNELS;
  int first_c = pc_bid() % across * PC_POOLED_CHANNELS;
  int first = pc_bid() / across * PC_POOLED_PLACES;
  int windows = p.out_h * p.out_w, end = p.samples * p.height * p.width;
  int channels = p.channels - first_c, lane = pc_tid() % 32, warp = pc_tid() / 32;
  if (channels > PC_POOLED_CHANNELS) channels = PC_POOLED_CHANNELS;
  if (end > first + PC_POOLED_PLACES) end = first + PC_POOLED_PLACES;
  // From the first to the last window that may see one of these places.
  PcWhere one = pc_pooled_where(first, p.height, p.width);
  PcWhere other = pc_pooled_where(end - 1, p.height, p.width);
  bool single = one.sample == other.sample && one.row == other.row;
  int from = one.sample * windows + pc_pooled_first(one.row, p.size, p.stride) * p.out_w;
  if (single) from += pc_pooled_first(one.column, p.size, p.stride);
  int to = other.sample * windows + pc_pooled_last(other.row, p.stride, p.out_h) * p.out_w;
  to += single ? pc_pooled_last(other.column, p.stride, p.out_w) : p.out_w - 1;
  float sums[turns][parts];
#pragma unroll
  for (int t = 0; t < turns; t++)
#pragma unroll
    for (int part = 0; part < parts; part++) sums[t][part] = 0.f;
  for (int start = from; start <= to; start += PC_POOLED_PLACES) {
    if (start > from) pc_block_sync(); // what is there has been read
    int window = start + lane, sample = window / windows;
    const float* a = p.a + ((u64)sample * p.channels + first_c) * windows;
    a += window - sample * windows;
    for (int c = warp; c < channels; c += PC_POOLED_THREADS / 32)
      if (window <= to) tile[c * PC_POOLED_COLUMN + lane] = a[(u64)c * windows];
    if (p.old) {
      pc_block_sync();
      for (int k = warp; k < PC_POOLED_PLACES; k += PC_POOLED_THREADS / 32) {
        if (start + k > to) break;
        u64 own = (u64)(start + k) * p.channels + first_c;
        for (int c = lane; c < channels; c += 32) {
          largest[k * PC_POOLED_CHANNELS + c] = (int)p.old[own + c];
          if (p.slope) tile[c * PC_POOLED_COLUMN + k] *= p.slope[own + c];
        }
      }
    }
    pc_block_sync();
#pragma unroll
    for (int t = 0; t < turns; t++) {
      int number = first + warp + t * (PC_POOLED_THREADS / 32);
      if (number >= end) break;
      PcWhere at = pc_pooled_where(number, p.height, p.width);
      int bottom = pc_pooled_last(at.row, p.stride, p.out_h);
      int right = pc_pooled_last(at.column, p.stride, p.out_w);
      for (int y = pc_pooled_first(at.row, p.size, p.stride); y <= bottom; y++)
        for (int x = pc_pooled_first(at.column, p.size, p.stride); x <= right; x++) {
          int k = at.sample * windows + y * p.out_w + x - start;
          if (k < 0 || k >= PC_POOLED_PLACES) continue;
          int place = (at.row - y * p.stride) * p.size + at.column - x * p.stride;
#pragma unroll
          for (int part = 0; part < parts; part++) {
            int c = lane + 32 * part;
            if (c < channels && (!p.old || largest[k * PC_POOLED_CHANNELS + c] == place))
              sums[t][part] += tile[c * PC_POOLED_COLUMN + k];
          }
        }
    }
  }
  float share = p.old ? 1.f : 1.f / (float)(p.size * p.size);
#pragma unroll
  for (int t = 0; t < turns; t++) {
    int number = first + warp + t * (PC_POOLED_THREADS / 32);
    if (number >= end) break;
#pragma unroll
    for (int part = 0; part < parts; part++) {
      int c = lane + 32 * part;
      float x = sums[t][part] * share;
      // Zero where there is no window.
      if (!p.old && p.slope && c < channels)
        x *= p.slope[(u64)number * p.channels + first_c + c];
      u64 own = (u64)number * p.row + first_c + c;
      if (HALVES) {
        float next = pc_shfl_xor(x, 1);
        if (first_c + c < p.row && lane % 2 == 0) ((u32*)p.out)[own / 2] = pc_bf16_pair(x, next);
      } else if (first_c + c < p.row) {
        ((float*)p.out)[own] = x;
      }
    }
  }
}
PC_KERNEL_MANY(pc_pooled_pull, PC_POOLED_THREADS, PcPooled) { pc_pooled_back<false>(p); }
PC_KERNEL_MANY(pc_pooled_pull_bf16, PC_POOLED_THREADS, PcPooled) { pc_pooled_back<true>(p); }
