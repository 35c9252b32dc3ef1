// What the layers of a graph move and add up, a step at a time: convolutions as products of patches, pools, rearrangements, small products, embeddings.
// Every result is written by one thread (or one block, for sums) that gathers what belongs to it, in an order that is always the same.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#define PC_LAYER_THREADS 256

// The elements that this thread of an element-by-element kernel writes.
#define PC_EACH(i, total)                                                                                                                  \
  int start = pc_bid() * PC_CHUNK, end = start + PC_CHUNK;                                                                                 \
  if (end > (total)) end = (total);                                                                                                        \
  for (int i = start + pc_tid(); i < end; i += PC_LAYER_THREADS)

// Blocks [outer][length][inner] from one place to another; zeros where there is no source.
PC_KERNEL(pc_layer_copy, PC_LAYER_THREADS, PcLay) {
  PC_EACH(i, p.outer * p.length * p.inner) {
    int part = p.length * p.inner, o = i / part, at = i - o * part;
    float x = p.in ? p.in[(o * p.in_whole + p.in_start) * p.inner + at] : 0.f;
    p.out[(o * p.out_whole + p.out_start) * p.inner + at] = x;
  }
}

// [outer][a][b][inner] to [outer][b][a][inner], times x, added to what is there or in its place.
PC_KERNEL(pc_layer_swap, PC_LAYER_THREADS, PcSwap) {
  PC_EACH(i, p.outer * p.a * p.b * p.inner) {
    int inner = i % p.inner, rest = i / p.inner, row = rest % p.a;
    rest /= p.a;
    int column = rest % p.b, o = rest / p.b;
    float y = p.x * p.in[((o * p.a + row) * p.b + column) * p.inner + inner];
    p.out[i] = p.add ? p.out[i] + y : y;
  }
}

// Adds x times a list that repeats: element (i / inner) % length of it.
PC_KERNEL(pc_layer_tile, PC_LAYER_THREADS, PcTile) {
  PC_EACH(i, p.count) p.out[i] += p.x * p.a[i / p.inner % p.length];
}

// By column of [outer][columns][inner]: x times the sum of a, or of a b, added to what is there. A block a column.
PC_KERNEL(pc_layer_sums, PC_LAYER_THREADS, PcSums) {
  PC_SHARED(raw);
  int column = pc_bid();
  double sum = 0.0;
  for (int i = pc_tid(); i < p.outer * p.inner; i += PC_LAYER_THREADS) {
    int at = (i / p.inner * p.columns + column) * p.inner + i % p.inner;
    sum += p.b ? (double)p.a[at] * (double)p.b[at] : (double)p.a[at];
  }
  sum = pc_block_sum<PC_LAYER_THREADS / 32>((double*)raw, sum);
  if (pc_tid() == 0) p.out[column] += (float)((double)p.x * sum);
}

// Images [batch][channels][height][width] to their patches, [batch][rows][columns][channels][window_h][window_w].
PC_KERNEL(pc_layer_patches, PC_LAYER_THREADS, PcPatches) {
  int length = p.channels * p.window_h * p.window_w;
  PC_EACH(i, p.batch * p.rows * p.columns * length) {
    int k = i % length, place = i / length, j = k % p.window_w, row = k / p.window_w % p.window_h, c = k / (p.window_w * p.window_h);
    int x = place % p.columns * p.stride + j - p.padding, y = place / p.columns % p.rows * p.stride + row - p.padding;
    int image = place / (p.columns * p.rows) * p.channels + c;
    bool inside = x >= 0 && x < p.width && y >= 0 && y < p.height;
    p.out[i] = inside ? p.in[(image * p.height + y) * p.width + x] : 0.f;
  }
}

// The transpose of it: every element of the images adds up the places it has in patches.
PC_KERNEL(pc_layer_unpatch, PC_LAYER_THREADS, PcPatches) {
  int length = p.channels * p.window_h * p.window_w;
  PC_EACH(i, p.batch * p.channels * p.height * p.width) {
    int x = i % p.width + p.padding, y = i / p.width % p.height + p.padding, image = i / (p.width * p.height);
    int c = image % p.channels, sample = image / p.channels;
    float sum = 0.f;
    for (int row = 0; row < p.window_h; row++) {
      int top = y - row;
      if (top < 0 || top % p.stride || top / p.stride >= p.rows) continue;
      for (int j = 0; j < p.window_w; j++) {
        int left = x - j;
        if (left < 0 || left % p.stride || left / p.stride >= p.columns) continue;
        int place = (sample * p.rows + top / p.stride) * p.columns + left / p.stride;
        sum += p.in[place * length + (c * p.window_h + row) * p.window_w + j];
      }
    }
    p.out[i] = sum;
  }
}

// The largest of a, the first of equals and a NaN before all, and where it is in its window. With displacements d: how far the largest has moved
// from what it was at `old`.
PC_KERNEL(pc_layer_max_pool, PC_LAYER_THREADS, PcPool) {
  PC_EACH(i, p.planes * p.out_h * p.out_w) {
    int plane = i / (p.out_h * p.out_w);
    int corner = (plane * p.height + i / p.out_w % p.out_h * p.stride) * p.width + i % p.out_w * p.stride;
    int was = p.d ? (int)p.old[i] : 0;
    float top = p.d ? p.a[corner + was / p.size * p.width + was % p.size] : 0.f, best = 0.f;
    int place = -1;
    for (int k = 0; k < p.size * p.size; k++) {
      int at = corner + k / p.size * p.width + k % p.size;
      float x = p.d ? (p.a[at] - top) + p.d[at] : p.a[at];
      if (place < 0 || x > best || (x != x && best == best)) best = x, place = k;
    }
    p.out[i] = best;
    p.index[i] = (float)place;
  }
}

PC_KERNEL(pc_layer_avg_pool, PC_LAYER_THREADS, PcPool) {
  float weight = 1.f / (float)(p.size * p.size);
  PC_EACH(i, p.planes * p.out_h * p.out_w) {
    int plane = i / (p.out_h * p.out_w);
    int corner = (plane * p.height + i / p.out_w % p.out_h * p.stride) * p.width + i % p.out_w * p.stride;
    float sum = 0.f;
    for (int k = 0; k < p.size * p.size; k++) sum += p.a[corner + k / p.size * p.width + k % p.size];
    p.out[i] = sum * weight;
  }
}

// What the windows over an element hand back to it: the cotangent a of those whose largest it is (by `old`), or all of theirs in equal shares.
PC_KERNEL(pc_layer_unpool, PC_LAYER_THREADS, PcPool) {
  float weight = 1.f / (float)(p.size * p.size);
  PC_EACH(i, p.planes * p.height * p.width) {
    int x = i % p.width, y = i / p.width % p.height, plane = i / (p.width * p.height);
    int top = y < p.size ? 0 : (y - p.size) / p.stride + 1, left = x < p.size ? 0 : (x - p.size) / p.stride + 1;
    float sum = 0.f;
    for (int row = top; row < p.out_h && row * p.stride <= y; row++)
      for (int column = left; column < p.out_w && column * p.stride <= x; column++) {
        int at = (plane * p.out_h + row) * p.out_w + column, k = (y - row * p.stride) * p.size + x - column * p.stride;
        if (!p.old)
          sum += weight * p.a[at];
        else if ((int)p.old[at] == k)
          sum += p.a[at];
      }
    p.out[i] = sum;
  }
}

#define PC_SIDE 16

// c = x a b of each pair of matrices, added to what is there or in its place: a [m][k] or, transposed, [k][m]; b [k][n] or [n][k].
PC_KERNEL(pc_layer_products, PC_LAYER_THREADS, PcProducts) {
  PC_SHARED(raw);
  float* left = (float*)raw;
  float* right = left + PC_SIDE * (PC_SIDE + 1);
  int across = (p.n + PC_SIDE - 1) / PC_SIDE, down = (p.m + PC_SIDE - 1) / PC_SIDE, block = pc_bid();
  int first_n = block % across * PC_SIDE, first_m = block / across % down * PC_SIDE, pair = block / (across * down);
  const float* a = p.a + (u64)pair * p.m * p.k;
  const float* b = p.b + (u64)pair * p.k * p.n;
  int i = pc_tid() / PC_SIDE, j = pc_tid() % PC_SIDE, m = first_m + i, n = first_n + j;
  float sum = 0.f;
  for (int from = 0; from < p.k; from += PC_SIDE) {
    int ka = from + j, kb = from + i;
    left[i * (PC_SIDE + 1) + j] = m < p.m && ka < p.k ? (p.transpose_a ? a[ka * p.m + m] : a[m * p.k + ka]) : 0.f;
    right[i * (PC_SIDE + 1) + j] = n < p.n && kb < p.k ? (p.transpose_b ? b[n * p.k + kb] : b[kb * p.n + n]) : 0.f;
    pc_block_sync();
    for (int k = 0; k < PC_SIDE; k++) sum = pc_fma(left[i * (PC_SIDE + 1) + k], right[k * (PC_SIDE + 1) + j], sum);
    pc_block_sync();
  }
  if (m < p.m && n < p.n) {
    float* c = p.c + ((u64)pair * p.m + m) * p.n + n;
    *c = p.add ? *c + p.x * sum : p.x * sum;
  }
}

// A row of the table for every index; NaN for what is none.
PC_KERNEL(pc_layer_embed, PC_LAYER_THREADS, PcEmbed) {
  PC_EACH(i, p.places * p.width) {
    float index = p.index[i / p.width];
    bool known = index >= 0.f && index < (float)p.vocabulary;
    p.out[i] = known ? p.in[(int)index * p.width + i % p.width] : pc_float(0x7fc00000u);
  }
}

// The transpose: every number of the table adds up, place by place, what came where its row was taken.
PC_KERNEL(pc_layer_unembed, PC_LAYER_THREADS, PcEmbed) {
  PC_EACH(i, p.vocabulary * p.width) {
    int row = i / p.width, column = i % p.width;
    float sum = 0.f;
    for (int place = 0; place < p.places; place++)
      if ((int)p.index[place] == row) sum += p.in[place * p.width + column];
    p.out[i] += p.x * sum;
  }
}
