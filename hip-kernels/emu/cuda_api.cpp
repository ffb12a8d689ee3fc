// libcuda.so.1 for tests: the CUDA driver's names over the emulator, for cuda-shim/hip_on_cuda.c to run against. Keeps to
// the driver's rules where HIP's differ: a thread needs a current context, which a reset makes useless until it is given
// back and retained anew; nothing is allocated with 0 bytes; PTX ends with a zero byte.
#include <cstring>
#include <mutex>

#include "../cuda-shim/driver.h"
#include "../rocm-shim/include/hip/hip_runtime.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum { INVALID_VALUE = 1, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_CONTEXT = 201 };
enum { SYNC_FLAGS = 3, NON_BLOCKING = 1 };

struct Context {
  bool usable = true;
};

std::mutex mutex;
bool initialized = false;
int retained = 0;
Context *primary = nullptr;
thread_local Context *bound = nullptr;

int ready() {
  std::lock_guard<std::mutex> lock(mutex);
  if (!initialized) return NOT_INITIALIZED;
  return bound && bound == primary && bound->usable ? 0 : INVALID_CONTEXT;
}

}  // namespace

#define NEED(condition, error) \
  if (!(condition)) return error
#define CONTEXT() \
  if (const int error = ready()) return error

EXPORT int cuInit(unsigned flags) {
  NEED(flags == 0, INVALID_VALUE);
  std::lock_guard<std::mutex> lock(mutex);
  initialized = true;
  return hipInit(0);
}
EXPORT int cuGetErrorName(int error, const char **name) {
  *name = hipGetErrorName((hipError_t)error);
  return 0;
}
EXPORT int cuDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}
EXPORT int cuDeviceGetCount(int *count) {
  NEED(initialized, NOT_INITIALIZED);
  return hipGetDeviceCount(count);
}
EXPORT int cuDeviceGet(int *device, int ordinal) {
  NEED(initialized, NOT_INITIALIZED);
  NEED(ordinal == 0, INVALID_DEVICE);
  *device = 0;
  return 0;
}
EXPORT int cuDeviceGetName(char *name, int length, int device) {
  NEED(device == 0, INVALID_DEVICE);
  return hipDeviceGetName(name, length, device);
}
EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  NEED(device == 0, INVALID_DEVICE);
  return hipDeviceTotalMem(bytes, device);
}
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
  NEED(device == 0, INVALID_DEVICE);
  switch (attribute) {
    case CU_WARP_SIZE: return hipDeviceGetAttribute(value, hipDeviceAttributeWarpSize, device);
    case CU_MULTIPROCESSORS: return hipDeviceGetAttribute(value, hipDeviceAttributeMultiprocessorCount, device);
    case CU_MAJOR: *value = 9; return 0;
    case CU_MINOR: *value = 0; return 0;
    default: return INVALID_VALUE;
  }
}
EXPORT int cuDevicePrimaryCtxRetain(void **context, int device) {
  std::lock_guard<std::mutex> lock(mutex);
  NEED(initialized, NOT_INITIALIZED);
  NEED(device == 0, INVALID_DEVICE);
  // Contexts are never freed: a stale one must be told from a new one.
  if (retained++ == 0) primary = new Context;
  *context = primary;
  return 0;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
  std::lock_guard<std::mutex> lock(mutex);
  NEED(device == 0, INVALID_DEVICE);
  NEED(retained > 0, INVALID_CONTEXT);
  if (--retained == 0) primary->usable = false;
  return 0;
}
EXPORT int cuDevicePrimaryCtxReset_v2(int device) {
  NEED(device == 0, INVALID_DEVICE);
  std::lock_guard<std::mutex> lock(mutex);
  const int error = hipDeviceReset();
  if (error == 0 && primary) primary->usable = false;
  return error;
}
EXPORT int cuCtxSetCurrent(void *context) {
  std::lock_guard<std::mutex> lock(mutex);
  NEED(initialized, NOT_INITIALIZED);
  NEED(!context || (context == primary && primary->usable), INVALID_CONTEXT);
  bound = (Context *)context;
  return 0;
}
EXPORT int cuCtxSynchronize(void) {
  CONTEXT();
  return hipDeviceSynchronize();
}

EXPORT int cuMemGetInfo_v2(size_t *left, size_t *total) {
  CONTEXT();
  return hipMemGetInfo(left, total);
}
EXPORT int cuMemAlloc_v2(cu_pointer *memory, size_t bytes) {
  CONTEXT();
  NEED(bytes > 0, INVALID_VALUE);
  return hipMalloc((void **)memory, bytes);
}
EXPORT int cuMemFree_v2(cu_pointer memory) {
  CONTEXT();
  return hipFree((void *)memory);
}
EXPORT int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
  CONTEXT();
  NEED(bytes > 0 && flags == 0, INVALID_VALUE);
  return hipHostMalloc(memory, bytes, 0);
}
EXPORT int cuMemFreeHost(void *memory) {
  CONTEXT();
  return hipHostFree(memory);
}
EXPORT int cuMemcpyAsync(cu_pointer to, cu_pointer from, size_t bytes, void *stream) {
  CONTEXT();
  return hipMemcpyAsync((void *)to, (void *)from, bytes, hipMemcpyDefault, (hipStream_t)stream);
}
EXPORT int cuMemcpyHtoDAsync_v2(cu_pointer to, const void *from, size_t bytes, void *stream) {
  CONTEXT();
  return hipMemcpyAsync((void *)to, from, bytes, hipMemcpyHostToDevice, (hipStream_t)stream);
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, cu_pointer from, size_t bytes, void *stream) {
  CONTEXT();
  return hipMemcpyAsync(to, (void *)from, bytes, hipMemcpyDeviceToHost, (hipStream_t)stream);
}
EXPORT int cuMemsetD8Async(cu_pointer memory, unsigned char value, size_t bytes, void *stream) {
  CONTEXT();
  return hipMemsetAsync((void *)memory, value, bytes, (hipStream_t)stream);
}

EXPORT int cuStreamCreate(void **stream, unsigned flags) {
  CONTEXT();
  NEED((flags & ~NON_BLOCKING) == 0, INVALID_VALUE);
  return hipStreamCreateWithFlags((hipStream_t *)stream, flags);
}
EXPORT int cuStreamDestroy_v2(void *stream) {
  CONTEXT();
  return hipStreamDestroy((hipStream_t)stream);
}
EXPORT int cuStreamQuery(void *stream) {
  CONTEXT();
  return hipStreamQuery((hipStream_t)stream);
}
EXPORT int cuStreamSynchronize(void *stream) {
  CONTEXT();
  return hipStreamSynchronize((hipStream_t)stream);
}
EXPORT int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
  CONTEXT();
  NEED(flags == 0, INVALID_VALUE);
  return hipStreamWaitEvent((hipStream_t)stream, (hipEvent_t)event, 0);
}
EXPORT int cuEventCreate(void **event, unsigned flags) {
  CONTEXT();
  NEED((flags & ~SYNC_FLAGS) == 0, INVALID_VALUE);
  return hipEventCreateWithFlags((hipEvent_t *)event, flags);
}
EXPORT int cuEventRecord(void *event, void *stream) {
  CONTEXT();
  return hipEventRecord((hipEvent_t)event, (hipStream_t)stream);
}
EXPORT int cuEventQuery(void *event) {
  CONTEXT();
  return hipEventQuery((hipEvent_t)event);
}
EXPORT int cuEventSynchronize(void *event) {
  CONTEXT();
  return hipEventSynchronize((hipEvent_t)event);
}
EXPORT int cuEventElapsedTime(float *milliseconds, void *begin, void *end) {
  CONTEXT();
  return hipEventElapsedTime(milliseconds, (hipEvent_t)begin, (hipEvent_t)end);
}
EXPORT int cuEventDestroy_v2(void *event) {
  CONTEXT();
  return hipEventDestroy((hipEvent_t)event);
}

EXPORT int cuModuleLoadData(void **module, const void *image) {
  CONTEXT();
  return hipModuleLoadData((hipModule_t *)module, image);
}
EXPORT int cuModuleUnload(void *module) {
  CONTEXT();
  return hipModuleUnload((hipModule_t)module);
}
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name) {
  CONTEXT();
  return hipModuleGetFunction((hipFunction_t *)function, (hipModule_t)module, name);
}
EXPORT int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream, void **parameters,
                          void **extra) {
  CONTEXT();
  return hipModuleLaunchKernel((hipFunction_t)function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes,
                               (hipStream_t)stream, parameters, extra);
}
EXPORT int cuStreamBeginCapture_v2(void *stream, int mode) {
  CONTEXT();
  return hipStreamBeginCapture((hipStream_t)stream, (hipStreamCaptureMode)mode);
}
EXPORT int cuStreamEndCapture(void *stream, void **graph) {
  CONTEXT();
  return hipStreamEndCapture((hipStream_t)stream, (hipGraph_t *)graph);
}
EXPORT int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) {
  CONTEXT();
  NEED(flags == 0, INVALID_VALUE);
  return hipGraphInstantiate((hipGraphExec_t *)exec, (hipGraph_t)graph, nullptr, nullptr, 0);
}
EXPORT int cuGraphLaunch(void *exec, void *stream) {
  CONTEXT();
  return hipGraphLaunch((hipGraphExec_t)exec, (hipStream_t)stream);
}
EXPORT int cuGraphExecDestroy(void *exec) {
  CONTEXT();
  return hipGraphExecDestroy((hipGraphExec_t)exec);
}
EXPORT int cuGraphDestroy(void *graph) {
  CONTEXT();
  return hipGraphDestroy((hipGraph_t)graph);
}
