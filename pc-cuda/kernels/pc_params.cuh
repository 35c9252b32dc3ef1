// What each kernel takes: one struct, passed by value, laid out alike here and in `params.rs`.
#pragma once
#include "pc_dev.cuh"

#define PC_LAYERS 16  // the most layers of one launch
#define PC_SLICE 8    // the samples of one cluster
#define PC_PARTS 32   // the most tensors of one optimiser launch
#define PC_CHUNK 1024 // the elements of one block of an element-by-element kernel

// One prediction of a chain. Offsets count floats from the start of shared memory.
struct PcClusterLayer {
  const float* weight; // [n][n below]; none for the first, whose input is held
  const float* z;      // live: W v_ref + b
  const float* r;      // live: the error at the reference; none for zero
  const float* ref;    // live: v_ref
  float* d;            // live: in and out
  float* v;            // live: out
  float* e;            // live: out; frozen: in and out
  float* slope;        // f': live out, frozen in
  float precision;
  int n, rows, act;
  int senders; // blocks that hold rows of the layer above
  int stride;  // between rows of the weight in shared memory
  int groups;  // of rows that a warp takes together in a forward product
  int shift;   // 1 << shift warps share the columns of a group
  u32 inverse; // 2^32 / rows, rounded up
  int weight_at, gather_at, partial_at, state_at, gate_at, scratch_at;
  int residual_at; // -1 where there is no r
};

// One layer of a grouped product C = A B^T (relax_gemm.cu, relax_wgmma.cu). `first` is the number of its first tile.
struct PcGemmLayer {
  const void* a;
  const void* b;
  const float* z;
  const float* r; // none for zero
  const float* ref;
  float* d;
  float* v;       // none where it is not wanted yet
  float* e;
  float* slope;
  void* out;      // C's rows as the next operand; none for none
  float precision;
  int act, rows, columns; // C's
  int chunks;             // of 64 bytes, in a row of A and B; of 128 where they are in tiles
  int first, across;      // tiles in a row of tiles
  int out_row, out_part;  // bytes from row to row of `out`, and from part to part
  int a_chunk, b_chunk;   // bytes from chunk to chunk of A and B, where they are in tiles
  int unused;
};
struct PcGemm {
  PcGemmLayer layer[PC_LAYERS];
  int layers, split;
  float rate;
  int unused;
};
// One matrix to be made an operand, by its rows, and by its columns where there is a place.
struct PcPackLayer {
  const float* from;
  void* rows_to;    // none for none
  void* columns_to; // none for none
  int rows, columns, first, across;
  int row, part, column_row, column_part; // bytes
  int second, unused;                     // whether it is B's
};
struct PcPack {
  PcPackLayer layer[PC_LAYERS];
  int layers, split;
};

// What drives a live output: nothing, it is held; or a loss.
enum { PC_NO_LOSS = 0, PC_SQUARED_ERROR = 1, PC_CROSS_ENTROPY = 2 };
struct PcCluster {
  PcClusterLayer layer[PC_LAYERS];
  const float* target; // of the loss
  int layers, batch, steps, loss;
  float rate, lambda;
  int signal_at, unused;
};

// One prediction of any size, for kernels over the elements of several layers. `first` is the first block of the layer.
struct PcFusedLayer {
  const float* z;
  const float* dz;    // none for no change of parents
  const float* shift; // the change of the bias, by column; none for none
  const float* r;
  const float* ref;
  const float* force; // none for zero
  float* d;
  float* v;
  float* e;
  float* g;
  float* slope;
  float precision;
  int act, count, width, first, unused;
};
struct PcFused {
  PcFusedLayer layer[PC_LAYERS];
  int layers;
  float rate;
};

// e holds what a live output's prediction has moved by, negated; the drive takes its place, and g = f' e.
struct PcDrive {
  const float* ref;
  const float* target;
  const float* slope;
  float* e;
  float* g;
  int rows, classes, loss;
  float lambda;
};

struct PcPredict {
  const float* product; // W v
  const float* bias;    // none for none
  const float* offset;  // added to the value alone; none for none
  float* z;
  float* mu;
  float* slope;
  float* value; // none where it is held
  int act, count, width, unused;
};

// dW = sign sum over samples g v^T, db = sign sum over samples g, added to what is there or in its place.
struct PcWeightLayer {
  const float* g;
  const float* v;
  float* dw; // none for none
  float* db; // none for none
  int outputs, inputs, first, add_w, add_b;
  float scale;
};
struct PcWeights {
  PcWeightLayer layer[PC_LAYERS];
  int layers, batch;
};

struct PcPart {
  float* theta;
  const float* g;
  float* m;
  float* v;
  int count, first;
  float rate, correction;
};
struct PcOptimise {
  PcPart part[PC_PARTS];
  int parts;
  float momentum, decay, beta1, beta2, epsilon;
};

struct PcMap {
  float* out;
  const float* a; // none for zeros
  const float* b;
  const float* c;
  float x, y;
  int count, operation;
};
struct PcReduce {
  const float* a;
  const float* b;
  double* out; // one number a block
  int count, unused;
};
struct PcStep {
  float* d;
  float* v;
  const float* ref;
  const float* e;
  const float* force;
  float* velocity;
  float rate, precision, momentum;
  int count;
};
struct PcCrossEntropy {
  const float* mu;
  const float* target;
  float* drive;
  double* loss; // one number a row
  int rows, classes;
};
struct PcPrimitives {
  const float* in;
  float* out;
  int count, unused;
};

// What the layers of a graph take.
struct PcLay {
  const float* in; // none for zeros
  float* out;
  int outer, length, inner, out_whole, out_start, in_whole, in_start, unused;
};
struct PcSwap {
  const float* in;
  float* out;
  int outer, a, b, inner;
};
struct PcTurn {
  const float* in;
  void* out;
  float x;
  int outer, a, b, in_row, out_row, add, unused;
};
struct PcTile {
  const float* a;
  float* out;
  float x;
  int length, inner, count;
};
struct PcSums {
  const float* a;
  const float* b; // none for ones
  float* out;
  float x;
  int outer, columns, inner;
};
struct PcPatches {
  const float* in;
  float* out;
  int images, height, width, vectors, rows, columns, window_h, window_w, stride, padding, back;
  int unused;
};
struct PcPool {
  const float* a;
  const float* d;   // none for no displacement
  const float* old; // where in its window each largest element was
  float* out;
  float* index;
  int planes, height, width, out_h, out_w, size, stride, unused;
};
// What a convolution's products become, and back. Products are [samples][height][width][channels];
// windows without pooling are of one place.
struct PcPooled {
  const float* a;     // products at the reference; pulled back, the cotangent
  const float* d;     // how far they move; none for values
  const float* bias;  // at the reference; none for none
  const float* moved; // how far that moves; none for not at all
  const float* old;   // where in its window each largest value was; pulled back, is (none for means)
  void* out;          // [samples][channels][windows]; pulled back, pixels of `row` numbers
  float* kept;        // values at the reference; none where they are found anew
  float* index;       // where in its window each largest value is
  float* slope;       // there, or of every product where there are means; none for ones
  float leak;
  int act, samples, channels, height, width, out_h, out_w, size, stride, row;
  int unused;
};
struct PcProducts {
  const float* a;
  const float* b;
  float* c;
  float x;
  int m, n, k, transpose_a, transpose_b, add, unused;
};
struct PcEmbed {
  const float* index;
  const float* in;
  float* out;
  float x;
  int places, vocabulary, width;
};
struct PcActivate {
  const float* a;
  const float* d; // none for the value itself
  float* out;
  float* slope;
  float leak;
  int act, count, unused;
};
struct PcSoftmax {
  const float* a;
  const float* d;
  const float* s;
  float* out;
  float* current;
  int rows, length, period, causal;
};
struct PcNorm {
  const float* a;
  const float* d;
  const float* gain;
  const float* bias;
  const float* old_gain; // none where parameters stay
  const float* old_bias;
  float* out;
  float* centred;
  float* normal;
  float* before;  // 1 / sigma at the reference, one number a row
  float* inverse; // and now
  float epsilon;
  int rows, length, unused;
};
