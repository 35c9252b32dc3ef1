// Relaxations of wide nets: the products of all layers of one step in one launch, with the errors
// or the moves of that step made of their sums where they lie, in registers.
//
//   live:    dz_l = W_l d_(l-1),  e_l = r_l + d_l - [f(z_l + dz_l) - f(z_l)],  g_l = pi f' e_l
//            d_l += rate (W_(l+1)^T g_(l+1) - pi e_l)
//   frozen:  e_l += rate (W_(l+1)^T g_(l+1) - pi e_l),  g_l = pi f' e_l, with f' as it was fed
//            forward
//
// Every product is C = A B^T of operands whose rows are whole numbers of 64 bytes, zeros behind
// their ends: displacements and errors by sample, weights by output, and by input in a second copy.
// An operand is of bf16 or tf32 numbers. Where a net needs more digits than one has (live relus,
// see pc_products.cuh), each number is two, and a row three parts: A's (high, high, low) meet B's
// (high, low, high), so that the sum of the three products has the digits of both.
//
// A warp of a block reads 16 bytes of a row at once and makes two steps of a product of them. Which
// column stands for which is free, as long as both operands agree.
#include "pc_dev.cuh"
#include "pc_grouped.cuh"
#include "pc_params.cuh"

#define PC_GEMM_THREADS 128
#define PC_GEMM_ROWS 128   // of C, a block
#define PC_GEMM_COLUMNS 64 // of C, a block; a warp has half of either
#define PC_GEMM_STAGES 4
#define PC_GEMM_STAGE ((PC_GEMM_ROWS + PC_GEMM_COLUMNS) * 64) // bytes

// Matrices as operands, a tile of 32 by 32 a block: their rows, and, where there is a place for
// them, their columns.
template <int MODE> PC_DEV void pc_gemm_pack(const PcPack& p) {
  PC_SHARED(raw);
  float* tile = (float*)raw; // [32][33]
  int l = 0, block = pc_bid(), tid = pc_tid();
  while (l + 1 < p.layers && p.layer[l + 1].first <= block) l++;
  const PcPackLayer& y = p.layer[l];
  int row0 = (block - y.first) / y.across * 32, column0 = (block - y.first) % y.across * 32;
  for (int q = tid; q < 32 * 32; q += 256) {
    int row = row0 + q / 32, column = column0 + q % 32;
    bool in = row < y.rows && column < y.columns;
    tile[q / 32 * 33 + q % 32] = in ? y.from[(u64)row * y.columns + column] : 0.f;
  }
  pc_block_sync();
  for (int q = tid; q < 32 * 16; q += 256) {
    int i = q / 16, k = q % 16 * 2, row = row0 + i, column = column0 + k;
    if (!y.rows_to || row >= y.rows || column >= y.columns) continue;
    unsigned char* to = pc_gemm_place<MODE>(y.rows_to, row, column, y.row);
    pc_gemm_put<MODE>(to, y.part, p.split != 0, y.second != 0, tile[i * 33 + k],
                      tile[i * 33 + k + 1]);
  }
  if (!y.columns_to) return;
  for (int q = tid; q < 32 * 16; q += 256) {
    int i = q / 16, k = q % 16 * 2, column = column0 + i, row = row0 + k;
    if (row >= y.rows || column >= y.columns) continue;
    unsigned char* to = pc_gemm_place<MODE>(y.columns_to, column, row, y.column_row);
    pc_gemm_put<MODE>(to, y.column_part, p.split != 0, y.second != 0, tile[k * 33 + i],
                      tile[(k + 1) * 33 + i]);
  }
}

// Chunk c of a tile's rows of both operands, on its way to shared memory.
PC_DEV void pc_gemm_fetch(const PcGemmLayer& y, unsigned char* stage, int row0, int column0,
                          int c) {
  int at = pc_tid() >> 2, part = 16 * (pc_tid() & 3);
  u64 row = (u64)y.chunks * 64;
  const unsigned char* a = (const unsigned char*)y.a + (row0 + at) * row + c * 64 + part;
  const unsigned char* b = (const unsigned char*)y.b + (column0 + at) * row + c * 64 + part;
  unsigned char* to = stage + at * 64 + part;
  const int step = PC_GEMM_THREADS / 4;
#pragma unroll
  for (int i = 0; i < PC_GEMM_ROWS / step; i++) pc_copy16(to + i * step * 64, a + i * step * row);
#pragma unroll
  for (int i = 0; i < PC_GEMM_COLUMNS / step; i++)
    pc_copy16(to + (PC_GEMM_ROWS + i * step) * 64, b + i * step * row);
}

template <int MODE>
PC_DEV void pc_gemm_mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
  if (MODE == PC_BF16) pc_mma_bf16(d, a, b);
  else pc_mma(d, a, b);
}

// A thread's sums to the block's tile in shared memory. The distance between rows is 8 more than a
// multiple of 32, so that four rows share no bank.
#define PC_GEMM_STRIDE 72
PC_DEV void pc_gemm_spread(const float (&sum)[4][4][4], float* tile, int up, int left) {
  int lane = pc_tid() & 31;
  float* to = tile + (up + (lane >> 2)) * PC_GEMM_STRIDE + left + 2 * (lane & 3);
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      pc_store2(to + i * 16 * PC_GEMM_STRIDE + j * 8, sum[i][j][0], sum[i][j][1]);
      pc_store2(to + (i * 16 + 8) * PC_GEMM_STRIDE + j * 8, sum[i][j][2], sum[i][j][3]);
    }
}

// What is made of the tile, a row a warp. In a loop, since instructions that run once have to be
// fetched, which takes longer than they do.
template <int MODE, bool ALIGNED, class Rule>
PC_DEV void pc_gemm_end(const PcGemm& p, const PcGemmLayer& y, const float* tile, int row0,
                        int column0, Rule rule) {
  const int warps = PC_GEMM_THREADS / 32, together = 4;
  int warp = pc_tid() >> 5, lane = pc_tid() & 31, column = column0 + 2 * lane;
#pragma unroll 1
  for (int first = warp; first < PC_GEMM_ROWS; first += warps * together) {
    PcPair<ALIGNED> pair[together];
    PcHeld held[together];
    // All loads come before the stores, or each would be waited for.
#pragma unroll
    for (int k = 0; k < together; k++) {
      pair[k] = pc_pair<ALIGNED>(y, row0 + first + k * warps, column);
      held[k] = rule.read(y, pair[k]);
    }
#pragma unroll
    for (int k = 0; k < together; k++) {
      int own = first + k * warps;
      const float* sums = tile + own * PC_GEMM_STRIDE + 2 * lane;
      pc_gemm_finish<MODE>(p, y, sums, row0 + own, column, pair[k], held[k], rule);
    }
  }
}

// This block's tile of its layer's product. A rule's `read` gets what a pair of sums needs, its
// `finish` makes of it the next operand.
template <int MODE, class Rule> PC_DEV void pc_gemm(const PcGemm& p, Rule rule) {
  PC_SHARED(shared);
  int l = 0, block = pc_bid();
  while (l + 1 < p.layers && p.layer[l + 1].first <= block) l++;
  const PcGemmLayer& y = p.layer[l];
  int row0 = (block - y.first) / y.across * PC_GEMM_ROWS;
  int column0 = (block - y.first) % y.across * PC_GEMM_COLUMNS;
  int warp = pc_tid() >> 5, lane = pc_tid() & 31, g = lane >> 2, t = lane & 3;
  int up = (warp >> 1) * 64, left = (warp & 1) * 32;
  float sum[4][4][4];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int k = 0; k < 4; k++) sum[i][j][k] = 0.f;
#pragma unroll
  for (int c = 0; c < PC_GEMM_STAGES - 1; c++) {
    if (c < y.chunks) pc_gemm_fetch(y, shared + c * PC_GEMM_STAGE, row0, column0, c);
    pc_copy_commit();
  }
  for (int c = 0; c < y.chunks; c++) {
    // Chunk c is here, and all have read the one before, whose place is the next one's.
    pc_copy_wait_but<PC_GEMM_STAGES - 2>();
    pc_block_sync();
    int next = c + PC_GEMM_STAGES - 1;
    if (next < y.chunks)
      pc_gemm_fetch(y, shared + next % PC_GEMM_STAGES * PC_GEMM_STAGE, row0, column0, next);
    pc_copy_commit();
    const float* stage = (const float*)(shared + c % PC_GEMM_STAGES * PC_GEMM_STAGE);
    const float *a = stage + (up + g) * 16 + 4 * t;
    const float* b = stage + (PC_GEMM_ROWS + left + g) * 16 + 4 * t;
    PcFour right[4];
#pragma unroll
    for (int j = 0; j < 4; j++) right[j] = pc_load4(b + j * 8 * 16);
    // Eight products that do not wait for each other come between two that do.
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      PcFour high[2], low[2];
#pragma unroll
      for (int k = 0; k < 2; k++) {
        high[k] = pc_load4(a + (i + k) * 16 * 16);
        low[k] = pc_load4(a + ((i + k) * 16 + 8) * 16);
      }
#pragma unroll
      for (int k = 0; k < 2; k++) {
        float first[4] = {high[k].x, low[k].x, high[k].y, low[k].y};
#pragma unroll
        for (int j = 0; j < 4; j++) {
          float beside[2] = {right[j].x, right[j].y};
          pc_gemm_mma<MODE>(sum[i + k][j], first, beside);
        }
      }
#pragma unroll
      for (int k = 0; k < 2; k++) {
        float then[4] = {high[k].z, low[k].z, high[k].w, low[k].w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
          float beside[2] = {right[j].z, right[j].w};
          pc_gemm_mma<MODE>(sum[i + k][j], then, beside);
        }
      }
    }
  }
  // The stages' place is the tile's when all have read the last.
  float* tile = (float*)shared;
  pc_block_sync();
  pc_gemm_spread(sum, tile, up, left);
  pc_block_sync();
  // Pairs of rows of even length are aligned to their width.
  if ((y.columns & 1) == 0) pc_gemm_end<MODE, true>(p, y, tile, row0, column0, rule);
  else pc_gemm_end<MODE, false>(p, y, tile, row0, column0, rule);
}

template <int MODE> PC_DEV void pc_gemm_errors(const PcGemm& p) {
  pc_gemm<MODE>(p, PcErrorsRule{p.rate});
}
template <int MODE> PC_DEV void pc_gemm_moves(const PcGemm& p) {
  pc_gemm<MODE>(p, PcMovesRule{p.rate});
}
template <int MODE> PC_DEV void pc_gemm_frozen(const PcGemm& p) {
  pc_gemm<MODE>(p, PcFrozenRule{p.rate});
}

PC_KERNEL(pc_pack_bf16, 256, PcPack) { pc_gemm_pack<PC_BF16>(p); }
PC_KERNEL(pc_pack_tf32, 256, PcPack) { pc_gemm_pack<PC_WIDE>(p); }
PC_KERNEL(pc_pack_tiled, 256, PcPack) { pc_gemm_pack<PC_TILED>(p); }
PC_KERNEL_OF(pc_relax_gemm_errors_bf16, PC_GEMM_THREADS, 4, PcGemm) { pc_gemm_errors<PC_BF16>(p); }
PC_KERNEL_OF(pc_relax_gemm_errors_tf32, PC_GEMM_THREADS, 4, PcGemm) { pc_gemm_errors<PC_WIDE>(p); }
PC_KERNEL_OF(pc_relax_gemm_moves_bf16, PC_GEMM_THREADS, 4, PcGemm) { pc_gemm_moves<PC_BF16>(p); }
PC_KERNEL_OF(pc_relax_gemm_moves_tf32, PC_GEMM_THREADS, 4, PcGemm) { pc_gemm_moves<PC_WIDE>(p); }
PC_KERNEL_OF(pc_relax_gemm_frozen_bf16, PC_GEMM_THREADS, 4, PcGemm) { pc_gemm_frozen<PC_BF16>(p); }
PC_KERNEL_OF(pc_relax_gemm_frozen_tf32, PC_GEMM_THREADS, 4, PcGemm) { pc_gemm_frozen<PC_WIDE>(p); }
