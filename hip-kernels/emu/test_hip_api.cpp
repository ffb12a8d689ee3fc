// test_hip_api CODE_OBJECT: launches, graphs and faults through the library that build_hip.sh makes.
#include <hip/hip_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "../include/pintle_hip_abi.h"
#include "hip_faults.h"

static void expect(int line, long expected, long got) {
  if (expected == got) return;
  printf("FAILED line %d: %ld, expected %ld\n", line, got, expected);
  exit(1);
}
#define IS(expected, call) expect(__LINE__, expected, (long)(call))
#define OK(call) IS(hipSuccess, call)

int main(int argc, char **argv) {
  IS(2, argc);
  std::ifstream file(argv[1], std::ios::binary);
  std::vector<char> image((std::istreambuf_iterator<char>(file)), {});
  hipDeviceProp_tR0600 properties;
  OK(hipGetDevicePropertiesR0600(&properties, 0));
  hipModule_t module;
  hipFunction_t topk;
  hipStream_t stream;
  OK(hipModuleLoadData(&module, image.data()));
  IS(hipErrorNotFound, hipModuleGetFunction(&topk, module, "pk_nothing"));
  OK(hipModuleGetFunction(&topk, module, "pk_topk"));
  OK(hipStreamCreateWithFlags(&stream, 1));
  image[48] ^= 0x40;
  hipModule_t other;
  IS(hipErrorNoBinaryForGpu, hipModuleLoadData(&other, image.data()));

  void *rows, *scores, *values, *indices;
  OK(hipMalloc(&rows, 4));
  OK(hipMalloc(&scores, 24));
  OK(hipMalloc(&values, 16));
  OK(hipMalloc(&indices, 16));
  const uint32_t two = 2;
  const float from[6] = {3, 1, 2, 9, 7, 8};
  float found[4] = {};
  IS(hipErrorInvalidValue, hipMemcpyAsync(scores, from, 8192, hipMemcpyHostToDevice, stream));
  OK(hipMemcpyAsync(rows, &two, 4, hipMemcpyHostToDevice, stream));
  OK(hipMemcpyAsync(scores, from, 24, hipMemcpyHostToDevice, stream));
  pk_topk_args arguments = {(uint32_t *)rows, (float *)scores, (float *)values, (uint32_t *)indices, 3, 2};
  void *parameters[] = {&arguments};
  const unsigned threads = PK_WAVES * (unsigned)properties.warpSize;
  IS(hipErrorInvalidValue, hipModuleLaunchKernel(topk, 1, 1, 1, 32, 1, 1, 0, stream, parameters, nullptr));
  const auto launch = [&] { return hipModuleLaunchKernel(topk, 1, 1, 1, threads, 1, 1, 0, stream, parameters, nullptr); };

  hipGraph_t graph;
  hipGraphExec_t exec;
  OK(hipStreamBeginCapture(stream, hipStreamCaptureModeThreadLocal));
  OK(launch());
  OK(hipMemcpyAsync(found, values, 16, hipMemcpyDeviceToHost, stream));
  OK(hipStreamEndCapture(stream, &graph));
  OK(hipGraphInstantiate(&exec, graph, nullptr, nullptr, 0));
  OK(hipGraphDestroy(graph));
  arguments.k = 100;  // the capture has its own copy
  hipEvent_t event;
  OK(hipEventCreateWithFlags(&event, 2));
  OK(hipGraphLaunch(exec, stream));
  OK(hipEventRecord(event, stream));
  IS(0, found[0]);  // nothing arrives before somebody asks
  IS(hipErrorNotReady, hipEventQuery(event));
  OK(hipEventQuery(event));
  IS(3, found[0]);
  IS(2, found[1]);
  IS(9, found[2]);
  IS(8, found[3]);
  arguments.k = 2;

  pintle_emu_hang(1);
  OK(launch());
  IS(hipErrorNotReady, hipStreamQuery(stream));
  IS(hipErrorNotReady, hipStreamQuery(stream));
  std::thread rescue([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pintle_emu_hang(0);
  });
  OK(hipStreamSynchronize(stream));
  rescue.join();

  pintle_emu_fail("hipModuleLaunchKernel", 1, hipErrorLaunchFailure);
  OK(launch());
  OK(launch());
  IS(hipErrorLaunchFailure, hipStreamSynchronize(stream));
  void *more;
  IS(hipErrorLaunchFailure, hipMalloc(&more, 4));
  pintle_emu_reset();
  pintle_emu_memory(5 * 4096);
  OK(hipMalloc(&more, 4));
  OK(hipFree(more));
  IS(hipErrorOutOfMemory, hipMalloc(&more, 8192));
  IS(2, pintle_emu_calls("hipMalloc"));

  for (void *memory : {rows, scores, values, indices}) OK(hipFree(memory));
  OK(hipGraphExecDestroy(exec));
  OK(hipEventDestroy(event));
  OK(hipModuleUnload(module));
  OK(hipStreamDestroy(stream));
  IS(0, pintle_emu_alive());
  printf("1 passed in 0.1s\n");
}
