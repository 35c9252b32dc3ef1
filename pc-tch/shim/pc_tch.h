// The C interface between src/sys.rs and libtorch's autograd graph.
//
// Functions that can fail return null, or a message to be given to pc_tch_free_text. No C++ exception leaves them, and none calls Rust back.
// A `tensor` is an at::Tensor* as tch hands it out. Null stands for an undefined tensor.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void* tensor;
typedef struct pc_tch_graph pc_tch_graph;

// What an autograd node is, as far as a traversal cares: an operation, a leaf's accumulation, an operation whose cotangents hooks want to see.
enum { PC_TCH_OPERATION = 0, PC_TCH_LEAF = 1, PC_TCH_HOOKED = 2 };

// Walks the graph below the tensors and takes hold of its nodes. They are numbered in the order in which libtorch's engine would run them.
char* pc_tch_graph_new(const tensor* roots, size_t count, pc_tch_graph** graph);
void pc_tch_graph_free(pc_tch_graph* graph);

// How many graphs are held, over all threads.
size_t pc_tch_live(void);

size_t pc_tch_nodes(const pc_tch_graph* graph);
size_t pc_tch_edges(const pc_tch_graph* graph);
// Each name that a node has, once. Valid as long as the graph.
size_t pc_tch_names(const pc_tch_graph* graph);
const char* pc_tch_name(const pc_tch_graph* graph, size_t name);
// By node: its name, its kind, its slots for cotangents, and where its edges begin (one number more than nodes). By edge: a node or -1, and the slot there.
void pc_tch_describe(const pc_tch_graph* graph, size_t* names, int* kinds, size_t* slots, size_t* first, int64_t* targets, size_t* target_slots);
// How many vertices a graph of one root has, where names say which nodes only pass values on, and the longest path from the root to one, in edges.
void pc_tch_measure(pc_tch_graph* graph, const uint8_t* costless, size_t* vertices, size_t* depth);

// The node that made a tensor, and as which of its outputs; -1 where the graph does not hold it.
char* pc_tch_find(const pc_tch_graph* graph, tensor value, int64_t* node, size_t* slot);

// Pulls cotangents back through a node: `results` has room for its edges. The last pull runs hooks that must run once. With `release` it frees what the
// node saved.
char* pc_tch_pull(pc_tch_graph* graph, size_t node, const tensor* cotangents, int last, int release, tensor* results);
// One reverse sweep from a cotangent, which it takes over, at a node: pulls every operation that `pulled` (by node; null: all) allows and at which
// something arrives, and adds to `counts` those that are vertices and those that only pass on; the third is the node pulled last. What arrives elsewhere stays, to
// be taken.
char* pc_tch_sweep(pc_tch_graph* graph, size_t node, size_t slot, tensor cotangent, const uint8_t* pulled, int last, int release, size_t* counts);
// Runs the accumulation of every leaf into its `.grad`, of what the last sweep has left there.
char* pc_tch_accumulate_arrived(pc_tch_graph* graph);
// Takes what the last sweep has left at a node; null where nothing has arrived.
tensor pc_tch_arrived(pc_tch_graph* graph, size_t node, size_t slot);
// The gradients of an output of a graph that nobody else uses, for some leaves (null: not wanted). The graph is kept.
char* pc_tch_gradients(tensor output, tensor cotangent, const tensor* leaves, size_t count, tensor* results);
// Fails where evaluating the function that made this output moves running statistics.
char* pc_tch_check_function(tensor output);
// Where the default generator of a tensor's device stands: another number after a draw.
char* pc_tch_position(tensor like, uint64_t* position);
// x.grad <- gradient, which it takes over; null: none.
char* pc_tch_set_grad(tensor x, tensor gradient);
// Frees what a node saved, without a pull.
char* pc_tch_release(pc_tch_graph* graph, size_t node);
// Runs a leaf's accumulation into `.grad`. Takes the gradient over.
char* pc_tch_accumulate(pc_tch_graph* graph, size_t node, tensor gradient);

// sum <- sum + x. Either may be null or, for the sum, replaced; it is written in place only where nothing else can see it.
char* pc_tch_add(tensor* sum, tensor x);
// y <- a y + b x, in place on the same condition.
char* pc_tch_axpby(tensor* y, double a, tensor x, double b);
// sum of |x|^2, in f64.
char* pc_tch_norm_squared(tensor x, double* norm);

// Optimisers of libtorch. What the numbers are: SGD's momentum and dampening; the betas of Adam and AdamW; RMSprop's alpha and momentum. `flag` is
// nesterov, amsgrad or centered.
enum { PC_TCH_SGD = 0, PC_TCH_ADAM = 1, PC_TCH_ADAMW = 2, PC_TCH_RMSPROP = 3 };
typedef struct {
  int kind;
  int flag;
  double rate;
  double first;
  double second;
  double eps;
  double decay;
} pc_tch_optimizer_settings;
typedef struct pc_tch_optimizer pc_tch_optimizer;

char* pc_tch_optimizer_new(
    const pc_tch_optimizer_settings* settings, const tensor* parameters, size_t count, pc_tch_optimizer** optimizer);
void pc_tch_optimizer_free(pc_tch_optimizer* optimizer);
char* pc_tch_optimizer_step(pc_tch_optimizer* optimizer);
char* pc_tch_optimizer_zero_grad(pc_tch_optimizer* optimizer);
char* pc_tch_optimizer_set_rate(pc_tch_optimizer* optimizer, double rate);
// The state of one parameter: its steps, -1 where it has none yet, and up to three tensors, copies. SGD: the momentum; Adam, AdamW: first and second
// moment, largest second moment; RMSprop: the mean square, momentum, mean.
char* pc_tch_optimizer_state(pc_tch_optimizer* optimizer, size_t parameter, int64_t* step, tensor* parts);
char* pc_tch_optimizer_set_state(pc_tch_optimizer* optimizer, size_t parameter, int64_t step, const tensor* parts);

void pc_tch_free_text(char* text);

#ifdef __cplusplus
}
#endif
