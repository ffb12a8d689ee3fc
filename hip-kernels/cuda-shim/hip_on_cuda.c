/* libamdhip64's names over the CUDA driver, so that the host side written for HIP runs on an NVIDIA machine with kernels
 * that were compiled from the same source. The driver is opened at run time: the library loads without it and then says
 * hipErrorNoDevice. Error numbers of the two interfaces agree where they are used here. One device, the first. Run
 * against a driver that is played (emu/cuda_api.cpp); never on a GPU so far. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "../rocm-shim/include/hip/hip_runtime.h"
#include "driver.h"

/* What hipRuntimeGetVersion says: the least that has the functions and structs below. */
enum { HIP_VERSION_6_0 = 60000000 };

#define DECLARE(name, parameters) static int(*name) parameters;
DRIVER(DECLARE)

/* The device's primary context; another one after each reset, which the generation counts. */
static void *driver, *context;
static atomic_uint generation = 1;
static pthread_mutex_t resetting = PTHREAD_MUTEX_INITIALIZER;
/* The generation that is this thread's current context. */
static __thread unsigned current;

/* Runs once, before anything else may enter the library. */
__attribute__((constructor)) static void open_driver(void) {
  int device = 0;
  driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver) return;
#define FIND(name, parameters)                     \
  *(void **)&name = dlsym(driver, #name);          \
  if (!name) return;
  DRIVER(FIND)
  if (cuInit(0) == 0 && cuDeviceGet(&device, 0) == 0 && cuDevicePrimaryCtxRetain(&context, device) != 0) context = NULL;
}

__attribute__((destructor)) static void close_driver(void) {
  if (context) cuDevicePrimaryCtxRelease_v2(0);
  if (driver) dlclose(driver);
}

static hipError_t ready(void) {
  const unsigned now = atomic_load(&generation);
  if (!context) return hipErrorNoDevice;
  if (current == now) return hipSuccess;
  const int error = cuCtxSetCurrent(context);
  if (error == 0) current = now;
  return (hipError_t)error;
}

/* Destroys what the primary context holds. It has to be given back and asked for anew to be usable again. */
static hipError_t reset(void) {
  pthread_mutex_lock(&resetting);
  int error = cuDevicePrimaryCtxReset_v2(0);
  if (error == 0) error = cuDevicePrimaryCtxRelease_v2(0);
  if (error == 0) error = cuDevicePrimaryCtxRetain(&context, 0);
  atomic_fetch_add(&generation, 1);
  pthread_mutex_unlock(&resetting);
  return (hipError_t)error;
}

static int copy(void *to, const void *from, size_t bytes, hipMemcpyKind kind, hipStream_t stream) {
  switch (kind) {
    case hipMemcpyHostToDevice: return cuMemcpyHtoDAsync_v2((cu_pointer)to, from, bytes, stream);
    case hipMemcpyDeviceToHost: return cuMemcpyDtoHAsync_v2(to, (cu_pointer)from, bytes, stream);
    default: return cuMemcpyAsync((cu_pointer)to, (cu_pointer)from, bytes, stream);
  }
}

#define FORWARD(declaration, call)            \
  hipError_t declaration {                    \
    const hipError_t error = ready();         \
    return error ? error : (hipError_t)(call); \
  }

FORWARD(hipInit(unsigned flags), (flags, 0))
FORWARD(hipRuntimeGetVersion(int *version), (*version = HIP_VERSION_6_0, 0))
FORWARD(hipDriverGetVersion(int *version), cuDriverGetVersion(version))
FORWARD(hipGetDeviceCount(int *count), (*count = 1, 0))
FORWARD(hipSetDevice(int device), device == 0 ? 0 : hipErrorInvalidDevice)
FORWARD(hipGetDevice(int *device), (*device = 0, 0))
FORWARD(hipDeviceSynchronize(void), cuCtxSynchronize())
FORWARD(hipDeviceReset(void), reset())
FORWARD(hipDeviceGetName(char *name, int length, hipDevice_t device), cuDeviceGetName(name, length, device))
FORWARD(hipDeviceTotalMem(size_t *bytes, hipDevice_t device), cuDeviceTotalMem_v2(bytes, device))
FORWARD(hipDeviceGetAttribute(int *value, hipDeviceAttribute_t attribute, int device),
        attribute == hipDeviceAttributeWarpSize              ? cuDeviceGetAttribute(value, CU_WARP_SIZE, device)
        : attribute == hipDeviceAttributeMultiprocessorCount ? cuDeviceGetAttribute(value, CU_MULTIPROCESSORS, device)
                                                             : hipErrorInvalidValue)
FORWARD(hipMemGetInfo(size_t *left, size_t *total), cuMemGetInfo_v2(left, total))
FORWARD(hipMalloc(void **memory, size_t bytes), cuMemAlloc_v2((cu_pointer *)memory, bytes))
FORWARD(hipFree(void *memory), memory ? cuMemFree_v2((cu_pointer)memory) : 0)
FORWARD(hipHostMalloc(void **memory, size_t bytes, unsigned flags), (flags, cuMemHostAlloc(memory, bytes, 0)))
FORWARD(hipHostFree(void *memory), memory ? cuMemFreeHost(memory) : 0)
FORWARD(hipMemcpyAsync(void *to, const void *from, size_t bytes, hipMemcpyKind kind, hipStream_t stream),
        copy(to, from, bytes, kind, stream))
FORWARD(hipMemsetAsync(void *memory, int value, size_t bytes, hipStream_t stream),
        cuMemsetD8Async((cu_pointer)memory, (unsigned char)value, bytes, stream))
FORWARD(hipStreamCreate(hipStream_t *stream), cuStreamCreate((void **)stream, 0))
FORWARD(hipStreamCreateWithFlags(hipStream_t *stream, unsigned flags), cuStreamCreate((void **)stream, flags))
FORWARD(hipStreamDestroy(hipStream_t stream), cuStreamDestroy_v2(stream))
FORWARD(hipStreamQuery(hipStream_t stream), cuStreamQuery(stream))
FORWARD(hipStreamSynchronize(hipStream_t stream), cuStreamSynchronize(stream))
FORWARD(hipStreamWaitEvent(hipStream_t stream, hipEvent_t event, unsigned flags), cuStreamWaitEvent(stream, event, flags))
/* hipEventDisableTiming and CU_EVENT_DISABLE_TIMING are both 2; other flags mean nothing to CUDA. */
FORWARD(hipEventCreateWithFlags(hipEvent_t *event, unsigned flags), cuEventCreate((void **)event, flags & 2))
FORWARD(hipEventRecord(hipEvent_t event, hipStream_t stream), cuEventRecord(event, stream))
FORWARD(hipEventQuery(hipEvent_t event), cuEventQuery(event))
FORWARD(hipEventSynchronize(hipEvent_t event), cuEventSynchronize(event))
FORWARD(hipEventElapsedTime(float *milliseconds, hipEvent_t begin, hipEvent_t end),
        cuEventElapsedTime(milliseconds, begin, end))
FORWARD(hipEventDestroy(hipEvent_t event), cuEventDestroy_v2(event))
FORWARD(hipModuleLoadData(hipModule_t *module, const void *image), cuModuleLoadData((void **)module, image))
FORWARD(hipModuleUnload(hipModule_t module), cuModuleUnload(module))
FORWARD(hipModuleGetFunction(hipFunction_t *function, hipModule_t module, const char *name),
        cuModuleGetFunction((void **)function, module, name))
FORWARD(hipModuleLaunchKernel(hipFunction_t function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                              unsigned bz, unsigned shared_bytes, hipStream_t stream, void **parameters, void **extra),
        cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared_bytes, stream, parameters, extra))
FORWARD(hipStreamBeginCapture(hipStream_t stream, hipStreamCaptureMode mode), cuStreamBeginCapture_v2(stream, (int)mode))
FORWARD(hipStreamEndCapture(hipStream_t stream, hipGraph_t *graph), cuStreamEndCapture(stream, (void **)graph))
FORWARD(hipGraphInstantiate(hipGraphExec_t *exec, hipGraph_t graph, hipGraphNode_t *node, char *log, size_t bytes),
        ((void)node, (void)log, (void)bytes, cuGraphInstantiateWithFlags((void **)exec, graph, 0)))
FORWARD(hipGraphLaunch(hipGraphExec_t exec, hipStream_t stream), cuGraphLaunch(exec, stream))
FORWARD(hipGraphExecDestroy(hipGraphExec_t exec), cuGraphExecDestroy(exec))
FORWARD(hipGraphDestroy(hipGraph_t graph), cuGraphDestroy(graph))

/* The architecture is named as nvcc names it, "sm_90", so that a host that looks for a code object finds its cubin. */
hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600 *properties, int device) {
  int major = 0, minor = 0;
  hipError_t error = ready();
  if (error) return error;
  memset(properties, 0, sizeof *properties);
  error = (hipError_t)cuDeviceGetAttribute(&major, CU_MAJOR, device);
  if (!error) error = (hipError_t)cuDeviceGetAttribute(&minor, CU_MINOR, device);
  if (!error) error = (hipError_t)cuDeviceGetAttribute(&properties->warpSize, CU_WARP_SIZE, device);
  if (!error) error = (hipError_t)cuDeviceGetName(properties->name, sizeof properties->name, device);
  if (!error) error = (hipError_t)cuDeviceTotalMem_v2(&properties->totalGlobalMem, device);
  snprintf(properties->gcnArchName, sizeof properties->gcnArchName, "sm_%d%d", major, minor);
  return error;
}

hipError_t hipMemcpy(void *to, const void *from, size_t bytes, hipMemcpyKind kind) {
  const hipError_t error = hipMemcpyAsync(to, from, bytes, kind, NULL);
  return error ? error : hipStreamSynchronize(NULL);
}
hipError_t hipMemset(void *memory, int value, size_t bytes) {
  const hipError_t error = hipMemsetAsync(memory, value, bytes, NULL);
  return error ? error : hipStreamSynchronize(NULL);
}
hipError_t hipGetLastError(void) { return hipSuccess; }
const char *hipGetErrorName(hipError_t error) {
  const char *name = NULL;
  if (error == hipSuccess) return "hipSuccess";
  if (error == hipErrorNoDevice) return "hipErrorNoDevice";
  return context && cuGetErrorName((int)error, &name) == 0 ? name : NULL;
}
const char *hipGetErrorString(hipError_t error) { return hipGetErrorName(error); }
