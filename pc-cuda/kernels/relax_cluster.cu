// A whole relaxation in one launch. One cluster of C blocks relaxes a slice of 8 samples; block c
// keeps rows [c R_l, (c + 1) R_l) of every loop weight in shared memory for all T steps. Blocks
// exchange displacements (gathered by all that hold rows of the layer above) and partial sums (each
// sent to the block that owns the row), and nothing else. The errors of all layers of one step are
// independent of each other, so a step costs two exchanges at any depth, and one where predictions
// are frozen.
//
//   live:    dz_l = W_l d_(l-1),  e_l = r_l + d_l - [f(z_l + dz_l) - f(z_l)],
//            d_l += rate (W_(l+1)^T pi f' e_(l+1) - pi e_l)
//   frozen:  e_l += rate (W_(l+1)^T pi f' e_(l+1) - pi e_l), with f' as it was fed forward
//
// A live output that a loss drives follows its prediction, mu = mu_ref + change, and its error is
// the drive there.
//
// What is sent counts itself in at the receiver (a signal), so an exchange takes the time of one
// way. Who sends displacements to a block gets partial sums from it, and the other way round. So a
// live block that has all it waits for knows that its peers have read what it sent last, and one
// place is enough for either. A frozen block knows that only from a cluster barrier, at which it
// arrives early and meets the others a step later, and which publishes nothing.
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"
#include "pc_products.cuh"

#ifdef PC_CLUSTERS
// Where the rows of this block's share of a layer begin and how many there are.
struct Share {
  int first, count;
};
PC_DEV Share pc_share(const PcClusterLayer& y, u32 me) {
  int first = (int)me * y.rows, count = y.n - first;
  return {first, count < 0 ? 0 : count < y.rows ? count : y.rows};
}

// This block's rows of every loop weight, on their way to shared memory, with zeros where a row or
// a column is beyond the matrix.
PC_DEV void pc_fetch_weights(const PcCluster& p, float* shared, u32 me) {
  int warp = pc_tid() >> 5, lane = pc_tid() & 31;
  for (int l = 1; l < p.layers; l++) {
    const PcClusterLayer& y = p.layer[l];
    int K = p.layer[l - 1].n, ld = y.stride, count = pc_share(y, me).count;
    bool vectors = (K & 3) == 0;
    const float* from = y.weight + (u64)((int)me * y.rows) * K;
    for (int i = warp; i < pc_stored(y); i += PC_THREADS / 32) {
      float* W = shared + y.weight_at + i * ld;
      const float* row = from + (u64)i * K;
      int whole = i < count && vectors ? K : 0;
#pragma unroll 4
      for (int k = 4 * lane; k < whole; k += 128) pc_copy16(W + k, row + k);
      for (int k = whole + lane; k < ld; k += 32) W[k] = i < count && k < K ? row[k] : 0.f;
    }
  }
}

// Until they are there, as operands.
template <int MODE> PC_DEV void pc_await_weights(const PcCluster& p, float* shared) {
  pc_copy_wait();
  if (MODE == PC_ROUNDED || MODE == PC_ROUNDED_BF16) {
    pc_block_sync();
    for (int l = 1; l < p.layers; l++) {
      float* W = shared + p.layer[l].weight_at;
      int size = pc_stored(p.layer[l]) * p.layer[l].stride;
#pragma unroll 4
      for (int q = 4 * pc_tid(); q < size; q += 4 * PC_THREADS) {
        PcFour w = pc_load4(W + q);
        pc_store4(W + q, {pc_operand<MODE>(w.x), pc_operand<MODE>(w.y), pc_operand<MODE>(w.z),
                          pc_operand<MODE>(w.w)});
      }
    }
  }
  pc_block_sync();
}

// The force on elements q and q + 1 of a layer's share: what the blocks that hold rows of the layer
// above have sent.
PC_DEV PcTwo pc_gather_force(const PcClusterLayer& y, const float* P, int q) {
  PcTwo force = {0.f, 0.f};
  const float* own = P + pc_slot(0, y.rows, q / PC_SLICE, q % PC_SLICE);
#pragma unroll 8
  for (int c = 0; c < y.senders; c++) {
    PcTwo part = pc_load2(own + c * y.rows * PC_SLICE);
    force.x += part.x;
    force.y += part.y;
  }
  return force;
}

// The bytes of partial sums that a step brings to this block's shares of so many layers, and of
// displacements.
PC_DEV u32 pc_due_sums(const PcCluster& p, int layers, u32 me) {
  u32 floats = 0;
  for (int l = 0; l < layers; l++)
    floats += (u32)(p.layer[l].senders * pc_share(p.layer[l], me).count * PC_SLICE);
  return 4 * floats;
}
PC_DEV u32 pc_due_moves(const PcCluster& p, u32 me) {
  u32 floats = 0;
  for (int l = 1; l < p.layers; l++)
    floats += pc_share(p.layer[l], me).count > 0 ? (u32)(p.layer[l - 1].n * PC_SLICE) : 0u;
  return 4 * floats;
}

// Until all that is due in this round has come. A block alone sends nothing, and stores.
PC_DEV void pc_await(PcSignal* s, u32 due, int round, bool alone) {
  if (pc_tid() == 0) pc_signal_expect(s, alone ? 0 : due);
  if (alone) pc_block_sync();
  pc_signal_wait(s, round);
}

// Displacements q and q + 1 of a layer's share to every block that holds rows of the layer above.
template <int MODE>
PC_DEV void pc_send_moves(const PcClusterLayer& y, float* shared, int q, float x0, float x1,
                          PcSignal* moved, u32 me) {
  float* to = shared + y.gather_at + pc_place((int)me * y.rows + q / PC_SLICE, q % PC_SLICE);
  x0 = pc_operand<MODE>(x0);
  x1 = pc_operand<MODE>(x1);
  // Everyone begins with another receiver.
  int c = (int)me < y.senders ? (int)me : 0;
  for (int i = 0; i < y.senders; i++) {
    pc_send2(to, (u32)c, x0, x1, moved);
    c = c + 1 < y.senders ? c + 1 : 0;
  }
}

// What the predictions of elements q and q + 1 have changed by, and their slopes there.
PC_DEV PcTwo pc_changes(const PcClusterLayer& y, const float* shared, int q, PcTwo& slope) {
  PcTwo z = pc_load2(shared + y.state_at + y.rows * PC_SLICE + q), dz = {0.f, 0.f};
  const float* part = shared + y.scratch_at + q;
  // The first layer has no products.
  int splits = y.stride > 0 ? 1 << y.shift : 0;
#pragma unroll 4
  for (int k = 0; k < splits; k++) {
    PcTwo more = pc_load2(part + k * y.rows * PC_SLICE);
    dz.x += more.x;
    dz.y += more.y;
  }
  // Two at once take hardly longer than one.
  if (y.act == PC_TANH)
    return {pc_change(PC_TANH, z.x, dz.x, slope.x), pc_change(PC_TANH, z.y, dz.y, slope.y)};
  return {pc_change(y.act, z.x, dz.x, slope.x), pc_change(y.act, z.y, dz.y, slope.y)};
}

// Errors of elements q and q + 1 of layer l: where a loss drives them the drive; the prediction,
// where the drive of cross-entropy is still to be found.
PC_DEV PcTwo pc_errors_of(const PcCluster& p, int l, const float* shared, int q, PcTwo d,
                          PcTwo change) {
  const PcClusterLayer& y = p.layer[l];
  PcTwo r = {0.f, 0.f};
  if (y.residual_at >= 0) r = pc_load2(shared + y.residual_at + q);
  if (l < p.layers - 1 || p.loss == PC_NO_LOSS)
    return {r.x + (d.x - change.x), r.y + (d.y - change.y)};
  if (p.loss == PC_SQUARED_ERROR)
    return {p.lambda * ((r.x - d.x) - change.x), p.lambda * ((r.y - d.y) - change.y)};
  return {d.x + change.x, d.y + change.y};
}

// The drive of cross-entropy, lambda (y - mass softmax(mu)), in the place of mu, and what is pulled
// of it. A block has all of the output's rows or none; a warp takes a sample.
template <int MODE> PC_DEV void pc_drive_softmax(const PcCluster& p, float* shared, int count) {
  const PcClusterLayer& y = p.layer[p.layers - 1];
  int s = pc_tid() >> 5, lane = pc_tid() & 31;
  if (count == 0 || s >= PC_SLICE) return;
  float *E = shared + y.state_at + 2 * y.rows * PC_SLICE, *G = shared + y.gate_at, largest;
  const float* target = shared + y.residual_at;
  float sum = pc_exp_sum<float>(count, [=](int i) { return E[i * PC_SLICE + s]; }, largest);
  float mass = pc_warp_sum<float>(count, [=](int i) { return target[i * PC_SLICE + s]; });
  float scale = pc_div(mass, sum);
  for (int i = lane; i < count; i += 32) {
    int q = i * PC_SLICE + s;
    float e, unused;
    pc_exp_both(E[q] - largest, e, unused);
    float drive = p.lambda * (target[q] - scale * e);
    E[q] = drive;
    G[q] = pc_operand<MODE>(G[q] * drive);
  }
}

template <int MODE, int LAYERS> PC_DEV void pc_relax_live(const PcCluster& p) {
  PC_SHARED(raw);
  float* shared = (float*)raw;
  int tid = pc_tid(), own = 2 * PcTeam::member();
  int last = (LAYERS ? LAYERS : p.layers) - 1;
  u32 me = pc_cluster_rank(), blocks = pc_cluster_size();
  int s0 = pc_bid() / (int)blocks * PC_SLICE;
  bool alone = blocks == 1;
  PcSignal *moved = (PcSignal*)(shared + p.signal_at), *summed = moved + PC_SIGNAL_APART;
  u32 moves = pc_due_moves(p, me), sums = pc_due_sums(p, last, me);
  if (tid == 0) {
    pc_signal_init(moved);
    pc_signal_init(summed);
    pc_signals_publish();
  }
  pc_fetch_weights(p, shared, me);
  for (int l = 0; l <= last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
    float *D = shared + y.state_at, *Z = D + size;
    for (int q = tid; q < size; q += PC_THREADS) {
      int i = q / PC_SLICE, s = s0 + q % PC_SLICE;
      bool in = i < count && s < p.batch;
      u64 at = (u64)s * y.n + (int)me * y.rows + i;
      bool driven = l == last && p.loss != PC_NO_LOSS;
      // What a loss drives has no displacement, so that its prediction at the reference finds place
      // there. All loads come before the stores, or each would be waited for.
      float d = in ? (driven ? y.ref[at] : y.d[at]) : 0.f, z = in ? y.z[at] : 0.f, r = 0.f;
      if (y.residual_at >= 0) r = in ? (driven ? p.target[at] : y.r[at]) : 0.f;
      D[q] = d;
      Z[q] = z;
      if (y.residual_at >= 0) shared[y.residual_at + q] = r;
    }
    if (l < last)
      for (int q = tid; q < PC_SLICE * ((y.n + 15) & ~15); q += PC_THREADS)
        shared[y.gather_at + q] = 0.f;
  }
  // No block may be written to before it has cleared its memory.
  pc_cluster_arrive();
  pc_await_weights<MODE>(p, shared);
  pc_cluster_wait();
  for (int l = 0; l < last; l++) {
    const PcClusterLayer& y = p.layer[l];
    if (!PcTeam::takes(l)) continue;
    int count = pc_share(y, me).count;
    for (int q = own; q < count * PC_SLICE; q += 2 * PcTeam::SIZE) {
      PcTwo d = pc_load2(shared + y.state_at + q);
      pc_send_moves<MODE>(y, shared, q, d.x, d.y, alone ? nullptr : moved, me);
    }
  }
  for (int step = 0;; step++) {
    pc_await(moved, moves, step, alone);
#pragma unroll (LAYERS ? LAYERS : 1)
    for (int l = 1; l <= last; l++) {
      if (!PcTeam::takes(l)) continue;
      const PcClusterLayer& y = p.layer[l];
      const float *W = shared + y.weight_at, *F = shared + p.layer[l - 1].gather_at;
      if (pc_share(y, me).count == 0) continue;
      pc_forward<MODE>(y, p.layer[l - 1].n, W, F, shared + y.scratch_at);
    }
    pc_block_sync();
    if (step == p.steps) break;
#pragma unroll (LAYERS ? LAYERS : 1)
    for (int l = 0; l <= last; l++) {
      if (!PcTeam::takes(l)) continue;
      const PcClusterLayer& y = p.layer[l];
      int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
      bool waits = l == last && p.loss == PC_CROSS_ENTROPY;
      float* D = shared + y.state_at;
      if (count == 0) continue;
      for (int q = own; q < size; q += 2 * PcTeam::SIZE) {
        PcTwo d = pc_load2(D + q), slope = {0.f, 0.f}, change = {0.f, 0.f};
        // The first layer's prediction stays where it is.
        if (l > 0) change = pc_changes(y, shared, q, slope);
        PcTwo e = pc_errors_of(p, l, shared, q, d, change);
        if (l > 0) {
          float pi = q / PC_SLICE < count ? y.precision : 0.f;
          float x0 = pi * slope.x * e.x, x1 = pi * slope.y * e.y;
          // Where the drive is still to be found, its slope waits in its place.
          if (waits) pc_store2(shared + y.gate_at + q, pi * slope.x, pi * slope.y);
          else pc_store2(shared + y.gate_at + q, pc_operand<MODE>(x0), pc_operand<MODE>(x1));
        }
        if (waits) pc_store2(D + 2 * size + q, e.x, e.y);
        // Half of the move; the other half is what the layer above pulls.
        if (l == last) continue;
        pc_store2(D + q, d.x - p.rate * (y.precision * e.x), d.y - p.rate * (y.precision * e.y));
      }
    }
    pc_block_sync();
    if (p.loss == PC_CROSS_ENTROPY) {
      pc_drive_softmax<MODE>(p, shared, pc_share(p.layer[last], me).count);
      pc_block_sync();
    }
#pragma unroll (LAYERS ? LAYERS : 1)
    for (int l = 1; l <= last; l++) {
      if (!PcTeam::takes(l)) continue;
      const PcClusterLayer &y = p.layer[l], &below = p.layer[l - 1];
      int count = pc_share(y, me).count;
      if (count == 0) continue;
      pc_pull<MODE>(y, below, count, shared + y.weight_at, shared + y.gate_at,
                    shared + below.partial_at, alone ? nullptr : summed, me);
    }
    pc_await(summed, sums, step, alone);
#pragma unroll (LAYERS ? LAYERS : 1)
    for (int l = 0; l < last; l++) {
      if (!PcTeam::takes(l)) continue;
      const PcClusterLayer& y = p.layer[l];
      int count = pc_share(y, me).count;
      float* D = shared + y.state_at;
      for (int q = own; q < count * PC_SLICE; q += 2 * PcTeam::SIZE) {
        PcTwo force = pc_gather_force(y, shared + y.partial_at, q), d = pc_load2(D + q);
        d = {d.x + p.rate * force.x, d.y + p.rate * force.y};
        pc_store2(D + q, d.x, d.y);
        pc_send_moves<MODE>(y, shared, q, d.x, d.y, alone ? nullptr : moved, me);
      }
    }
  }
  for (int l = 0; l <= last; l++) {
    const PcClusterLayer& y = p.layer[l];
    if (!PcTeam::takes(l)) continue;
    int count = pc_share(y, me).count;
    for (int q = own; q < count * PC_SLICE; q += 2 * PcTeam::SIZE) {
      PcTwo d = pc_load2(shared + y.state_at + q), slope;
      PcTwo change = pc_changes(y, shared, q, slope);
      PcTwo e = pc_errors_of(p, l, shared, q, d, change);
      // Whoever asked evaluates the loss.
      if (l == last && p.loss != PC_NO_LOSS) e = {-change.x, -change.y};
#pragma unroll
      for (int i = 0; i < 2; i++) {
        int s = s0 + q % PC_SLICE + i;
        if (s >= p.batch) continue;
        u64 at = (u64)s * y.n + (int)me * y.rows + q / PC_SLICE;
        y.slope[at] = i ? slope.y : slope.x;
        y.e[at] = i ? e.y : e.x;
        if (l == last) continue;
        float move = i ? d.y : d.x;
        y.d[at] = move;
        y.v[at] = y.ref[at] + move;
      }
    }
  }
}

template <int MODE, int LAYERS> PC_DEV void pc_relax_frozen(const PcCluster& p) {
  PC_SHARED(raw);
  float* shared = (float*)raw;
  int tid = pc_tid(), own = 2 * PcTeam::member();
  int last = (LAYERS ? LAYERS : p.layers) - 1;
  u32 me = pc_cluster_rank(), blocks = pc_cluster_size();
  int s0 = pc_bid() / (int)blocks * PC_SLICE;
  bool alone = blocks == 1;
  PcSignal* summed = (PcSignal*)(shared + p.signal_at);
  u32 all = pc_due_sums(p, last, me), later = pc_due_sums(p, last - 1, me);
  if (tid == 0) {
    pc_signal_init(summed);
    pc_signal_init(summed + PC_SIGNAL_APART);
    pc_signals_publish();
  }
  pc_fetch_weights(p, shared, me);
  for (int l = 0; l <= last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
    float *E = shared + y.state_at, *S = E + size;
    for (int q = tid; q < size; q += PC_THREADS) {
      int i = q / PC_SLICE, s = s0 + q % PC_SLICE;
      bool in = i < count && s < p.batch;
      u64 at = (u64)s * y.n + (int)me * y.rows + i;
      float e = in ? y.e[at] : 0.f, slope = in ? y.slope[at] * y.precision : 0.f, x = slope * e;
      E[q] = e;
      S[q] = slope;
      if (l > 0) shared[y.gate_at + q] = pc_operand<MODE>(x);
    }
  }
  // Only a block that runs may be written to.
  pc_cluster_arrive();
  pc_await_weights<MODE>(p, shared);
  pc_cluster_wait();
  for (int step = 0; step < p.steps; step++) {
    pc_block_sync();
    // Two places in turn, and a signal for each. The output's error stays as it is, so that what is
    // pulled of it is the same in every step, and stays in both places.
    PcSignal* here = summed + (step & 1) * PC_SIGNAL_APART;
#pragma unroll (LAYERS ? LAYERS : 1)
    for (int l = 1; l <= last; l++) {
      if (!PcTeam::takes(l) || (l == last && step > 1)) continue;
      const PcClusterLayer &y = p.layer[l], &below = p.layer[l - 1];
      int count = pc_share(y, me).count;
      float* P = shared + below.partial_at + (step & 1) * below.senders * below.rows * PC_SLICE;
      if (count == 0) continue;
      pc_pull<MODE>(y, below, count, shared + y.weight_at, shared + y.gate_at, P,
                    alone ? nullptr : here, me);
    }
    // All have read what came a step ago, so that the next may be sent there.
    if (step > 0) pc_cluster_wait();
    pc_await(here, step < 2 ? all : later, step >> 1, alone);
    // What has come here does not say that this block's own warps have pulled all.
    pc_block_sync();
#pragma unroll (LAYERS ? LAYERS : 1)
    for (int l = 0; l < last; l++) {
      if (!PcTeam::takes(l)) continue;
      const PcClusterLayer& y = p.layer[l];
      int size = y.rows * PC_SLICE, count = pc_share(y, me).count;
      float *E = shared + y.state_at, *S = E + size;
      const float* P = shared + y.partial_at + (step & 1) * y.senders * size;
      for (int q = own; q < count * PC_SLICE; q += 2 * PcTeam::SIZE) {
        PcTwo force = pc_gather_force(y, P, q), e = pc_load2(E + q), slope = pc_load2(S + q);
        e.x += p.rate * (force.x - y.precision * e.x);
        e.y += p.rate * (force.y - y.precision * e.y);
        pc_store2(E + q, e.x, e.y);
        float x0 = slope.x * e.x, x1 = slope.y * e.y;
        if (l > 0) pc_store2(shared + y.gate_at + q, pc_operand<MODE>(x0), pc_operand<MODE>(x1));
      }
    }
    pc_cluster_note();
  }
  if (p.steps > 0) pc_cluster_wait();
  // What was noted publishes nothing.
  pc_block_sync();
  for (int l = 0; l < last; l++) {
    const PcClusterLayer& y = p.layer[l];
    int count = pc_share(y, me).count;
    for (int q = tid; q < count * PC_SLICE; q += PC_THREADS) {
      int s = s0 + q % PC_SLICE;
      if (s < p.batch) y.e[(u64)s * y.n + (int)me * y.rows + q / PC_SLICE] = shared[y.state_at + q];
    }
  }
}

// Three layers, the most frequent depth, have code of their own, in which every layer's numbers are
// known places.
#define PC_BY_DEPTH(body, mode) p.layers == 3 ? body<mode, 3>(p) : body<mode, 0>(p)
PC_KERNEL(pc_relax_live_f32, PC_THREADS, PcCluster) { PC_BY_DEPTH(pc_relax_live, PC_FULL); }
PC_KERNEL(pc_relax_live_tf32, PC_THREADS, PcCluster) { PC_BY_DEPTH(pc_relax_live, PC_ROUNDED); }
PC_KERNEL(pc_relax_live_split, PC_THREADS, PcCluster) { PC_BY_DEPTH(pc_relax_live, PC_SPLIT); }
PC_KERNEL(pc_relax_live_bf16, PC_THREADS, PcCluster) {
  PC_BY_DEPTH(pc_relax_live, PC_ROUNDED_BF16);
}
PC_KERNEL(pc_relax_live_bf16_split, PC_THREADS, PcCluster) {
  PC_BY_DEPTH(pc_relax_live, PC_SPLIT_BF16);
}
PC_KERNEL(pc_relax_frozen_f32, PC_THREADS, PcCluster) { PC_BY_DEPTH(pc_relax_frozen, PC_FULL); }
PC_KERNEL(pc_relax_frozen_tf32, PC_THREADS, PcCluster) { PC_BY_DEPTH(pc_relax_frozen, PC_ROUNDED); }
PC_KERNEL(pc_relax_frozen_bf16, PC_THREADS, PcCluster) {
  PC_BY_DEPTH(pc_relax_frozen, PC_ROUNDED_BF16);
}
#endif
