// NVIDIA by nvcc, NVRTC, or clang on its own: no header of CUDA is needed and no device library is called.
#pragma once

#define PK_CUDA 1
#define PK_WAVE 32
#if defined(__clang__) && !defined(__device__)
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#endif
#define PK_DEVICE static inline __device__ __attribute__((always_inline))
#define PK_DEVICE_MEMBER inline __device__ __attribute__((always_inline))
#define PK_KERNEL extern "C" __global__ __attribute__((launch_bounds(PK_WAVES * PK_WAVE))) void
#define PK_REGISTER(name)
#define PK_SHARED(T, name, count) __shared__ __attribute__((aligned(16))) T name[count]
#define PK_UNROLL _Pragma("unroll")
#define PK_ROLLED _Pragma("unroll 1")

#if defined(__clang__)
typedef uint32_t pk_u4 __attribute__((ext_vector_type(4)));
typedef uint32_t pk_u2 __attribute__((ext_vector_type(2)));
typedef float pk_f4 __attribute__((ext_vector_type(4)));

#define PK_SYNC() __syncthreads()
#define PK_SYNC_WAVE() __nvvm_bar_warp_sync(0xffffffffu)
PK_DEVICE int pk_thread() { return __nvvm_read_ptx_sreg_tid_x(); }
PK_DEVICE int pk_block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
PK_DEVICE int pk_block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
PK_DEVICE uint32_t pk_shuffle_xor(uint32_t v, int mask) {
  return (uint32_t)__nvvm_shfl_sync_bfly_i32(0xffffffffu, (int)v, mask, PK_WAVE - 1);
}
PK_DEVICE uint32_t pk_as_u32(float v) { return __builtin_bit_cast(uint32_t, v); }
PK_DEVICE float pk_as_float(uint32_t v) { return __builtin_bit_cast(float, v); }
PK_DEVICE float pk_rsqrt(float v) { return __nvvm_rsqrt_approx_f(v); }
PK_DEVICE float pk_rcp(float v) { return __nvvm_rcp_rn_f(v); }
PK_DEVICE float pk_round(float v) { return __builtin_rintf(v); }
PK_DEVICE float pk_max(float a, float b) { return __builtin_fmaxf(a, b); }
PK_DEVICE float pk_min(float a, float b) { return __builtin_fminf(a, b); }
#else
struct alignas(16) pk_u4 {
  uint32_t w[4];
  __device__ uint32_t &operator[](int i) { return w[i]; }
  __device__ const uint32_t &operator[](int i) const { return w[i]; }
};
struct alignas(8) pk_u2 {
  uint32_t w[2];
  __device__ uint32_t &operator[](int i) { return w[i]; }
  __device__ const uint32_t &operator[](int i) const { return w[i]; }
};
struct alignas(16) pk_f4 {
  float w[4];
  __device__ float &operator[](int i) { return w[i]; }
  __device__ const float &operator[](int i) const { return w[i]; }
};

#define PK_SYNC() __syncthreads()
#define PK_SYNC_WAVE() __syncwarp()
PK_DEVICE int pk_thread() { return threadIdx.x; }
PK_DEVICE int pk_block_x() { return blockIdx.x; }
PK_DEVICE int pk_block_y() { return blockIdx.y; }
PK_DEVICE uint32_t pk_shuffle_xor(uint32_t v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
PK_DEVICE uint32_t pk_as_u32(float v) { return __float_as_uint(v); }
PK_DEVICE float pk_as_float(uint32_t v) { return __uint_as_float(v); }
PK_DEVICE float pk_rsqrt(float v) { return rsqrtf(v); }
PK_DEVICE float pk_rcp(float v) { return __frcp_rn(v); }
PK_DEVICE float pk_round(float v) { return rintf(v); }
PK_DEVICE float pk_max(float a, float b) { return fmaxf(a, b); }
PK_DEVICE float pk_min(float a, float b) { return fminf(a, b); }
#endif
PK_DEVICE int pk_wave() { return pk_thread() / PK_WAVE; }
PK_DEVICE float pk_exp2(float v) {
  float power;
  asm("ex2.approx.f32 %0, %1;" : "=f"(power) : "f"(v));
  return power;
}
PK_DEVICE float pk_half_to_float(uint16_t bits) {
  float v;
  asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
  return v;
}
PK_DEVICE uint16_t pk_float_to_half(float v) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
