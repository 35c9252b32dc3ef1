// What grouped products have in common: operands, and what is made of sums where they lie.
#pragma once
#include "pc_dev.cuh"
#include "pc_math.cuh"
#include "pc_params.cuh"

// Operands of two bytes a number, and of four (tf32); and of two in tiles (relax_wgmma.cu).
enum { PC_BF16 = 0, PC_WIDE = 1, PC_TILED = 2 };

// The place of a number of an operand. Rows are `row_bytes` apart. In tiles it is chunks of 64
// columns that are: rows of 128 bytes, each with its pieces of 16 bytes in an order of its own, as
// 128-byte swizzling has them.
template <int MODE>
PC_DEV unsigned char* pc_gemm_place(void* operand, int row, int column, int row_bytes) {
  unsigned char* start = (unsigned char*)operand;
  if (MODE == PC_TILED) {
    int within = (column & 63) * 2 ^ (row & 7) << 4;
    return start + (u64)(column >> 6) * row_bytes + (u64)row * 128 + within;
  }
  return start + (u64)row * row_bytes + column * (MODE == PC_WIDE ? 4 : 2);
}

// Two neighbours of a row, as operands.
template <int MODE> PC_DEV void pc_gemm_store(unsigned char* to, float x, float y) {
  if (MODE == PC_WIDE) pc_store2((float*)to, pc_tf32(x), pc_tf32(y));
  else *(u32*)to = pc_bf16_pair(x, y);
}
// What rounding left of them.
template <int MODE> PC_DEV PcTwo pc_gemm_rest(float x, float y) {
  if (MODE == PC_WIDE) return {x - pc_tf32(x), y - pc_tf32(y)};
  u32 both = pc_bf16_pair(x, y);
  return {x - pc_float(both << 16), y - pc_float(both & 0xffff0000u)};
}
// The same two as an operand of one part, or of three: A's, or B's (`second`).
template <int MODE>
PC_DEV void pc_gemm_put(unsigned char* to, int part, bool split, bool second, float x, float y) {
  pc_gemm_store<MODE>(to, x, y);
  if (!split) return;
  PcTwo rest = pc_gemm_rest<MODE>(x, y);
  pc_gemm_store<MODE>(to + (second ? 2 : 1) * part, x, y);
  pc_gemm_store<MODE>(to + (second ? 1 : 2) * part, rest.x, rest.y);
}

// Two neighbours of a row of C, or the last of a row alone; or none, and then `at` is the first.
template <bool ALIGNED> struct PcPair {
  u64 at;
  bool in, both;
};
template <bool ALIGNED>
PC_DEV PcPair<ALIGNED> pc_pair(const PcGemmLayer& y, int row, int column) {
  bool in = row < y.rows && column < y.columns;
  return {in ? (u64)row * y.columns + column : 0, in, column + 1 < y.columns};
}
// What is read for them.
struct PcHeld {
  PcTwo a, b, c;
};
template <bool ALIGNED> PC_DEV PcTwo pc_get(const float* p, PcPair<ALIGNED> w) {
  if (!p) return {0.f, 0.f};
  if (ALIGNED) return pc_load2(p + w.at);
  return {p[w.at], w.both ? p[w.at + 1] : 0.f};
}
template <bool ALIGNED> PC_DEV void pc_put(float* p, PcPair<ALIGNED> w, PcTwo v) {
  if (!p) return;
  if (ALIGNED) return pc_store2(p + w.at, v.x, v.y);
  p[w.at] = v.x;
  if (w.both) p[w.at + 1] = v.y;
}

#ifdef PC_WARPGROUPS
PC_DEV void pc_ask(const float* p, u64 at) {
  if (p) pc_prefetch(p + at);
}
#else
PC_DEV void pc_ask(const float*, u64) {}
#endif

// What is made of a pair of sums, in its places, and as the next operand.
template <int MODE, bool ALIGNED, class Rule>
PC_DEV void pc_gemm_finish(const PcGemm& p, const PcGemmLayer& y, const float* sums, int row,
                           int column, PcPair<ALIGNED> w, const PcHeld& held, Rule rule) {
  if (!w.in) return;
  PcTwo out = rule.finish(y, w, pc_load2(sums), held);
  if (!y.out) return;
  unsigned char* to = pc_gemm_place<MODE>(y.out, row, column, y.out_row);
  // Behind the end of a row stay zeros: of zeros, `finish` makes zeros.
  pc_gemm_put<MODE>(to, y.out_part, p.split != 0, false, out.x, out.y);
}

// Errors, what is pulled of them, and the half of the moves that they make. (No lambdas: a compiler
// at run time takes generic ones for the host's.)
struct PcErrorsRule {
  float rate;
  template <class Pair> PC_DEV PcHeld read(const PcGemmLayer& y, Pair w) const {
    return {pc_get(y.z, w), pc_get(y.d, w), pc_get(y.r, w)};
  }
  PC_DEV void prefetch(const PcGemmLayer& y, u64 at) const {
    pc_ask(y.z, at);
    pc_ask(y.d, at);
    pc_ask(y.r, at);
  }
  template <class Pair>
  PC_DEV PcTwo finish(const PcGemmLayer& y, Pair w, PcTwo dz, const PcHeld& held) const {
    PcTwo z = held.a, d = held.b, r = held.c, slope;
    PcTwo change = {pc_change(y.act, z.x, dz.x, slope.x), pc_change(y.act, z.y, dz.y, slope.y)};
    PcTwo e = {r.x + (d.x - change.x), r.y + (d.y - change.y)};
    pc_put(y.e, w, e);
    pc_put(y.slope, w, slope);
    pc_put(y.v, w, {d.x - rate * (y.precision * e.x), d.y - rate * (y.precision * e.y)});
    return PcTwo{y.precision * slope.x * e.x, y.precision * slope.y * e.y};
  }
};

// The other half: by what is pulled. The first layer's prediction stays where it is, so that its
// error is no array, and this is all of its move; the others' precision is zero here.
struct PcMovesRule {
  float rate;
  template <class Pair> PC_DEV PcHeld read(const PcGemmLayer& y, Pair w) const {
    return {pc_get(y.d, w), pc_get(y.r, w), pc_get(y.v ? y.ref : nullptr, w)};
  }
  PC_DEV void prefetch(const PcGemmLayer& y, u64 at) const {
    pc_ask(y.d, at);
    pc_ask(y.r, at);
    pc_ask(y.v ? y.ref : nullptr, at);
  }
  template <class Pair>
  PC_DEV PcTwo finish(const PcGemmLayer& y, Pair w, PcTwo force, const PcHeld& held) const {
    PcTwo d = held.a, e = held.b, ref = held.c;
    e = {e.x + d.x, e.y + d.y};
    if (y.precision > 0.f) force = {force.x - y.precision * e.x, force.y - y.precision * e.y};
    d = {d.x + rate * force.x, d.y + rate * force.y};
    pc_put(y.d, w, d);
    pc_put(y.v, w, {ref.x + d.x, ref.y + d.y});
    return d;
  }
};

// Moves of errors where predictions are frozen.
struct PcFrozenRule {
  float rate;
  template <class Pair> PC_DEV PcHeld read(const PcGemmLayer& y, Pair w) const {
    return {pc_get(y.e, w), pc_get(y.slope, w), {0.f, 0.f}};
  }
  PC_DEV void prefetch(const PcGemmLayer& y, u64 at) const {
    pc_ask(y.e, at);
    pc_ask(y.slope, at);
  }
  template <class Pair>
  PC_DEV PcTwo finish(const PcGemmLayer& y, Pair w, PcTwo force, const PcHeld& held) const {
    PcTwo e = held.a, slope = held.b;
    e.x += rate * (force.x - y.precision * e.x);
    e.y += rate * (force.y - y.precision * e.y);
    pc_put(y.e, w, e);
    return PcTwo{y.precision * slope.x * e.x, y.precision * slope.y * e.y};
  }
};
