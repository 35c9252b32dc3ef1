// The products of a cluster: a block's rows of a weight, which lie in its shared memory, by 8
// samples. Every weight is read once a product and without bank conflicts, which is what a product
// costs at least.
#pragma once
#include "pc_dev.cuh"
#include "pc_params.cuh"

#ifdef PC_CLUSTERS
#define PC_THREADS 512

// A block has two teams. One takes the layers of odd number, the other those of even number, so that
// the work of two layers overlaps.
struct PcTeam {
  enum { SIZE = PC_THREADS / 2, WARPS = SIZE / 32 };
  static PC_DEV int member() { return pc_tid() % SIZE; }
  static PC_DEV int warp() { return pc_tid() % SIZE / 32; }
  static PC_DEV bool takes(int layer) { return layer % 2 == pc_tid() / SIZE; }
};

// Products: of full numbers; of numbers rounded to tf32, or to bf16; or of a rounded part and the
// rest of both, which has the digits of two parts for three products of one. A relu's slope jumps
// where its argument crosses zero, and an argument that is off by what one part rounds away crosses
// it at other places, whichever of the two products has rounded: live relus need split numbers.
enum { PC_FULL = 0, PC_ROUNDED = 1, PC_SPLIT = 2, PC_ROUNDED_BF16 = 3, PC_SPLIT_BF16 = 4 };

// The nearest bf16 number.
PC_DEV float pc_near_bf16(float x) { return pc_float(pc_bf16_pair(0.f, x)); }
// Operands are rounded where they are stored, unless both of their parts are wanted.
template <int MODE> PC_DEV float pc_operand(float x) {
  if (MODE == PC_ROUNDED_BF16) return pc_near_bf16(x);
  return MODE == PC_ROUNDED ? pc_tf32(x) : x;
}

// Sixteen columns of A and rows of B, in two halves as pc_mma takes eight: in tf32 two products. A
// half's two columns of a row lie side by side in a word of bf16 numbers: which column stands for
// which is free.
template <int MODE>
PC_DEV void pc_product_tf32(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
  if (MODE == PC_SPLIT) {
    float a1[4], a2[4], b1[2], b2[2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      a1[i] = pc_tf32(a[i]);
      a2[i] = pc_tf32(a[i] - a1[i]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
      b1[i] = pc_tf32(b[i]);
      b2[i] = pc_tf32(b[i] - b1[i]);
    }
    pc_mma(d, a2, b1);
    pc_mma(d, a1, b2);
    pc_mma(d, a1, b1);
  } else {
    pc_mma(d, a, b);
  }
}
// Two numbers as a word, and what rounding left of them as another; of rounded ones there is no
// rest.
template <int MODE> PC_DEV void pc_word(float x, float y, float& word, float& rest) {
  if (MODE == PC_SPLIT_BF16) {
    u32 both = pc_bf16_pair(x, y);
    word = pc_float(both);
    rest = pc_float(pc_bf16_pair(x - pc_float(both << 16), y - pc_float(both & 0xffff0000u)));
  } else {
    word = pc_float(pc_upper_halves(x, y));
  }
}
template <int MODE>
PC_DEV void pc_product(float (&d)[4], const float (&left)[4], const float (&right)[4],
                       const float (&low)[2], const float (&high)[2]) {
  if (MODE != PC_ROUNDED_BF16 && MODE != PC_SPLIT_BF16) {
    pc_product_tf32<MODE>(d, left, low);
    pc_product_tf32<MODE>(d, right, high);
    return;
  }
  float a[4], b[2], a_rest[4], b_rest[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    pc_word<MODE>(left[i], left[i + 2], a[i], a_rest[i]);
    pc_word<MODE>(right[i], right[i + 2], a[i + 2], a_rest[i + 2]);
  }
  pc_word<MODE>(low[0], low[1], b[0], b_rest[0]);
  pc_word<MODE>(high[0], high[1], b[1], b_rest[1]);
  if (MODE == PC_SPLIT_BF16) {
    pc_mma_bf16(d, a_rest, b);
    pc_mma_bf16(d, a, b_rest);
  }
  pc_mma_bf16(d, a, b);
}

// Where sample s of element k lies among gathered displacements: four elements that lie four apart,
// or eight in a row by halves, share no bank.
PC_DEV int pc_place(int k, int s) { return ((k & ~3) | ((k ^ k >> 2) & 3)) * PC_SLICE + (s ^ (k & 4)); }

// Where sample s of element x lies among what block `sender` sends to an owner of so many rows.
PC_DEV int pc_slot(int sender, int rows, int x, int s) {
  return (sender * 2 + (s >> 2)) * rows * 4 + x * 4 + (s & 3);
}

// The rows of a layer's weight that a block has room for. Rows beyond are read as the last one, and
// what comes of them is never used.
PC_DEV int pc_stored(const PcClusterLayer& y) { return y.n < y.rows ? y.n : y.rows; }
PC_DEV int pc_row(const PcClusterLayer& y, int row) {
  int last = pc_stored(y) - 1;
  return row < last ? row : last;
}

// The block that owns element k of a layer: k / rows, for k rows < 2^32.
PC_DEV int pc_owner(const PcClusterLayer& y, int k) {
  return (int)(((u64)(u32)k * y.inverse) >> 32);
}

// scratch[split][row][sample] = W[rows][K] F[K][sample] on tensor cores. A lane reads four columns
// of a row at once; which column stands for which in a fragment is free, as long as both operands
// agree, and so is the order of rows. The distance between rows is 8 more than a multiple of 32, so
// that neither four rows of 8 numbers nor two rows of 16, two rows apart, share a bank.
template <int MODE, int TILES>
PC_DEV void pc_forward_mma(const PcClusterLayer& y, int K, const float* W, const float* F,
                           float* scratch) {
  int warp = PcTeam::warp(), lane = pc_tid() & 31, g = lane >> 2, t = lane & 3;
  int own = (g & 4) | (g & 1) << 1 | (g >> 1 & 1), ld = y.stride, chunks = (K + 15) >> 4;
  int splits = 1 << y.shift, split = warp & (splits - 1);
  const float *f0 = F + pc_place(4 * t, g), *f1 = F + pc_place(4 * t + 1, g);
  const float *f2 = F + pc_place(4 * t + 2, g), *f3 = F + pc_place(4 * t + 3, g);
  for (int group = warp >> y.shift; group < y.groups; group += PcTeam::WARPS >> y.shift) {
    int first = group * (16 * TILES) + own;
    const float* w[2 * TILES];
    float sum[TILES][4];
#pragma unroll
    for (int i = 0; i < TILES; i++) {
      w[2 * i] = W + pc_row(y, first + 16 * i) * ld + 4 * t;
      w[2 * i + 1] = W + pc_row(y, first + 16 * i + 8) * ld + 4 * t;
      sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0.f;
    }
#pragma unroll 4
    for (int c = split; c < chunks; c += splits) {
      int at = 16 * PC_SLICE * c;
      float low[2] = {f0[at], f1[at]}, high[2] = {f2[at], f3[at]};
#pragma unroll
      for (int i = 0; i < TILES; i++) {
        PcFour a = pc_load4(w[2 * i] + 16 * c), b = pc_load4(w[2 * i + 1] + 16 * c);
        float left[4] = {a.x, b.x, a.y, b.y}, right[4] = {a.z, b.z, a.w, b.w};
        pc_product<MODE>(sum[i], left, right, low, high);
      }
    }
    float* out = scratch + (split * y.rows + first) * PC_SLICE + 2 * t;
#pragma unroll
    for (int i = 0; i < TILES; i++) {
      pc_store2(out + 16 * i * PC_SLICE, sum[i][0], sum[i][1]);
      pc_store2(out + (16 * i + 8) * PC_SLICE, sum[i][2], sum[i][3]);
    }
  }
}

// The butterfly below: of 2 H sums a lane keeps the half that its own number names. Written as a
// template so that every index is a constant.
template <int H> struct PcFold {
  static PC_DEV void run(float (&sum)[32], int lane) {
    bool upper = (lane & H) != 0;
#pragma unroll
    for (int i = 0; i < H; i++) {
      float send = upper ? sum[i] : sum[i + H], keep = upper ? sum[i + H] : sum[i];
      sum[i] = keep + pc_shfl_xor(send, H);
    }
    PcFold<H / 2>::run(sum, lane);
  }
};
template <> struct PcFold<0> {
  static PC_DEV void run(float (&)[32], int) {}
};

// The same in full precision: a warp takes 8 rows by 8 samples, its lanes share the columns, and a
// transposing butterfly leaves every lane with two sums.
PC_DEV void pc_forward_f32(const PcClusterLayer& y, int K, const float* W, const float* F,
                           float* scratch) {
  int warp = PcTeam::warp(), lane = pc_tid() & 31, ld = y.stride;
  int splits = 1 << y.shift, split = warp & (splits - 1);
  for (int group = warp >> y.shift; group < y.groups; group += PcTeam::WARPS >> y.shift) {
    int first = group * 8;
    float top[32], bottom[32];
#pragma unroll
    for (int i = 0; i < 32; i++) top[i] = bottom[i] = 0.f;
    const float* w[8];
#pragma unroll
    for (int r = 0; r < 8; r++) w[r] = W + pc_row(y, first + r) * ld;
#pragma unroll 2
    for (int k = split * 32 + lane; k < K; k += splits * 32) {
      PcFour a = pc_load4(F + pc_place(k, 0)), b = pc_load4(F + pc_place(k, 4));
      float x[PC_SLICE] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
      for (int r = 0; r < 4; r++) {
        float upper = w[r][k], lower = w[r + 4][k];
#pragma unroll
        for (int s = 0; s < PC_SLICE; s++) {
          top[r * PC_SLICE + s] += upper * x[s];
          bottom[r * PC_SLICE + s] += lower * x[s];
        }
      }
    }
    PcFold<16>::run(top, lane);
    PcFold<16>::run(bottom, lane);
    float* out = scratch + (split * y.rows + first) * PC_SLICE + lane;
    out[0] = top[0];
    out[32] = bottom[0];
  }
}

// One step of 16 rows down the columns of TILES tiles; w and x are of every fourth of them.
template <int MODE, int TILES>
PC_DEV void pc_pull_rows(float (&sum)[TILES][4], const int (&column)[TILES],
                         const float* const (&w)[4], const float* x) {
  float low[2] = {x[0], x[4 * PC_SLICE]}, high[2] = {x[8 * PC_SLICE], x[12 * PC_SLICE]};
#pragma unroll
  for (int j = 0; j < TILES; j++) {
    int k = column[j];
    float left[4] = {w[0][k], w[0][k + 8], w[1][k], w[1][k + 8]};
    float right[4] = {w[2][k], w[2][k + 8], w[3][k], w[3][k + 8]};
    pc_product<MODE>(sum[j], left, right, low, high);
  }
}

// W[rows][K]^T G[rows][sample], each column's partial sum sent to the block that owns it, in the
// place of block `me`. A warp takes TILES tiles of 16 columns together.
template <int MODE, int TILES>
PC_DEV void pc_pull_mma(const PcClusterLayer& y, const PcClusterLayer& below, int count,
                        const float* W, const float* G, float* P, PcSignal* arrived, u32 me) {
  int warp = PcTeam::warp(), lane = pc_tid() & 31, g = lane >> 2, t = lane & 3;
  int K = below.n, ld = y.stride, tiles = (K + 15) >> 4, stored = pc_stored(y);
  for (int first = warp * TILES; first < tiles; first += PcTeam::WARPS * TILES) {
    float sum[TILES][4];
    int column[TILES];
#pragma unroll
    for (int j = 0; j < TILES; j++) {
      sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0.f;
      column[j] = (first + j < tiles ? first + j : first) * 16 + g;
    }
    const float *w = W + t * ld, *x = G + t * PC_SLICE + g;
    int i = 0;
#pragma unroll 2
    for (; i + 16 <= stored; i += 16) {
      const float* down = w + i * ld;
      const float* const rows[4] = {down, down + 4 * ld, down + 8 * ld, down + 12 * ld};
      pc_pull_rows<MODE>(sum, column, rows, x + i * PC_SLICE);
    }
    // Of the last rows some may not be stored; there is nothing to be pulled of those.
    if (i < count) {
      int row = i + t;
      const float* const rows[4] = {W + pc_row(y, row) * ld, W + pc_row(y, row + 4) * ld,
                                    W + pc_row(y, row + 8) * ld, W + pc_row(y, row + 12) * ld};
      pc_pull_rows<MODE>(sum, column, rows, x + i * PC_SLICE);
    }
#pragma unroll
    for (int j = 0; j < TILES; j++) {
      // An owner has whole tiles.
      int k = (first + j) * 16, owner = pc_owner(below, k), own = k - owner * below.rows + g;
      float* to = P + pc_slot((int)me, below.rows, own, 2 * t);
      if (k + g < K) pc_send2(to, (u32)owner, sum[j][0], sum[j][1], arrived);
      if (k + g + 8 < K) pc_send2(to + 32, (u32)owner, sum[j][2], sum[j][3], arrived);
    }
  }
}

// The same in full precision, a column a thread, or two.
template <int COLUMNS>
PC_DEV void pc_pull_f32(const PcClusterLayer& y, const PcClusterLayer& below, int count,
                        const float* W, const float* G, float* P, PcSignal* arrived, u32 me) {
  int K = below.n, ld = y.stride;
  for (int first = PcTeam::member(); first < K; first += PcTeam::SIZE * COLUMNS) {
    float sum[COLUMNS][PC_SLICE];
    int column[COLUMNS];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
#pragma unroll
      for (int s = 0; s < PC_SLICE; s++) sum[j][s] = 0.f;
      column[j] = first + j * PcTeam::SIZE < K ? first + j * PcTeam::SIZE : first;
    }
#pragma unroll 4
    for (int i = 0; i < count; i++) {
      PcFour a = pc_load4(G + i * PC_SLICE), b = pc_load4(G + i * PC_SLICE + 4);
      float x[PC_SLICE] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
      for (int j = 0; j < COLUMNS; j++) {
        float w = W[i * ld + column[j]];
#pragma unroll
        for (int s = 0; s < PC_SLICE; s++) sum[j][s] += w * x[s];
      }
    }
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
      int k = first + j * PcTeam::SIZE, owner = pc_owner(below, k), own = k - owner * below.rows;
      if (k >= K) continue;
      float* to = P + pc_slot((int)me, below.rows, own, 0);
      PcFour a = {sum[j][0], sum[j][1], sum[j][2], sum[j][3]};
      PcFour b = {sum[j][4], sum[j][5], sum[j][6], sum[j][7]};
      pc_send4(to, (u32)owner, a, arrived);
      pc_send4(to + below.rows * 4, (u32)owner, b, arrived);
    }
  }
}

// As many tiles, or columns, together as keep every warp at work.
template <int MODE>
PC_DEV void pc_pull(const PcClusterLayer& y, const PcClusterLayer& below, int count, const float* W,
                    const float* G, float* P, PcSignal* arrived, u32 me) {
  int tiles = (below.n + 15) >> 4;
  if (MODE == PC_FULL) {
    if (below.n > PcTeam::SIZE) pc_pull_f32<2>(y, below, count, W, G, P, arrived, me);
    else pc_pull_f32<1>(y, below, count, W, G, P, arrived, me);
  } else if (tiles > 2 * PcTeam::WARPS) {
    pc_pull_mma<MODE, 4>(y, below, count, W, G, P, arrived, me);
  } else if (tiles > PcTeam::WARPS) {
    pc_pull_mma<MODE, 2>(y, below, count, W, G, P, arrived, me);
  } else {
    pc_pull_mma<MODE, 1>(y, below, count, W, G, P, arrived, me);
  }
}
template <int MODE>
PC_DEV void pc_forward(const PcClusterLayer& y, int K, const float* W, const float* F,
                       float* scratch) {
  if (MODE == PC_FULL) pc_forward_f32(y, K, W, F, scratch);
  else if (y.rows % 32 == 0) pc_forward_mma<MODE, 2>(y, K, W, F, scratch);
  else pc_forward_mma<MODE, 1>(y, K, W, F, scratch);
}
#endif
