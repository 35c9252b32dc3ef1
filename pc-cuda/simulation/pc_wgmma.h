// Bulk copies and products of warpgroups on the CPU: a part of pc_sim.cpp, inside its namespace.
#pragma once

void bring(const Bulk& bulk) { bulks->push_back(bulk); }

static void arrived(size_t index) {
  Bulk bulk = (*bulks)[index];
  bulks->erase(bulks->begin() + (long)index);
  memcpy(bulk.to, bulk.from, bulk.bytes);
  bulk.signal->missing -= (int)bulk.bytes;
  pc_signal_check(bulk.signal);
}

// As wgmma reads an operand of 16-bit numbers with 128-byte swizzling: pieces of 16 bytes trade places by the bits of the address above them.
// The place of a number whose row has eight neighbours in the same piece (`across`), or whose column has.
static const uint16_t* number(u64 descriptor, bool across, u32 row, u32 k) {
  Block& block = *current->block;
  u32 start = (u32)(descriptor & 0x3fff) << 4, leading = (u32)(descriptor >> 16 & 0x3fff) << 4, stride = (u32)(descriptor >> 32 & 0x3fff) << 4;
  u32 at = start + (across ? row / 64 * leading + k / 8 * stride + k % 8 * 128 + row % 64 * 2 : row / 8 * stride + row % 8 * 128 + k * 2);
  at ^= (at >> 7 & 7) << 4;
  if (at + 2 > block.bytes) fail("a product of a warpgroup reads behind the shared memory");
  return (const uint16_t*)(block.shared + at);
}

// Two rows of A, 16 numbers each.
static void gather(u64 descriptor, uint16_t (&read)[2][16]) {
  u32 row = (u32)current->tid / 32 % 4 * 16 + (u32)current->lane / 4;
  for (u32 i = 0; i < 2; i++)
    for (u32 k = 0; k < 16; k += 8) memcpy(read[i] + k, number(descriptor, false, row + 8 * i, k), 16);
}

// All columns of B, one row of 16 after the other.
static std::vector<uint16_t> gather(const Right& b) {
  std::vector<uint16_t> read((size_t)b.columns * 16);
  for (u32 column = 0; column < b.columns; column++)
    for (u32 k = 0; k < 16; k++) {
      const uint16_t* from = b.across ? number(b.descriptor, true, column, k) : number(b.descriptor, false, column, k / 8 * 8) + k % 8;
      read[k * b.columns + column] = *from;
    }
  return read;
}

void multiply(float* sums, size_t count, u64 a, u64 b, bool across) {
  Fiber& f = *current;
  if (!f.began) fail("a product of a warpgroup without pc_wgmma_begin");
  if (a >> 62 != 1 || b >> 62 != 1 || (a >> 49 | b >> 49) & 7) fail("a descriptor is not of 128-byte swizzling");
  if (!f.sums) {
    f.sums = sums;
    f.held.assign(sums, sums + count);
    for (size_t q = 0; q < count; q++) sums[q] = pc_float(0xffffffffu);
  }
  if (f.sums != sums) fail("products of a warpgroup with two sets of sums at once");
  // The first of a warpgroup that comes to a product reads B for all.
  std::vector<std::shared_ptr<Right>>& all = f.block->rights[(size_t)f.tid / 128];
  if (f.multiplied == all.size()) {
    all.push_back(std::make_shared<Right>(Right{b, across, (u32)count * 2, {}}));
    all.back()->read = gather(*all.back());
  }
  std::shared_ptr<Right> right = all[f.multiplied++];
  if (right->descriptor != b || right->across != across) fail("the threads of a warpgroup multiply different operands");
  f.products.push_back({a, {}, right});
  gather(a, f.products.back().left);
}

// This thread's sums of a product that has ended.
static void end(const Product& product) {
  Fiber& f = *current;
  uint16_t left[2][16];
  gather(product.a, left);
  const Right& right = *product.right;
  if (memcmp(left, product.left, sizeof left) || (f.lane == 0 && gather(right) != right.read))
    fail("shared memory changed while a product of a warpgroup read it");
  size_t own = f.held.size() / 2;
  std::vector<float> b(own), all(2 * own);
  for (size_t q = 0; q < 2 * own; q++) all[q % 4 / 2 * own + q / 4 * 2 + q % 2] = f.held[q];
  for (size_t k = 0; k < 16; k++) {
    const uint16_t* row = right.read.data() + k * right.columns + 2 * (f.lane & 3);
    for (size_t q = 0; q < own; q++) b[q] = pc_float((u32)row[q / 2 * 8 + q % 2] << 16);
    for (size_t i = 0; i < 2; i++) {
      float x = pc_float((u32)left[i][k] << 16), *to = all.data() + i * own;
      for (size_t q = 0; q < own; q++) to[q] += x * b[q];
    }
  }
  for (size_t q = 0; q < 2 * own; q++) f.held[q] = all[q % 4 / 2 * own + q / 4 * 2 + q % 2];
}

void finish_products(size_t left) {
  Fiber& f = *current;
  pause();
  while (f.ends.size() > left) {
    size_t done = f.ends[0];
    for (size_t i = 0; i < done; i++) end(f.products[i]);
    f.products.erase(f.products.begin(), f.products.begin() + (long)done);
    f.ends.erase(f.ends.begin());
    for (size_t& end : f.ends) end -= done;
  }
  if (!f.products.empty() || !f.sums) return;
  for (size_t q = 0; q < f.held.size(); q++) f.sums[q] = f.held[q];
  f.sums = nullptr;
  f.began = false;
}
