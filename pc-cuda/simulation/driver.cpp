// A stand-in for the CUDA driver, NVRTC, cuBLASLt and cuBLAS: the calls that pc-cuda makes, on the CPU, with kernels run by the host layer. It minds what the real
// ones mind: capture, attributes of large launches, what belongs to which module. Built by a test as `libcuda.so`, `libnvrtc.so`, `libcublasLt.so` and `libcublas.so`.
//
// PC_STANDIN_LOG: a file that gets a line for each compilation, recording, replay and call of several products. PC_STANDIN_LIMIT: bytes of memory. PC_STANDIN_LOST: launches until
// the device is lost. PC_STANDIN_DEVICES: how many devices there are (1).
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

typedef uint32_t u32;
typedef uint64_t u64;
extern "C" int pcsim_launch(const char*, u32, u32, u32, u32, u32, unsigned long long, const void*, size_t, char*, size_t);
extern "C" size_t pcsim_size(const char*);

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NOT_FOUND = 500, LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900 };

static void note(const char* word) {
  const char* path = getenv("PC_STANDIN_LOG");
  FILE* file = path ? fopen(path, "a") : nullptr;
  if (!file) return;
  fprintf(file, "%s\n", word);
  fclose(file);
}
static u64 setting(const char* name, u64 otherwise) { return getenv(name) ? strtoull(getenv(name), nullptr, 10) : otherwise; }

struct Module {
  std::string source;
};
struct Function {
  std::string name;
  int shared = 48 << 10;
  bool large_clusters = false;
};
typedef std::vector<std::function<int()>> Graph;
struct Stream {
  Graph* capture = nullptr;
};
struct Attribute {
  int id;
  char pad[4];
  union {
    char room[64];
    u32 cluster[3];
  };
};
struct Config {
  u32 grid[3], block[3], shared;
  Stream* stream;
  Attribute* attributes;
  u32 count;
};
typedef std::chrono::steady_clock::time_point Event;

static std::map<u64, size_t> memory;
static u64 launches;
static bool lost;

// Runs work, or records it. A lost device does nothing any more.
static int run(Stream* stream, std::function<int()> work) {
  if (lost) return LAUNCH_FAILED;
  if (!stream->capture) return work();
  stream->capture->push_back(work);
  return 0;
}
static int size_of(const Config* c) {
  for (u32 i = 0; i < c->count; i++)
    if (c->attributes[i].id == 4) return (int)c->attributes[i].cluster[0];
  return 1;
}

extern "C" {
int cuInit(u32) { return setting("PC_STANDIN_DEVICES", 1) ? 0 : NO_DEVICE; }
int cuDriverGetVersion(int* v) { return *v = 13000, 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal < (int)setting("PC_STANDIN_DEVICES", 1) ? 0 : INVALID_DEVICE; }
int cuDeviceGetName(char* name, int room, int) { return snprintf(name, (size_t)room, "stand-in"), 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
  case 16: *value = 132; return 0;
  case 75: *value = 9; return 0;
  case 76: *value = 0; return 0;
  case 97: *value = 227 << 10; return 0;
  }
  return INVALID_VALUE;
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = (void*)1, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return memory.empty() ? 0 : INVALID_VALUE; }
int cuCtxSetCurrent(void*) { return 0; }
int cuDeviceGetDefaultMemPool(void** pool, int) { return *pool = (void*)1, 0; }
int cuMemPoolSetAttribute(void*, int, void*) { return 0; }
int cuGetErrorString(int error, const char** text) {
  *text = error == OUT_OF_MEMORY ? "out of memory" : error == NO_DEVICE ? "no CUDA-capable device is detected" : error == INVALID_DEVICE ? "invalid device ordinal" : error == LAUNCH_FAILED ? "unspecified launch failure" : "an error of the stand-in";
  return 0;
}
int cuGetErrorName(int, const char** text) { return *text = "CUDA_ERROR", 0; }

int cuStreamCreate(Stream** stream, u32) { return *stream = new Stream, 0; }
int cuStreamDestroy_v2(Stream* stream) { return delete stream, 0; }
int cuStreamSynchronize(Stream* stream) { return stream->capture ? CAPTURE_UNSUPPORTED : lost ? LAUNCH_FAILED : 0; }
int cuStreamBeginCapture_v2(Stream* stream, int) {
  if (stream->capture) return INVALID_VALUE;
  note("recording");
  stream->capture = new Graph;
  return 0;
}
int cuStreamEndCapture(Stream* stream, Graph** graph) {
  if (!stream->capture) return INVALID_VALUE;
  *graph = stream->capture;
  stream->capture = nullptr;
  return 0;
}
int cuGraphInstantiateWithFlags(Graph** runnable, Graph* graph, unsigned long long) { return *runnable = new Graph(*graph), 0; }
int cuGraphDestroy(Graph* graph) { return delete graph, 0; }
int cuGraphExecDestroy(Graph* graph) { return delete graph, 0; }
int cuGraphLaunch(Graph* graph, Stream* stream) {
  note("replay");
  for (auto& work : *graph)
    if (int error = run(stream, work)) return error;
  return 0;
}
int cuEventCreate(Event** event, u32) { return *event = new Event, 0; }
int cuEventRecord(Event* event, Stream*) { return *event = std::chrono::steady_clock::now(), lost ? LAUNCH_FAILED : 0; }
int cuEventSynchronize(Event*) { return lost ? LAUNCH_FAILED : 0; }
int cuEventElapsedTime_v2(float* ms, Event* a, Event* b) { return *ms = std::chrono::duration<float, std::milli>(*b - *a).count(), 0; }
int cuEventDestroy_v2(Event* event) { return delete event, 0; }

// Memory is that of the host, and NaNs until it is written.
int cuMemAllocAsync(u64* address, size_t bytes, Stream* stream) {
  if (stream->capture) return CAPTURE_UNSUPPORTED;
  if (lost) return LAUNCH_FAILED;
  size_t held = bytes;
  for (auto& block : memory) held += block.second;
  void* room = nullptr;
  if (!bytes || held > setting("PC_STANDIN_LIMIT", ~0ull) || posix_memalign(&room, 256, bytes)) return OUT_OF_MEMORY;
  memset(room, 0xff, bytes);
  memory[*address = (u64)room] = bytes;
  return 0;
}
int cuMemFreeAsync(u64 address, Stream* stream) {
  if (stream->capture || !memory.erase(address)) return INVALID_VALUE;
  free((void*)address);
  return 0;
}
static int copy(u64 to, u64 from, size_t bytes, Stream* stream) {
  if (stream->capture) return CAPTURE_UNSUPPORTED;
  if (lost) return LAUNCH_FAILED;
  memmove((void*)to, (const void*)from, bytes);
  return 0;
}
int cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, Stream* stream) { return copy(to, (u64)from, bytes, stream); }
int cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, Stream* stream) { return copy((u64)to, from, bytes, stream); }
int cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, Stream* stream) {
  return run(stream, [=]() { return memmove((void*)to, (const void*)from, bytes), 0; });
}

// "Machine code" is the source that the stand-in for the compiler was given.
int cuModuleLoadData(Module** module, const void* code) {
  if (memcmp(code, "stand-in\n", 9)) return INVALID_VALUE;
  *module = new Module{(const char*)code};
  return 0;
}
int cuModuleUnload(Module* module) { return delete module, 0; }
int cuModuleGetFunction(Function** function, Module* module, const char* name) {
  auto has = [&](const char* macro, const std::string& word) { return module->source.find(macro + word + ",") != std::string::npos; };
  std::string word = name, end = "_many";
  bool many = word.size() > end.size() && word.substr(word.size() - end.size()) == end;
  std::string one = many ? word.substr(0, word.size() - end.size()) : word;
  if (!has("PC_KERNEL(", word) && !has("PC_KERNEL_OF(", word) && !has("PC_KERNEL_MANY(", one)) return NOT_FOUND;
  static std::map<std::string, Function> all;
  *function = &(all[name] = Function{name});
  return 0;
}
int cuFuncSetAttribute(Function* function, int attribute, int value) {
  if (attribute == 8) function->shared = value;
  else if (attribute == 14) function->large_clusters = value != 0;
  else return INVALID_VALUE;
  return 0;
}
int cuOccupancyMaxActiveClusters(int* count, Function*, const Config* config) { return *count = size_of(config) > 8 ? 0 : 132 / size_of(config), 0; }
int cuLaunchKernelEx(const Config* config, Function* function, void** params, void**) {
  int cluster = size_of(config);
  if ((int)config->shared > function->shared || cluster > 16 || (cluster > 8 && !function->large_clusters) || config->grid[0] % (u32)cluster) return INVALID_VALUE;
  const u64* first = (const u64*)params[0];
  size_t size = pcsim_size(function->name.c_str());
  std::vector<u64> held((size + 7) / 8);
  memcpy(held.data(), first, size);
  Config c = *config;
  std::string name = function->name;
  return run(config->stream, [=]() {
    if (launches++ >= setting("PC_STANDIN_LOST", ~0ull)) lost = true;
    if (lost) return (int)LAUNCH_FAILED;
    char message[512];
    if (!pcsim_launch(name.c_str(), c.grid[0], c.grid[1], c.block[0], (u32)cluster, c.shared, 0, held.data(), size, message, sizeof message)) return 0;
    fprintf(stderr, "stand-in: %s: %s\n", name.c_str(), message);
    return (int)LAUNCH_FAILED;
  });
}

// NVRTC.
int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, 0; }
int nvrtcCreateProgram(std::string** program, const char* source, const char*, int, const char**, const char**) {
  *program = new std::string(std::string("stand-in\n") + source);
  return 0;
}
int nvrtcDestroyProgram(std::string** program) { return delete *program, 0; }
int nvrtcCompileProgram(std::string*, int count, const char** options) {
  for (int i = 0; i < count; i++)
    if (!strcmp(options[i], "--gpu-architecture=sm_90a")) return note("compilation"), 0;
  return 6;
}
int nvrtcGetProgramLogSize(std::string*, size_t* size) { return *size = 1, 0; }
int nvrtcGetProgramLog(std::string*, char* log) { return *log = 0, 0; }
int nvrtcGetCUBINSize(std::string* program, size_t* size) { return *size = program->size() + 1, 0; }
int nvrtcGetCUBIN(std::string* program, char* code) { return memcpy(code, program->c_str(), program->size() + 1), 0; }

// cuBLASLt: column-major products of f32.
// Of f32 numbers (kind 0) or bf16 ones (14).
struct Matrix {
  int kind;
  u64 rows, columns;
  int64_t stride;
};
struct Product {
  int compute, transposed[2];
};
int cublasLtCreate(void** handle) { return *handle = (void*)1, 0; }
int cublasLtDestroy(void*) { return 0; }
int cublasLtMatmulDescCreate(Product** product, int compute, int) { return *product = new Product{compute, {0, 0}}, 0; }
int cublasLtMatmulDescDestroy(Product* product) { return delete product, 0; }
int cublasLtMatmulDescSetAttribute(Product* product, int attribute, const void* value, size_t) {
  if (attribute != 3 && attribute != 4) return 7;
  memcpy(&product->transposed[attribute - 3], value, sizeof(int));
  return 0;
}
int cublasLtMatrixLayoutCreate(Matrix** matrix, int kind, u64 rows, u64 columns, int64_t stride) {
  if (kind != 0 && kind != 14) return 7;
  return *matrix = new Matrix{kind, rows, columns, stride}, 0;
}
int cublasLtMatrixLayoutDestroy(Matrix* matrix) { return delete matrix, 0; }
int cublasLtMatmulPreferenceCreate(int** preference) { return *preference = new int, 0; }
int cublasLtMatmulPreferenceSetAttribute(int*, int, const void*, size_t) { return 0; }
int cublasLtMatmulPreferenceDestroy(int* preference) { return delete preference, 0; }
int cublasLtMatmulAlgoGetHeuristic(void*, Product*, Matrix*, Matrix*, Matrix*, Matrix*, int*, int, void*, int* found) { return *found = 1, 0; }
static int multiply(Product p, float x, const float* a, Matrix ma, const float* b, Matrix mb, float y, float* d, Matrix md, Stream* stream) {
  u64 inner = p.transposed[0] ? ma.rows : ma.columns;
  bool fits = md.rows == (p.transposed[0] ? ma.columns : ma.rows) && md.columns == (p.transposed[1] ? mb.rows : mb.columns) &&
              inner == (p.transposed[1] ? mb.columns : mb.rows);
  if (!fits) return 7;
  return run(stream, [=]() {
    auto number = [=](float value) {
      u32 bits;
      memcpy(&bits, &value, 4);
      bool finite = (bits & 0x7f800000u) != 0x7f800000u;
      if (p.compute == 77 && finite) bits = (bits + 0x1000u) & ~0x1fffu;
      if (p.compute == 75 && finite) bits = (bits + 0x7fffu + (bits >> 16 & 1)) & ~0xffffu;
      memcpy(&value, &bits, 4);
      return value;
    };
    auto operand = [=](const float* from, const Matrix& m, u64 place) {
      if (m.kind == 0) return number(from[place]);
      u32 bits = (u32)((const unsigned short*)from)[place] << 16;
      float value;
      memcpy(&value, &bits, 4);
      return value;
    };
    auto at = [](const Matrix& m, bool transposed, u64 i, u64 j) { return transposed ? j + i * (u64)m.stride : i + j * (u64)m.stride; };
    for (u64 j = 0; j < md.columns; j++)
      for (u64 i = 0; i < md.rows; i++) {
        float sum = 0.f;
        for (u64 k = 0; k < inner; k++) sum += operand(a, ma, at(ma, p.transposed[0], i, k)) * operand(b, mb, at(mb, p.transposed[1], k, j));
        u64 place = i + j * (u64)md.stride;
        d[place] = x * sum + (y != 0.f ? y * d[place] : 0.f);
      }
    return 0;
  });
}
int cublasLtMatmul(void*, Product* product, const float* alpha, const float* a, Matrix* la, const float* b, Matrix* lb, const float* beta, const float* c, Matrix*, float* d, Matrix* ld, const void*,
                   void*, size_t, Stream* stream) {
  if (c != d) return 7;
  return multiply(*product, *alpha, a, *la, b, *lb, *beta, d, *ld, stream);
}

// cuBLAS: products whose addresses lie in lists on the device.
struct Handle {
  Stream* stream = nullptr;
  bool workspace = false;
};
int cublasCreate_v2(Handle** handle) { return *handle = new Handle, 0; }
int cublasDestroy_v2(Handle* handle) { return delete handle, 0; }
int cublasSetStream_v2(Handle* handle, Stream* stream) { return handle->stream = stream, handle->workspace = false, 0; }
int cublasSetWorkspace_v2(Handle* handle, void* room, size_t) { return handle->workspace = room != nullptr, 0; }
int cublasGemmBatchedEx(Handle* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* const* a, int kind_a, int lda, const float* const* b, int kind_b, int ldb, const float* beta,
                        float* const* c, int kind_c, int ldc, int count, int compute, int) {
  if (!handle->stream || !handle->workspace || kind_c != 0 || count < 1) return 7;
  note("products");
  Product product{compute, {ta, tb}};
  auto matrix = [](int kind, bool turned, int rows, int columns, int stride) {
    return Matrix{kind, (u64)(turned ? columns : rows), (u64)(turned ? rows : columns), stride};
  };
  Matrix ma = matrix(kind_a, ta != 0, m, k, lda), mb = matrix(kind_b, tb != 0, k, n, ldb), mc = matrix(kind_c, false, m, n, ldc);
  float x = *alpha, y = *beta;
  // The lists are read when the products run.
  return run(handle->stream, [=]() {
    Stream direct;
    for (int i = count - 1; i >= 0; i--)
      if (int error = multiply(product, x, a[i], ma, b[i], mb, y, c[i], mc, &direct)) return error;
    return 0;
  });
}
}
