// Compiled against NVIDIA's header, where there is one: driver.h says of each function what that says.
#include <array>
#include <cstdlib>
#include <cuda.h>

namespace shim {
#include "driver.h"
}

template <class> struct Signature;
template <class R, class... A> struct Signature<R (*)(A...)> {
  static constexpr std::array<size_t, sizeof...(A) + 1> sizes = {sizeof(R), sizeof(A)...};
};

using shim::cu_pointer;
#define SAME(name, parameters)                                                               \
  static_assert(Signature<decltype(&::name)>::sizes.size() == Signature<int(*) parameters>::sizes.size(), #name); \
  static_assert(Signature<decltype(&::name)>::sizes == Signature<int(*) parameters>::sizes, #name);
DRIVER(SAME)

static_assert(shim::CU_WARP_SIZE == CU_DEVICE_ATTRIBUTE_WARP_SIZE);
static_assert(shim::CU_MULTIPROCESSORS == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(shim::CU_MAJOR == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(shim::CU_MINOR == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(CU_EVENT_DISABLE_TIMING == 2 && CU_STREAM_NON_BLOCKING == 1 && CU_STREAM_CAPTURE_MODE_THREAD_LOCAL == 1);
// Error numbers that the runtime tells apart.
static_assert(CUDA_ERROR_INVALID_VALUE == 1 && CUDA_ERROR_OUT_OF_MEMORY == 2 && CUDA_ERROR_NO_DEVICE == 100);
static_assert(CUDA_ERROR_NO_BINARY_FOR_GPU == 209 && CUDA_ERROR_NOT_READY == 600 && CUDA_ERROR_ILLEGAL_ADDRESS == 700);
static_assert(CUDA_ERROR_LAUNCH_TIMEOUT == 702 && CUDA_ERROR_ASSERT == 710 && CUDA_ERROR_LAUNCH_FAILED == 719);
static_assert(CUDA_ERROR_NOT_SUPPORTED == 801 && CUDA_ERROR_DEINITIALIZED == 4 && CUDA_ERROR_ECC_UNCORRECTABLE == 214);
