// The C interface between src/sys/marks.rs and what marked programs need of libtorch.
//
// The conventions are those of pc_tch.h.
#pragma once

#include "pc_tch.h"

#ifdef __cplusplus
extern "C" {
#endif

// The graph that one forward pass of a marked program has left, in segments: from what a mark was predicted as, or the loss, back to marks and parameters.
// Its leaves are numbered: the marks in their order, then the parameters.
typedef struct pc_tch_tape pc_tch_tape;

// `roots` are what was predicted, `marks` the leaves that took their places. A root that needs no gradient has an empty segment.
char* pc_tch_tape_new(const tensor* roots, size_t count, const tensor* marks, size_t marked, pc_tch_tape** tape);
void pc_tch_tape_free(pc_tch_tape* tape);

size_t pc_tch_tape_parameters(const pc_tch_tape* tape);
tensor pc_tch_tape_parameter(const pc_tch_tape* tape, size_t parameter);
// What tells tensors apart as long as they live.
size_t pc_tch_identity(tensor value);

// The leaves of a segment, ascending. Valid as long as the tape.
const size_t* pc_tch_tape_reach(const pc_tch_tape* tape, size_t root, size_t* count);

enum { PC_TCH_MARKS = 1, PC_TCH_PARAMETERS = 2 };

// Pulls a cotangent back through a segment. `results` has room for its leaves; those that are not among `what` get nothing, and cost nothing.
char* pc_tch_tape_pull(pc_tch_tape* tape, size_t root, tensor cotangent, int what, tensor* results);

enum { PC_TCH_NO_REDUCTION = 0, PC_TCH_SUM = 1, PC_TCH_MEAN = 2, PC_TCH_UNCLEAR = 3, PC_TCH_EITHER = 4 };

// Whether the loss is a sum or a mean over so many samples, read off the operations that made it. `why` is given out where that is unclear.
char* pc_tch_tape_reduction(pc_tch_tape* tape, size_t root, size_t samples, int* reduction, char** why);

// Adds to the `.grad` of a leaf. Takes the gradient over.
char* pc_tch_leaf_accumulate(tensor leaf, tensor gradient);

int pc_tch_grad_enabled(void);

// Watches what this thread computes: whether it draws random numbers, and which tensors that were there before are written in place.
typedef struct pc_tch_watch pc_tch_watch;
char* pc_tch_watch_new(pc_tch_watch** watch);
// Ends it. The watch can be read until it is freed.
void pc_tch_watch_end(pc_tch_watch* watch);
void pc_tch_watch_free(pc_tch_watch* watch);
int pc_tch_watch_draws(const pc_tch_watch* watch);
size_t pc_tch_watch_written(const pc_tch_watch* watch);
tensor pc_tch_watch_tensor(const pc_tch_watch* watch, size_t index);

// Remembers what a first forward pass computes, so that later passes are spared what cannot have changed: operations whose arguments are the very same
// tensors, unwritten since. While it is on, this thread's operations go through it.
typedef struct pc_tch_memo pc_tch_memo;
pc_tch_memo* pc_tch_memo_new(void);
void pc_tch_memo_free(pc_tch_memo* memo);
char* pc_tch_memo_on(pc_tch_memo* memo);
void pc_tch_memo_off(pc_tch_memo* memo);
// What this thread computes in between is not part of the program.
void pc_tch_memo_pause(int paused);
// Says that a tensor moves from pass to pass.
void pc_tch_memo_moves(tensor value);
// How many operations were spared so far.
size_t pc_tch_memo_spared(const pc_tch_memo* memo);

// Puts back what pulls have taken out of the graph for a while.
void pc_tch_tape_rest(pc_tch_tape* tape);

// The state of the default generator of the device that `like` is on.
char* pc_tch_generator_get(tensor like, tensor* state);
char* pc_tch_generator_set(tensor like, tensor state);

// Writes `source` over `target`, behind autograd's back, as an operation's own running statistics are.
char* pc_tch_restore(tensor target, tensor source);

#ifdef __cplusplus
}
#endif
