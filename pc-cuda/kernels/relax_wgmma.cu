// The grouped products of relax_gemm.cu by warpgroups (wgmma, sm_90a alone), of bf16 operands that
// are kept in tiles, so that a bulk copy brings what a product reads.
//
// An operand is chunks of 64 columns, each of all rows of 128 bytes, in the order that 128-byte
// swizzling has in shared memory: any eight rows of a chunk are a piece that wgmma takes as it is.
// So C = A B^T takes B's rows a chunk at a time. And C = A B takes the same B, whose rows are now
// what is summed over, 64 of them at a time and three chunks wide: one copy of a weight serves both
// the errors and the moves, and lies in the second-level cache as often as not.
//
// Two warpgroups multiply, 64 rows of the block's tile each; one further warp asks for copies,
// stages ahead, and what is left of the warps asks for what the tile's end needs, which is the work
// of all. A stage is filled when its bytes have come (`full`) and free when every warp has multiplied
// it (`empty`). Two blocks with the same columns are a cluster, where there are two: each brings
// half of B to both, and a stage is free when the warps of both have multiplied it.
#include "pc_dev.cuh"
#include "pc_grouped.cuh"
#include "pc_params.cuh"

#ifdef PC_WARPGROUPS
#define PC_WG_ROWS 128    // of C, a block
#define PC_WG_COLUMNS 192 // of C, a block
#define PC_WG_STAGES 5
#define PC_WG_A (PC_WG_ROWS * 128) // bytes of a stage
#define PC_WG_B (PC_WG_COLUMNS * 128)
#define PC_WG_STAGE (PC_WG_A + PC_WG_B)
#define PC_WG_WARPS 8 // that multiply
#define PC_WG_THREADS 512
// Between rows of the sums in shared memory: 8 more than a multiple of 32, so that four rows share
// no bank.
#define PC_WG_STRIDE (PC_WG_COLUMNS + 8)

// Where an operand lies in shared memory: its start, and the bytes from 64 columns to the next (of
// one that lies across) and from eight rows to the next. An address says above its lower 18 bits
// whose shared memory it is, which is no part of a start.
PC_DEV u64 pc_wgmma_operand(const unsigned char* start, u32 leading, u32 stride) {
  u32 place = (pc_near(start) & 0x3ffff) >> 4;
  return (u64)1 << 62 | (u64)(stride >> 4) << 32 | (u64)(leading >> 4) << 16 | place;
}

// A block's or, where there are two, half of B's chunk, on its way; each piece of `bytes` bytes.
PC_DEV void pc_wg_bring_b(unsigned char* to, const unsigned char* from, int bytes, bool two,
                          PcSignal* filled) {
  if (!two) {
    pc_bulk_copy(to, from, bytes, filled);
    return;
  }
  int half = (int)pc_cluster_rank() * (bytes / 2);
  pc_bulk_copy_to_both(to + half, from + half, bytes / 2, filled);
}

// All chunks of both operands, on their way to their stages, by one thread.
template <bool ACROSS>
PC_DEV void pc_wg_bring(const PcGemmLayer& y, unsigned char* shared, PcSignal* full,
                        PcSignal* empty, int row0, int column0) {
  bool two = pc_cluster_size() == 2;
  const unsigned char *a = (const unsigned char*)y.a + (u64)row0 * 128, *b;
  if (ACROSS) b = (const unsigned char*)y.b + (u64)(column0 >> 6) * y.b_chunk;
  else b = (const unsigned char*)y.b + (u64)column0 * 128;
  int stage = 0, round = 0;
  for (int c = 0; c < y.chunks; c++) {
    PcSignal* filled = full + stage * PC_SIGNAL_APART;
    unsigned char* to = shared + stage * PC_WG_STAGE;
    // The first round finds every stage free.
    if (round > 0) pc_signal_wait(empty + stage * PC_SIGNAL_APART, round - 1);
    pc_signal_expect(filled, PC_WG_STAGE);
    pc_bulk_copy(to, a + (u64)c * y.a_chunk, PC_WG_A, filled);
    if (ACROSS) {
      for (int j = 0; j < PC_WG_COLUMNS / 64; j++)
        pc_wg_bring_b(to + PC_WG_A + j * 64 * 128, b + (u64)j * y.b_chunk + (u64)c * 64 * 128,
                      64 * 128, two, filled);
    } else {
      pc_wg_bring_b(to + PC_WG_A, b + (u64)c * y.b_chunk, PC_WG_B, two, filled);
    }
    stage++;
    if (stage == PC_WG_STAGES) {
      stage = 0;
      round++;
    }
  }
}

// The sums of a warpgroup's 64 rows. Two chunks are under way at once, and the stage of the first
// is free when it has been multiplied.
template <bool ACROSS>
PC_DEV void pc_wg_multiply(float (&sum)[PC_WG_COLUMNS / 2], const PcGemmLayer& y,
                           const unsigned char* shared, PcSignal* full, PcSignal* empty) {
  int group = pc_tid() >> 7, stage = 0, round = 0, before = 0;
  // A lane for each block of the cluster says that a stage is free.
  u32 lane = (u32)pc_tid() & 31;
  bool speaks = lane < pc_cluster_size();
#pragma unroll
  for (int i = 0; i < PC_WG_COLUMNS / 2; i++) sum[i] = 0.f;
  for (int c = 0; c < y.chunks; c++) {
    const unsigned char* from = shared + stage * PC_WG_STAGE;
    u64 a = pc_wgmma_operand(from + group * 64 * 128, 16, 1024);
    u64 b = pc_wgmma_operand(from + PC_WG_A, ACROSS ? 64 * 128 : 16, 1024);
    pc_signal_wait(full + stage * PC_SIGNAL_APART, round);
    pc_wgmma_begin();
    // 16 columns of A further are 32 bytes; of B as well, or 16 rows where it lies across.
#pragma unroll
    for (int k = 0; k < 4; k++) pc_wgmma<ACROSS>(sum, a + k * 2, b + k * (ACROSS ? 128 : 2));
    pc_wgmma_commit();
    pc_wgmma_wait_but<1>();
    // Only where somebody waits for it, or the other block may have ended.
    if (c > 0 && c - 1 + PC_WG_STAGES < y.chunks && speaks)
      pc_signal_arrive_at(empty + before * PC_SIGNAL_APART, lane);
    before = stage;
    stage++;
    if (stage == PC_WG_STAGES) {
      stage = 0;
      round++;
    }
  }
}

// A thread's sums to its warp's 16 rows in shared memory.
PC_DEV void pc_wg_spread(const float (&sum)[PC_WG_COLUMNS / 2], float* own) {
  int lane = pc_tid() & 31;
  float* to = own + (lane >> 2) * PC_WG_STRIDE + 2 * (lane & 3);
#pragma unroll
  for (int j = 0; j < PC_WG_COLUMNS / 8; j++) {
    pc_store2(to + j * 8, sum[4 * j], sum[4 * j + 1]);
    pc_store2(to + 8 * PC_WG_STRIDE + j * 8, sum[4 * j + 2], sum[4 * j + 3]);
  }
}

#define PC_WG_TOGETHER (PC_WG_ROWS / (PC_WG_THREADS / 32)) // rows of a warp

// What is made of the tile: every warp takes some rows, 64 columns at a time.
template <bool ALIGNED, class Rule>
PC_DEV void pc_wg_end(const PcGemm& p, const PcGemmLayer& y, const float* tile, int row0,
                      int column0, Rule rule) {
  int first = (pc_tid() >> 5) * PC_WG_TOGETHER;
#pragma unroll 1
  for (int column = 2 * (pc_tid() & 31); column < PC_WG_COLUMNS; column += 64) {
    PcPair<ALIGNED> pair[PC_WG_TOGETHER];
    PcHeld held[PC_WG_TOGETHER];
    // All loads come before the stores, or each would be waited for.
#pragma unroll
    for (int k = 0; k < PC_WG_TOGETHER; k++) {
      pair[k] = pc_pair<ALIGNED>(y, row0 + first + k, column0 + column);
      held[k] = rule.read(y, pair[k]);
    }
#pragma unroll
    for (int k = 0; k < PC_WG_TOGETHER; k++)
      pc_gemm_finish<PC_TILED>(p, y, tile + (first + k) * PC_WG_STRIDE + column, row0 + first + k,
                               column0 + column, pair[k], held[k], rule);
  }
}

// What the tile's end needs, to the second-level cache, while the first chunks are on their way.
template <class Rule>
PC_DEV void pc_wg_prefetch(const PcGemmLayer& y, int row0, int column0, Rule rule) {
  const int line = 32, lines = PC_WG_COLUMNS / line;
  const int before = 32 * (PC_WG_WARPS + 1);
  for (int q = pc_tid() - before; q < PC_WG_ROWS * lines; q += PC_WG_THREADS - before) {
    int row = row0 + q / lines, column = column0 + q % lines * line;
    if (row >= y.rows || column >= y.columns) continue;
    rule.prefetch(y, (u64)row * y.columns + column);
  }
}

// The sums of a warp that multiplies, to shared memory, where all warps make something of them.
template <bool ACROSS>
PC_DEV void pc_wg_sums(const PcGemmLayer& y, unsigned char* shared, PcSignal* full,
                       PcSignal* empty) {
  float sum[PC_WG_COLUMNS / 2];
  pc_wg_multiply<ACROSS>(sum, y, shared, full, empty);
  // Nothing else is done before the products have ended.
  pc_wgmma_wait_but<0>();
  // The stages' place is the sums' when all have read the last.
  pc_block_sync();
  pc_wg_spread(sum, (float*)shared + (pc_tid() >> 5) * 16 * PC_WG_STRIDE);
}

// This block's tile of its layer's product.
template <bool ACROSS, class Rule> PC_DEV void pc_wg(const PcGemm& p, Rule rule) {
  PC_SHARED(shared);
  int l = 0, block = pc_bid(), warp = pc_tid() >> 5;
  while (l + 1 < p.layers && p.layer[l + 1].first <= block) l++;
  const PcGemmLayer& y = p.layer[l];
  // Tiles with the same columns come one after the other.
  int down = (y.rows + PC_WG_ROWS - 1) / PC_WG_ROWS;
  int row0 = (block - y.first) % down * PC_WG_ROWS;
  int column0 = (block - y.first) / down * PC_WG_COLUMNS;
  PcSignal* full = (PcSignal*)(shared + PC_WG_STAGES * PC_WG_STAGE);
  PcSignal* empty = full + PC_WG_STAGES * PC_SIGNAL_APART;
  if (pc_tid() == 0) {
    for (int s = 0; s < PC_WG_STAGES; s++) {
      pc_signal_init(full + s * PC_SIGNAL_APART);
      pc_signal_init(empty + s * PC_SIGNAL_APART, PC_WG_WARPS * pc_cluster_size());
    }
    pc_signals_publish();
  }
  pc_cluster_arrive();
  pc_cluster_wait();
  // What the launch in front has made is there, and the next one may prepare itself.
  pc_grid_wait();
  pc_grid_next();
  if (warp < PC_WG_WARPS) {
    pc_wg_sums<ACROSS>(y, shared, full, empty);
  } else {
    if (warp > PC_WG_WARPS) pc_wg_prefetch(y, row0, column0, rule);
    else if ((pc_tid() & 31) == 0) pc_wg_bring<ACROSS>(y, shared, full, empty, row0, column0);
    pc_block_sync();
  }
  pc_block_sync();
  // Pairs of rows of even length are aligned to their width.
  const float* tile = (const float*)shared;
  if ((y.columns & 1) == 0) pc_wg_end<true>(p, y, tile, row0, column0, rule);
  else pc_wg_end<false>(p, y, tile, row0, column0, rule);
}

PC_KERNEL(pc_relax_wgmma_errors, PC_WG_THREADS, PcGemm) { pc_wg<false>(p, PcErrorsRule{p.rate}); }
PC_KERNEL(pc_relax_wgmma_moves, PC_WG_THREADS, PcGemm) { pc_wg<true>(p, PcMovesRule{p.rate}); }
PC_KERNEL(pc_relax_wgmma_frozen, PC_WG_THREADS, PcGemm) { pc_wg<true>(p, PcFrozenRule{p.rate}); }
#endif
