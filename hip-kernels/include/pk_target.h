// One kernel source, many compilers:
//   clang -x hip -nogpuinc -nogpulib    AMD code objects without ROCm
//   hipcc, hipRTC                       the same source on a ROCm machine; no HIP header is needed
//   nvcc, NVRTC                         NVIDIA
//   clang -x cuda -nogpuinc -nogpulib   NVIDIA without CUDA: PTX, which the driver compiles
//   any C++17 compiler with -DPK_EMU    the host emulator of emu/pk_emu.h
#pragma once
#include "pintle_hip_abi.h"

#if defined(PK_EMU)
#include "pk_emu.h"

#elif defined(__CUDACC__) || defined(__CUDA__)
#include "pk_cuda.h"

#else
#ifndef __device__
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#endif
#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#define PK_MFMA 1
#define PK_WAVE 64
#elif defined(__GFX11__)
#define PK_WMMA11 1
#define PK_WAVE 32
#elif defined(__GFX12__)
#define PK_WMMA12 1
#define PK_WAVE 32
#elif defined(__HIP_DEVICE_COMPILE__) || defined(__AMDGCN__)
#error "no matrix instructions are known for this target"
#else
// The host half of a hipcc compilation only parses the kernels.
#define PK_MFMA 1
#define PK_WAVE 64
#endif
#define PK_DEVICE static inline __device__ __attribute__((always_inline))
#define PK_DEVICE_MEMBER inline __device__ __attribute__((always_inline))
#define PK_KERNEL extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(PK_WAVES * PK_WAVE, PK_WAVES * PK_WAVE))) void
#define PK_REGISTER(name)
#define PK_SHARED(T, name, count) __shared__ __attribute__((aligned(16))) T name[count]
#define PK_UNROLL _Pragma("unroll")
#define PK_ROLLED _Pragma("unroll 1")

typedef uint32_t pk_u4 __attribute__((ext_vector_type(4)));
typedef uint32_t pk_u2 __attribute__((ext_vector_type(2)));
typedef float pk_f4 __attribute__((ext_vector_type(4)));

PK_DEVICE int pk_thread() { return (int)__builtin_amdgcn_workitem_id_x(); }
// Every lane of a wave has the same value; saying so keeps it, and what follows from it, in scalar registers.
PK_DEVICE int pk_wave() { return __builtin_amdgcn_readfirstlane(pk_thread() / PK_WAVE); }
PK_DEVICE int pk_block_x() { return (int)__builtin_amdgcn_workgroup_id_x(); }
PK_DEVICE int pk_block_y() { return (int)__builtin_amdgcn_workgroup_id_y(); }

// Only shared memory is handed over at our barriers. A fence of all memory would also invalidate the vector caches on
// gfx11 and gfx12.
#if __clang_major__ >= 19
#define PK_FENCE(order, scope) __builtin_amdgcn_fence(order, scope, "local")
#else
#define PK_FENCE(order, scope) __builtin_amdgcn_fence(order, scope)
#endif
PK_DEVICE void pk_sync() {
  PK_FENCE(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  PK_FENCE(__ATOMIC_ACQUIRE, "workgroup");
}
// Shared memory serves the lanes of a wave in program order; the compiler has to keep that order.
PK_DEVICE void pk_sync_wave() {
  PK_FENCE(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  PK_FENCE(__ATOMIC_ACQUIRE, "wavefront");
}
#define PK_SYNC() pk_sync()
#define PK_SYNC_WAVE() pk_sync_wave()

PK_DEVICE uint32_t pk_shuffle_xor(uint32_t v, int mask) {
  return (uint32_t)__builtin_amdgcn_ds_bpermute(((pk_thread() % PK_WAVE) ^ mask) * 4, (int)v);
}
PK_DEVICE uint32_t pk_as_u32(float v) { return __builtin_bit_cast(uint32_t, v); }
PK_DEVICE float pk_as_float(uint32_t v) { return __builtin_bit_cast(float, v); }
#if __has_builtin(__builtin_amdgcn_exp2f)
PK_DEVICE float pk_exp2(float v) { return __builtin_amdgcn_exp2f(v); }
#else
PK_DEVICE float pk_exp2(float v) { return __builtin_exp2f(v); }
#endif
PK_DEVICE float pk_rsqrt(float v) { return __builtin_amdgcn_rsqf(v); }
PK_DEVICE float pk_rcp(float v) { return __builtin_amdgcn_rcpf(v); }
PK_DEVICE float pk_round(float v) { return __builtin_rintf(v); }
PK_DEVICE float pk_max(float a, float b) { return __builtin_fmaxf(a, b); }
PK_DEVICE float pk_min(float a, float b) { return __builtin_fminf(a, b); }
PK_DEVICE float pk_half_to_float(uint16_t bits) { return (float)__builtin_bit_cast(_Float16, bits); }
PK_DEVICE uint16_t pk_float_to_half(float v) { return __builtin_bit_cast(uint16_t, (_Float16)v); }
#endif
