// A whole relaxation in one launch. One cluster of C blocks relaxes a slice of 8 samples; block c keeps rows [c R_l, (c + 1) R_l) of every loop
// weight in shared memory for all T steps. Blocks exchange displacements (gathered by all) and partial sums (each sent to the block that owns
// the row), and nothing else. The errors of all layers of one step are independent of each other, so a step costs two cluster barriers at any
// depth, and one where predictions are frozen.
//
//   live:    dz_l = W_l d_(l-1),  e_l = r_l + d_l - [f(z_l + dz_l) - f(z_l)],  d_l += rate (W_(l+1)^T pi f' e_(l+1) - pi e_l)
//   frozen:  e_l += rate (W_(l+1)^T pi f' e_(l+1) - pi e_l), with f' as it was fed forward
//
// A live output that a loss drives follows its prediction, mu = mu_ref + change, and its error is the drive there.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

#ifdef PC_CLUSTERS
#define PC_THREADS 256
#define PC_WARPS (PC_THREADS / 32)

// Products: of full numbers; of numbers rounded to tf32; or of a rounded part and the rest of both, which is as good as full for three products of
// one. A relu's slope jumps where its argument crosses zero, and an argument that is off by what tf32 rounds away crosses it at other places, whichever
// of the two products has rounded: live relus need the last.
enum { PC_FULL = 0, PC_ROUNDED = 1, PC_SPLIT = 2 };
template <int MODE> PC_DEV float pc_operand(float x) { return MODE == PC_ROUNDED ? pc_tf32(x) : x; }
template <int MODE> PC_DEV void pc_product(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
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

// The distance between rows of n numbers: no bank conflicts for a fragment, and zeros to the next multiple of 8.
PC_DEV int pc_stride(int n) { return ((n + 7) & ~7) + 4; }

// How many warps share the columns of one 16-row tile.
PC_DEV int pc_splits(int rows) {
  int tiles = rows >> 4;
  return tiles < PC_WARPS ? PC_WARPS / tiles : 1;
}

// Where the rows of this block's share of a layer begin and how many there are.
struct Share {
  int first, count;
};
PC_DEV Share pc_share(const PcClusterLayer& y, u32 me) {
  int first = (int)me * y.rows, count = y.n - first;
  return {first, count < 0 ? 0 : count < y.rows ? count : y.rows};
}

// The rows of a layer's weight that a block has room for. Rows beyond are read as the last one, and what comes of them is never used.
PC_DEV int pc_stored(const PcClusterLayer& y) { return y.n < y.rows ? y.n : y.rows; }
PC_DEV int pc_row(const PcClusterLayer& y, int row) {
  int last = pc_stored(y) - 1;
  return row < last ? row : last;
}

// scratch[split][row][sample] = W[rows][K] F[sample][K]^T on tensor cores.
template <int MODE> PC_DEV void pc_forward_mma(const PcClusterLayer& y, int K, const float* W, const float* F, float* scratch) {
  int warp = pc_tid() >> 5, lane = pc_tid() & 31, g = lane >> 2, t = lane & 3;
  int tiles = y.rows >> 4, splits = pc_splits(y.rows), ld = pc_stride(K), eighths = (K + 7) >> 3;
  for (int task = warp; task < tiles * splits; task += PC_WARPS) {
    int tile = task % tiles, split = task / tiles;
    float even[4] = {0.f, 0.f, 0.f, 0.f}, odd[4] = {0.f, 0.f, 0.f, 0.f};
    const float *low = W + pc_row(y, tile * 16 + g) * ld + t, *high = W + pc_row(y, tile * 16 + g + 8) * ld + t, *f = F + g * ld + t;
    for (int q = split; q < eighths; q += 2 * splits) {
      int k = q * 8;
      float a[4] = {low[k], high[k], low[k + 4], high[k + 4]}, b[2] = {f[k], f[k + 4]};
      pc_product<MODE>(even, a, b);
      if (q + splits < eighths) {
        k += splits * 8;
        float a2[4] = {low[k], high[k], low[k + 4], high[k + 4]}, b2[2] = {f[k], f[k + 4]};
        pc_product<MODE>(odd, a2, b2);
      }
    }
    float* out = scratch + (split * y.rows + tile * 16 + g) * PC_SLICE + 2 * t;
    out[0] = even[0] + odd[0];
    out[1] = even[1] + odd[1];
    out[8 * PC_SLICE] = even[2] + odd[2];
    out[8 * PC_SLICE + 1] = even[3] + odd[3];
  }
}

// The butterfly below: of 2 H sums a lane keeps the half that its own number names. Written as a template so that every index is a constant.
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

// The same in full precision: a warp takes 4 rows by 8 samples, its lanes share the columns, and a transposing butterfly leaves every lane with
// one sum.
PC_DEV void pc_forward_f32(const PcClusterLayer& y, int K, const float* W, const float* F, float* scratch) {
  int warp = pc_tid() >> 5, lane = pc_tid() & 31, ld = pc_stride(K);
  for (int r0 = warp * 4; r0 < y.rows; r0 += PC_WARPS * 4) {
    float sum[32];
#pragma unroll
    for (int i = 0; i < 32; i++) sum[i] = 0.f;
    const float* w[4] = {W + pc_row(y, r0) * ld, W + pc_row(y, r0 + 1) * ld, W + pc_row(y, r0 + 2) * ld, W + pc_row(y, r0 + 3) * ld};
    for (int k = lane; k < K; k += 32) {
      float x[PC_SLICE];
#pragma unroll
      for (int s = 0; s < PC_SLICE; s++) x[s] = F[s * ld + k];
#pragma unroll
      for (int r = 0; r < 4; r++) {
        float a = w[r][k];
#pragma unroll
        for (int s = 0; s < PC_SLICE; s++) sum[r * PC_SLICE + s] += a * x[s];
      }
    }
    PcFold<16>::run(sum, lane);
    scratch[r0 * PC_SLICE + lane] = sum[0];
  }
}

// W[rows][K]^T G[rows][sample], each column's partial sum sent to the block that owns it, in the place of block `me`.
template <int MODE> PC_DEV void pc_pull_mma(const PcClusterLayer& y, const PcClusterLayer& below, int count, const float* W, const float* G, float* P, u32 me) {
  int warp = pc_tid() >> 5, lane = pc_tid() & 31, g = lane >> 2, t = lane & 3, K = below.n, ld = pc_stride(K);
  for (int tile = warp; tile * 16 < K; tile += PC_WARPS) {
    float sum[4] = {0.f, 0.f, 0.f, 0.f};
    int column = tile * 16 + g;
    // The last tile may reach beyond the row: those columns are read as zeros.
    bool low = column < K, high = column + 8 < K;
    for (int i = 0; i < count; i += 8) {
      const float *w = W + pc_row(y, i + t) * ld + column, *w4 = W + pc_row(y, i + t + 4) * ld + column, *x = G + (i + t) * PC_SLICE + g;
      float a[4] = {low ? w[0] : 0.f, high ? w[8] : 0.f, low ? w4[0] : 0.f, high ? w4[8] : 0.f};
      float b[2] = {x[0], x[4 * PC_SLICE]};
      pc_product<MODE>(sum, a, b);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int k = column + 8 * h;
      if (k < K) {
        float* out = pc_peer(P, (u32)(k / below.rows)) + ((int)me * below.rows + k % below.rows) * PC_SLICE + 2 * t;
        out[0] = sum[2 * h];
        out[1] = sum[2 * h + 1];
      }
    }
  }
}

PC_DEV void pc_pull_f32(const PcClusterLayer& below, int count, const float* W, const float* G, float* P, u32 me) {
  int K = below.n, ld = pc_stride(K);
  for (int k = pc_tid(); k < K; k += PC_THREADS) {
    float sum[PC_SLICE];
#pragma unroll
    for (int s = 0; s < PC_SLICE; s++) sum[s] = 0.f;
    for (int i = 0; i < count; i++) {
      float w = W[i * ld + k];
#pragma unroll
      for (int s = 0; s < PC_SLICE; s++) sum[s] += w * G[i * PC_SLICE + s];
    }
    float* out = pc_peer(P, (u32)(k / below.rows)) + ((int)me * below.rows + k % below.rows) * PC_SLICE;
#pragma unroll
    for (int s = 0; s < PC_SLICE; s++) out[s] = sum[s];
  }
}

// This block's rows of every loop weight, with zeros where a row or a column is beyond the matrix.
template <int MODE> PC_DEV void pc_load_weights(const PcCluster& p, float* shared, u32 me) {
  int tid = pc_tid();
  for (int l = 1; l < p.layers; l++) {
    const PcClusterLayer& y = p.layer[l];
    int K = p.layer[l - 1].n, ld = pc_stride(K), count = pc_share(y, me).count;
    float* W = shared + y.weight_at;
    for (int i = 0; i < pc_stored(y); i++) {
      const float* row = y.weight + (u64)((int)me * y.rows + i) * K;
      bool vectors = (K & 3) == 0;
      if (i < count && vectors)
        for (int k = tid * 4; k < K; k += PC_THREADS * 4) pc_copy16(W + i * ld + k, row + k);
      for (int k = (i < count && vectors ? K : 0) + tid; k < ld; k += PC_THREADS) W[i * ld + k] = i < count && k < K ? row[k] : 0.f;
    }
  }
  pc_copy_wait();
  if (MODE == PC_ROUNDED) {
    pc_block_sync();
    for (int l = 1; l < p.layers; l++) {
      float* W = shared + p.layer[l].weight_at;
      for (int q = tid; q < pc_stored(p.layer[l]) * pc_stride(p.layer[l - 1].n); q += PC_THREADS) W[q] = pc_tf32(W[q]);
    }
  }
}

// The force on element q of a layer's share: what the blocks that hold rows of the layer above have sent.
PC_DEV float pc_gather_force(const PcClusterLayer& y, const float* P, int q) {
  float force = 0.f;
  for (int c = 0; c < y.senders; c++) force += P[c * y.rows * PC_SLICE + q];
  return force;
}

// The drive of cross-entropy, lambda (y - mass softmax(mu)), in the place of mu, and what is pulled of it. A block has all of the output's rows or none;
// a warp takes a sample.
template <int MODE> PC_DEV void pc_drive_softmax(const PcCluster& p, float* shared, int count) {
  const PcClusterLayer& y = p.layer[p.layers - 1];
  int s = pc_tid() >> 5, lane = pc_tid() & 31;
  if (count == 0) return;
  float *E = shared + y.state_at + y.rows * PC_SLICE, *G = shared + y.gate_at, largest;
  const float* target = shared + y.residual_at;
  float sum = pc_exp_sum<float>(count, [=](int i) { return E[i * PC_SLICE + s]; }, largest);
  float scale = pc_div(pc_warp_sum<float>(count, [=](int i) { return target[i * PC_SLICE + s]; }), sum);
  for (int i = lane; i < count; i += 32) {
    int q = i * PC_SLICE + s;
    float e, unused;
    pc_exp_both(E[q] - largest, e, unused);
    float drive = p.lambda * (target[q] - scale * e);
    E[q] = drive;
    G[q] = pc_operand<MODE>(G[q] * drive);
  }
}

template <int MODE> PC_DEV void pc_relax_live(const PcCluster& p) {
  PC_SHARED(raw);
  float* shared = (float*)raw;
  int tid = pc_tid(), last = p.layers - 1;
  u32 me = pc_cluster_rank(), blocks = pc_cluster_size();
  int s0 = pc_bid() / (int)blocks * PC_SLICE;
  pc_load_weights<MODE>(p, shared, me);
  for (int l = 0; l <= last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
    float *D = shared + y.state_at, *Z = D + 2 * size;
    for (int q = tid; q < size; q += PC_THREADS) {
      int i = q / PC_SLICE, s = s0 + q % PC_SLICE;
      bool in = i < count && s < p.batch;
      u64 at = (u64)s * y.n + (int)me * y.rows + i;
      bool driven = l == last && p.loss != PC_NO_LOSS;
      // What a loss drives has no displacement, so that its prediction at the reference finds place there.
      D[q] = in ? (driven ? y.ref[at] : y.d[at]) : 0.f;
      Z[q] = in ? y.z[at] : 0.f;
      if (y.residual_at >= 0) shared[y.residual_at + q] = in ? (driven ? p.target[at] : y.r[at]) : 0.f;
    }
    if (l < last)
      for (int q = tid; q < PC_SLICE * pc_stride(y.n); q += PC_THREADS) shared[y.gather_at + q] = 0.f;
  }
  // No block may be written to before it has cleared its memory.
  pc_cluster_arrive();
  pc_cluster_wait();
  for (int l = 0; l < last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int count = pc_share(y, me).count, ld = pc_stride(y.n);
    for (int q = tid; q < count * PC_SLICE; q += PC_THREADS) {
      float d = shared[y.state_at + q];
      float x = pc_operand<MODE>(d);
      for (u32 c = 0; c < blocks; c++) pc_peer(shared, c)[y.gather_at + q % PC_SLICE * ld + (int)me * y.rows + q / PC_SLICE] = x;
    }
  }
  for (int step = 0;; step++) {
    // All displacements have arrived, and all partial sums of the last step have been read.
    pc_cluster_arrive();
    pc_cluster_wait();
    for (int l = 1; l <= last; l++) {
      const PcClusterLayer& y = p.layer[l];
      const float *W = shared + y.weight_at, *F = shared + p.layer[l - 1].gather_at;
      if (pc_share(y, me).count == 0) continue;
      if (MODE != PC_FULL) pc_forward_mma<MODE>(y, p.layer[l - 1].n, W, F, shared + y.scratch_at);
      else pc_forward_f32(y, p.layer[l - 1].n, W, F, shared + y.scratch_at);
    }
    pc_block_sync();
    for (int l = 0; l <= last; l++) {
      const PcClusterLayer& y = p.layer[l];
      int size = y.rows * PC_SLICE, count = pc_share(y, me).count, splits = MODE != PC_FULL ? pc_splits(y.rows) : 1;
      float *D = shared + y.state_at, *E = D + size, *Z = D + 2 * size;
      for (int q = tid; q < (count == 0 ? 0 : size); q += PC_THREADS) {
        float dz = 0.f, slope;
        if (l > 0)
          for (int k = 0; k < splits; k++) dz += shared[y.scratch_at + k * size + q];
        float change = pc_change(y.act, Z[q], dz, slope);
        float r = y.residual_at >= 0 ? shared[y.residual_at + q] : 0.f;
        float e;
        if (l < last || p.loss == PC_NO_LOSS) e = r + (D[q] - change);
        else if (step == p.steps) e = -change; // whoever asked evaluates the loss
        else if (p.loss == PC_SQUARED_ERROR) e = p.lambda * ((r - D[q]) - change);
        else e = D[q] + change;
        bool in = q / PC_SLICE < count;
        E[q] = e;
        // Where the drive is still to be found, its slope waits in its place.
        float x = !in ? 0.f : l == last && p.loss == PC_CROSS_ENTROPY ? slope : y.precision * slope * e;
        if (l > 0) shared[y.gate_at + q] = l == last && p.loss == PC_CROSS_ENTROPY ? x : pc_operand<MODE>(x);
        int s = s0 + q % PC_SLICE;
        if (step == p.steps && in && s < p.batch) y.slope[(u64)s * y.n + (int)me * y.rows + q / PC_SLICE] = slope;
      }
    }
    pc_block_sync();
    if (step == p.steps) break;
    if (p.loss == PC_CROSS_ENTROPY) {
      pc_drive_softmax<MODE>(p, shared, pc_share(p.layer[last], me).count);
      pc_block_sync();
    }
    for (int l = 1; l <= last; l++) {
      const PcClusterLayer &y = p.layer[l], &below = p.layer[l - 1];
      int count = pc_share(y, me).count;
      const float *W = shared + y.weight_at, *G = shared + y.gate_at;
      float* P = shared + below.partial_at;
      if (count == 0) continue;
      if (MODE != PC_FULL) pc_pull_mma<MODE>(y, below, count, W, G, P, me);
      else pc_pull_f32(below, count, W, G, P, me);
    }
    pc_cluster_arrive();
    pc_cluster_wait();
    for (int l = 0; l < last; l++) {
      const PcClusterLayer& y = p.layer[l];
      int size = y.rows * PC_SLICE, count = pc_share(y, me).count, ld = pc_stride(y.n);
      float *D = shared + y.state_at, *E = D + size;
      for (int q = tid; q < count * PC_SLICE; q += PC_THREADS) {
        float d = D[q] + p.rate * (pc_gather_force(y, shared + y.partial_at, q) - y.precision * E[q]);
        D[q] = d;
        float x = pc_operand<MODE>(d);
        for (u32 c = 0; c < blocks; c++) pc_peer(shared, c)[y.gather_at + q % PC_SLICE * ld + (int)me * y.rows + q / PC_SLICE] = x;
      }
    }
  }
  for (int l = 0; l <= last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
    float *D = shared + y.state_at, *E = D + size;
    for (int q = tid; q < count * PC_SLICE; q += PC_THREADS) {
      int s = s0 + q % PC_SLICE;
      if (s >= p.batch) continue;
      u64 at = (u64)s * y.n + (int)me * y.rows + q / PC_SLICE;
      y.e[at] = E[q];
      if (l < last) {
        y.d[at] = D[q];
        y.v[at] = y.ref[at] + D[q];
      }
    }
  }
}

template <int MODE> PC_DEV void pc_relax_frozen(const PcCluster& p) {
  PC_SHARED(raw);
  float* shared = (float*)raw;
  int tid = pc_tid(), last = p.layers - 1;
  u32 me = pc_cluster_rank(), blocks = pc_cluster_size();
  int s0 = pc_bid() / (int)blocks * PC_SLICE;
  pc_load_weights<MODE>(p, shared, me);
  for (int l = 0; l <= last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
    float *E = shared + y.state_at, *S = E + size;
    for (int q = tid; q < size; q += PC_THREADS) {
      int i = q / PC_SLICE, s = s0 + q % PC_SLICE;
      bool in = i < count && s < p.batch;
      u64 at = (u64)s * y.n + (int)me * y.rows + i;
      E[q] = in ? y.e[at] : 0.f;
      S[q] = in ? y.slope[at] * y.precision : 0.f;
      float x = S[q] * E[q];
      if (l > 0) shared[y.gate_at + q] = pc_operand<MODE>(x);
    }
  }
  // Only a block that runs may be written to.
  pc_cluster_arrive();
  pc_cluster_wait();
  for (int step = 0; step < p.steps; step++) {
    pc_block_sync();
    for (int l = 1; l <= last; l++) {
      const PcClusterLayer &y = p.layer[l], &below = p.layer[l - 1];
      int count = pc_share(y, me).count;
      const float *W = shared + y.weight_at, *G = shared + y.gate_at;
      // Two places in turn: a block may be a step ahead of those that still read.
      float* P = shared + below.partial_at + (step & 1) * below.senders * below.rows * PC_SLICE;
      if (count == 0) continue;
      if (MODE != PC_FULL) pc_pull_mma<MODE>(y, below, count, W, G, P, me);
      else pc_pull_f32(below, count, W, G, P, me);
    }
    pc_cluster_arrive();
    pc_cluster_wait();
    for (int l = 0; l < last; l++) {
      const PcClusterLayer& y = p.layer[l];
      int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
      float *E = shared + y.state_at, *S = E + size;
      const float* P = shared + y.partial_at + (step & 1) * y.senders * size;
      for (int q = tid; q < count * PC_SLICE; q += PC_THREADS) {
        float e = E[q] + p.rate * (pc_gather_force(y, P, q) - y.precision * E[q]);
        E[q] = e;
        float x = S[q] * e;
        if (l > 0) shared[y.gate_at + q] = pc_operand<MODE>(x);
      }
    }
  }
  for (int l = 0; l < last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int count = pc_share(y, me).count;
    for (int q = tid; q < count * PC_SLICE; q += PC_THREADS) {
      int s = s0 + q % PC_SLICE;
      if (s < p.batch) y.e[(u64)s * y.n + (int)me * y.rows + q / PC_SLICE] = shared[y.state_at + q];
    }
  }
}

PC_KERNEL(pc_relax_live_f32, PC_THREADS, PcCluster) { pc_relax_live<PC_FULL>(p); }
PC_KERNEL(pc_relax_live_tf32, PC_THREADS, PcCluster) { pc_relax_live<PC_ROUNDED>(p); }
PC_KERNEL(pc_relax_live_split, PC_THREADS, PcCluster) { pc_relax_live<PC_SPLIT>(p); }
PC_KERNEL(pc_relax_frozen_f32, PC_THREADS, PcCluster) { pc_relax_frozen<PC_FULL>(p); }
PC_KERNEL(pc_relax_frozen_tf32, PC_THREADS, PcCluster) { pc_relax_frozen<PC_ROUNDED>(p); }
#endif
