//! Mistakes in the products of warpgroups.

use crate::swaps::{By, Swap};

const FILE: &str = "relax_wgmma.cu";

pub(crate) const SWAPS: &[Swap] = &[
    // Where operands lie in shared memory.
    (FILE, "", "(u64)(stride >> 4) << 32", By::Expression("(u64)0"), " |"),
    (FILE, "", "(u64)(leading >> 4) << 16", By::Expression("(u64)0"), " |"),
    (FILE, "", "(u64)1 << 62", By::Expression("(u64)2 << 62"), " |"),
    (FILE, "pc_wgmma_operand(", "from + group * 64 * 128", By::Expression("from"), ","),
    (FILE, "from + PC_WG_A, ", "ACROSS ? 64 * 128 : 16", By::Expression("16"), ","),
    (FILE, "pc_wgmma<ACROSS>(sum, a + ", "k * 2", By::Expression("0"), ", b"),
    (FILE, "b + k * ", "(ACROSS ? 128 : 2)", By::Expression("2"), ")"),
    // What is brought there.
    (FILE, "y.a + ", "(u64)row0 * 128", By::Expression("0"), ", *b"),
    (FILE, "y.b + ", "(u64)(column0 >> 6) * y.b_chunk", By::Expression("0"), ";"),
    (FILE, "y.b + ", "(u64)column0 * 128", By::Expression("0"), ";"),
    (FILE, "a + ", "(u64)c * y.a_chunk", By::Expression("0"), ","),
    (FILE, "b + ", "(u64)c * y.b_chunk", By::Expression("0"), ","),
    (FILE, "b + ", "(u64)j * y.b_chunk", By::Expression("0"), " +"),
    (FILE, "y.b_chunk + ", "(u64)c * 64 * 128", By::Expression("0"), ","),
    (FILE, "to + PC_WG_A + ", "j * 64 * 128", By::Expression("0"), ", b"),
    (FILE, "half = ", "(int)pc_cluster_rank() * (bytes / 2)", By::Expression("0"), ";"),
    (FILE, "to + half, ", "from + half", By::Expression("from"), ","),
    (FILE, "", "pc_signal_expect(filled, PC_WG_STAGE);", By::Where("false"), ""),
    (FILE, "place = (", "pc_near(start) & 0x3ffff", By::Expression("pc_near(start)"), ")"),
    // Who waits for whom.
    (FILE, "if (", "round > 0", By::Expression("false"), ") pc_signal_wait"),
    (FILE, "APART, ", "round - 1", By::Expression("round"), ");"),
    (FILE, "", "pc_signal_wait(full + stage * PC_SIGNAL_APART, round);", By::Where("false"), ""),
    (
        FILE,
        "",
        "pc_signal_arrive_at(empty + before * PC_SIGNAL_APART, lane);",
        By::Where("false"),
        "",
    ),
    (
        FILE,
        "empty + ",
        "before * PC_SIGNAL_APART",
        By::Expression("stage * PC_SIGNAL_APART"),
        ", lane",
    ),
    (FILE, "PC_WG_WARPS * ", "pc_cluster_size()", By::Expression("1"), ");"),
    (FILE, "speaks = ", "lane < pc_cluster_size()", By::Expression("lane < 1"), ";"),
    (FILE, "", "pc_wgmma_begin();", By::Where("false"), ""),
    (FILE, "", "pc_wgmma_commit();", By::Where("false"), ""),
    (FILE, "", "pc_wgmma_wait_but<1>();", By::Where("false"), ""),
    (FILE, "", "pc_wgmma_wait_but<0>();", By::Where("false"), ""),
    // What is made of the sums.
    (FILE, "to + ", "8 * PC_WG_STRIDE", By::Expression("0"), " + j * 8"),
    (FILE, "+ 2 * ", "(lane & 3)", By::Expression("0"), ";"),
    (FILE, "(float*)shared + ", "(pc_tid() >> 5) * 16", By::Expression("0"), " *"),
    (FILE, "first = ", "(pc_tid() >> 5) * PC_WG_TOGETHER", By::Expression("0"), ";"),
    (FILE, "tile + ", "(first + k) * PC_WG_STRIDE", By::Expression("0"), " + column"),
    (FILE, "column += ", "64", By::Expression("32"), ")"),
    (FILE, "if (", "(y.columns & 1) == 0", By::Expression("true"), ")"),
    (FILE, "", "p.layer[l + 1].first <= block", By::Expression("p.layer[l + 1].first < block"), ""),
    (FILE, "", "(block - y.first)", By::Expression("block"), " /"),
    (FILE, "row0 = ", "(block - y.first) % down", By::Expression("0"), " *"),
    (
        FILE,
        "{ ",
        "pc_wg<true>(p, PcFrozenRule{p.rate})",
        By::Expression("pc_wg<true>(p, PcMovesRule{p.rate})"),
        "; }",
    ),
];
