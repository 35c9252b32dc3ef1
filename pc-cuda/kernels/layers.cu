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
PC_KERNEL_MANY(pc_layer_copy, PC_LAYER_THREADS, PcLay) {
  PC_EACH(i, p.outer * p.length * p.inner) {
    int part = p.length * p.inner, o = i / part, at = i - o * part;
    float x = p.in ? p.in[(o * p.in_whole + p.in_start) * p.inner + at] : 0.f;
    p.out[(o * p.out_whole + p.out_start) * p.inner + at] = x;
  }
}

// [outer][a][b][inner] to [outer][b][a][inner].
PC_KERNEL_MANY(pc_layer_swap, PC_LAYER_THREADS, PcSwap) {
  PC_EACH(i, p.outer * p.a * p.b * p.inner) {
    int inner = i % p.inner, rest = i / p.inner, row = rest % p.a;
    rest /= p.a;
    int column = rest % p.b, o = rest / p.b;
    p.out[i] = p.in[((o * p.a + row) * p.b + column) * p.inner + inner];
  }
}

// The side of a tile that is turned over in shared memory.
#define PC_TURN 32

// [outer][a][b] to [outer][b][a], times x, added to what is there or in its place; a tile a block.
// Rows of the source lie `in_row` numbers apart, those of the result `out_row`, with zeros behind
// the `a` numbers of each. HALVES: the result is of bf16 numbers, and nothing is added.
template <bool HALVES> PC_DEV void pc_turn(const PcTurn& p) {
  PC_SHARED(raw);
  float* tile = (float*)raw; // a row more, so that columns share no bank
  int across = (p.out_row + PC_TURN - 1) / PC_TURN, down = (p.b + PC_TURN - 1) / PC_TURN;
  int block = pc_bid(), first_a = block % across * PC_TURN, first_b = block / across % down * PC_TURN;
  int o = block / (across * down), lane = pc_tid() % PC_TURN, warp = pc_tid() / PC_TURN;
  const float* in = p.in + (u64)o * p.a * p.in_row;
  u64 out = (u64)o * p.b * p.out_row;
  for (int k = warp; k < PC_TURN; k += PC_LAYER_THREADS / PC_TURN) {
    int i = first_a + k, j = first_b + lane;
    tile[k * (PC_TURN + 1) + lane] = i < p.a && j < p.b ? p.x * in[(u64)i * p.in_row + j] : 0.f;
  }
  pc_block_sync();
  if (HALVES) {
    const int pairs = PC_TURN / 2;
    for (int q = pc_tid(); q < PC_TURN * pairs; q += PC_LAYER_THREADS) {
      int k = q / pairs, own = q % pairs * 2, i = first_a + own, j = first_b + k;
      const float* from = tile + own * (PC_TURN + 1) + k;
      if (i < p.out_row && j < p.b)
        ((u32*)p.out)[(out + (u64)j * p.out_row + i) / 2] = pc_bf16_pair(from[0], from[PC_TURN + 1]);
    }
  } else {
    for (int k = warp; k < PC_TURN; k += PC_LAYER_THREADS / PC_TURN) {
      int i = first_a + lane, j = first_b + k;
      if (i >= p.out_row || j >= p.b) continue;
      float* to = (float*)p.out + out + (u64)j * p.out_row + i;
      float y = tile[lane * (PC_TURN + 1) + k];
      *to = p.add ? *to + y : y;
    }
  }
}
PC_KERNEL_MANY(pc_layer_turn, PC_LAYER_THREADS, PcTurn) { pc_turn<false>(p); }
PC_KERNEL_MANY(pc_layer_turn_bf16, PC_LAYER_THREADS, PcTurn) { pc_turn<true>(p); }

// Adds x times a list that repeats: element (i / inner) % length of it.
PC_KERNEL_MANY(pc_layer_tile, PC_LAYER_THREADS, PcTile) {
  PC_EACH(i, p.count) p.out[i] += p.x * p.a[i / p.inner % p.length];
}

// By column of [outer][columns][inner]: x times the sum of a, or of a b, added to what is there. A block a column.
PC_KERNEL_MANY(pc_layer_sums, PC_LAYER_THREADS, PcSums) {
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

// Images [images][height][width] of pixels to their patches,
// [images][rows][columns][window_h][window_w] of pixels; a pixel is so many vectors of 16 bytes, and
// a warp takes the patch of one place. A patch is what a window sees of the image. With `back` the
// images are a convolution's results, and the patch of a place holds the results whose windows see
// it. Zeros where there is nothing.
PC_KERNEL_MANY(pc_layer_patches, PC_LAYER_THREADS, PcPatches) {
  int place = pc_bid() * (PC_LAYER_THREADS / 32) + pc_tid() / 32;
  int column = place % p.columns, rest = place / p.columns, row = rest % p.rows, image = rest / p.rows;
  int length = image < p.images ? p.window_h * p.window_w * p.vectors : 0;
  const float* in = p.in + (u64)image * p.height * p.width * p.vectors * 4;
  float* out = p.out + (u64)place * length * 4;
  for (int k = pc_tid() % 32; k < length; k += 32) {
    int at = k / p.vectors, vector = k - at * p.vectors, i = at / p.window_w, j = at - i * p.window_w;
    int y = p.back ? row + p.padding - i : row * p.stride + i - p.padding;
    int x = p.back ? column + p.padding - j : column * p.stride + j - p.padding;
    bool inside = y >= 0 && x >= 0;
    if (p.back) {
      inside = inside && y % p.stride == 0 && x % p.stride == 0;
      y /= p.stride;
      x /= p.stride;
    }
    PcFour seen = {0.f, 0.f, 0.f, 0.f};
    if (inside && y < p.height && x < p.width)
      seen = pc_load4(in + ((y * p.width + x) * p.vectors + vector) * 4);
    pc_store4(out + k * 4, seen);
  }
}

// The largest of a, the first of equals and a NaN before all, and where it is in its window. With displacements d: how far the largest has moved
// from what it was at `old`.
PC_KERNEL_MANY(pc_layer_max_pool, PC_LAYER_THREADS, PcPool) {
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

PC_KERNEL_MANY(pc_layer_avg_pool, PC_LAYER_THREADS, PcPool) {
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
PC_KERNEL_MANY(pc_layer_unpool, PC_LAYER_THREADS, PcPool) {
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
PC_KERNEL_MANY(pc_layer_products, PC_LAYER_THREADS, PcProducts) {
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
PC_KERNEL_MANY(pc_layer_embed, PC_LAYER_THREADS, PcEmbed) {
  PC_EACH(i, p.places * p.width) {
    float index = p.index[i / p.width];
    bool known = index >= 0.f && index < (float)p.vocabulary;
    p.out[i] = known ? p.in[(int)index * p.width + i % p.width] : pc_float(0x7fc00000u);
  }
}

// The transpose: every number of the table adds up, place by place, what came where its row was taken.
PC_KERNEL_MANY(pc_layer_unembed, PC_LAYER_THREADS, PcEmbed) {
  PC_EACH(i, p.vocabulary * p.width) {
    int row = i / p.width, column = i % p.width;
    float sum = 0.f;
    for (int place = 0; place < p.places; place++)
      if ((int)p.index[place] == row) sum += p.in[place * p.width + column];
    p.out[i] += p.x * sum;
  }
}
