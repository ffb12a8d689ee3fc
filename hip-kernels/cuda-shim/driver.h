/* The functions of libcuda that hip_on_cuda.c calls: name, parameters. check.cpp compares them with NVIDIA's header. */
#pragma once
#include <stddef.h>

typedef unsigned long long cu_pointer;

#define DRIVER(X) \
  X(cuInit, (unsigned)) \
  X(cuGetErrorName, (int, const char **)) \
  X(cuDriverGetVersion, (int *)) \
  X(cuDeviceGetCount, (int *)) \
  X(cuDeviceGet, (int *, int)) \
  X(cuDeviceGetName, (char *, int, int)) \
  X(cuDeviceTotalMem_v2, (size_t *, int)) \
  X(cuDeviceGetAttribute, (int *, int, int)) \
  X(cuDevicePrimaryCtxRetain, (void **, int)) \
  X(cuDevicePrimaryCtxRelease_v2, (int)) \
  X(cuDevicePrimaryCtxReset_v2, (int)) \
  X(cuCtxSetCurrent, (void *)) \
  X(cuCtxSynchronize, (void)) \
  X(cuMemGetInfo_v2, (size_t *, size_t *)) \
  X(cuMemAlloc_v2, (cu_pointer *, size_t)) \
  X(cuMemFree_v2, (cu_pointer)) \
  X(cuMemHostAlloc, (void **, size_t, unsigned)) \
  X(cuMemFreeHost, (void *)) \
  X(cuMemcpyAsync, (cu_pointer, cu_pointer, size_t, void *)) \
  X(cuMemcpyHtoDAsync_v2, (cu_pointer, const void *, size_t, void *)) \
  X(cuMemcpyDtoHAsync_v2, (void *, cu_pointer, size_t, void *)) \
  X(cuMemsetD8Async, (cu_pointer, unsigned char, size_t, void *)) \
  X(cuStreamCreate, (void **, unsigned)) \
  X(cuStreamDestroy_v2, (void *)) \
  X(cuStreamQuery, (void *)) \
  X(cuStreamSynchronize, (void *)) \
  X(cuStreamWaitEvent, (void *, void *, unsigned)) \
  X(cuEventCreate, (void **, unsigned)) \
  X(cuEventRecord, (void *, void *)) \
  X(cuEventQuery, (void *)) \
  X(cuEventSynchronize, (void *)) \
  X(cuEventElapsedTime, (float *, void *, void *)) \
  X(cuEventDestroy_v2, (void *)) \
  X(cuModuleLoadData, (void **, const void *)) \
  X(cuModuleUnload, (void *)) \
  X(cuModuleGetFunction, (void **, void *, const char *)) \
  X(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **)) \
  X(cuStreamBeginCapture_v2, (void *, int)) \
  X(cuStreamEndCapture, (void *, void **)) \
  X(cuGraphInstantiateWithFlags, (void **, void *, unsigned long long)) \
  X(cuGraphLaunch, (void *, void *)) \
  X(cuGraphExecDestroy, (void *)) \
  X(cuGraphDestroy, (void *))

enum {
  CU_WARP_SIZE = 10,
  CU_MULTIPROCESSORS = 16,
  CU_MAJOR = 75,
  CU_MINOR = 76,
};
