// All kernels in one unit, and a symbol that the runner names, so that a linker takes their registrations in.
#include "functions.cu"
#include "layers.cu"
#include "learn.cu"
#include "pooled.cu"
#include "primitives.cu"
#include "relax_cluster.cu"
#include "relax_gemm.cu"
#include "relax_graph.cu"
#include "relax_wgmma.cu"
#include "tensor.cu"

extern "C" {
int pcsim_kernels = 1;
}
