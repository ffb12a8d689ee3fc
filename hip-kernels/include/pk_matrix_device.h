// The matrix instructions of each target.
#pragma once

#if !PK_CUDA
typedef _Float16 pk_half4 __attribute__((ext_vector_type(4)));
typedef _Float16 pk_half8 __attribute__((ext_vector_type(8)));
typedef _Float16 pk_half16 __attribute__((ext_vector_type(16)));
typedef short pk_short4 __attribute__((ext_vector_type(4)));
typedef short pk_short8 __attribute__((ext_vector_type(8)));
typedef short pk_short16 __attribute__((ext_vector_type(16)));
#if defined(__gfx950__)
typedef __bf16 pk_bfloat8 __attribute__((ext_vector_type(8)));
#endif
typedef float pk_f8 __attribute__((ext_vector_type(8)));
typedef int pk_i2 __attribute__((ext_vector_type(2)));
typedef int pk_i4 __attribute__((ext_vector_type(4)));
typedef int pk_i8 __attribute__((ext_vector_type(8)));
#endif

template <class T> PK_DEVICE void pk_multiply(const pk_fragment &x, const pk_fragment &y, pk_acc &acc) {
#if PK_MFMA
  pk_f4 c = __builtin_bit_cast(pk_f4, acc);
#if defined(__gfx950__)
  if constexpr (T::is_bf16)
    c = __builtin_amdgcn_mfma_f32_16x16x32_bf16(__builtin_bit_cast(pk_bfloat8, x.q[0]),
                                                __builtin_bit_cast(pk_bfloat8, y.q[0]), c, 0, 0, 0);
  else
    c = __builtin_amdgcn_mfma_f32_16x16x32_f16(__builtin_bit_cast(pk_half8, x.q[0]),
                                               __builtin_bit_cast(pk_half8, y.q[0]), c, 0, 0, 0);
#else
  PK_UNROLL for (int s = 0; s < 2; s++) {
    const pk_u2 a = {x.q[0][2 * s], x.q[0][2 * s + 1]}, b = {y.q[0][2 * s], y.q[0][2 * s + 1]};
    if constexpr (T::is_bf16)
      c = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(pk_short4, a),
                                                    __builtin_bit_cast(pk_short4, b), c, 0, 0, 0);
    else
      c = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(pk_half4, a),
                                                __builtin_bit_cast(pk_half4, b), c, 0, 0, 0);
  }
#endif
  acc = __builtin_bit_cast(pk_acc, c);
#elif PK_WMMA12
  pk_f8 c = __builtin_bit_cast(pk_f8, acc);
  PK_UNROLL for (int s = 0; s < 2; s++) {
    if constexpr (T::is_bf16)
      c = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(__builtin_bit_cast(pk_short8, x.q[s]),
                                                            __builtin_bit_cast(pk_short8, y.q[s]), c);
    else
      c = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(__builtin_bit_cast(pk_half8, x.q[s]),
                                                           __builtin_bit_cast(pk_half8, y.q[s]), c);
  }
  acc = __builtin_bit_cast(pk_acc, c);
#elif PK_WMMA11
  struct pair {
    pk_u4 q[2];
  };
  pk_f8 c = __builtin_bit_cast(pk_f8, acc);
  PK_UNROLL for (int s = 0; s < 2; s++) {
    const pair a = {{x.q[2 * s], x.q[2 * s + 1]}}, b = {{y.q[2 * s], y.q[2 * s + 1]}};
    if constexpr (T::is_bf16)
      c = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(__builtin_bit_cast(pk_short16, a),
                                                      __builtin_bit_cast(pk_short16, b), c);
    else
      c = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(__builtin_bit_cast(pk_half16, a),
                                                     __builtin_bit_cast(pk_half16, b), c);
  }
  acc = __builtin_bit_cast(pk_acc, c);
#elif PK_CUDA
  // The instruction's rows are our columns: its first operand is y, its second x, eight rows at a time.
  PK_UNROLL for (int s = 0; s < 2; s++)
    PK_UNROLL for (int half = 0; half < 2; half++) {
      float *c = acc.v + 4 * half;
      if constexpr (T::is_bf16)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(y.q[0][2 * s]), "r"(y.q[1][2 * s]), "r"(y.q[0][2 * s + 1]), "r"(y.q[1][2 * s + 1]),
              "r"(x.q[half][2 * s]), "r"(x.q[half][2 * s + 1]));
      else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(y.q[0][2 * s]), "r"(y.q[1][2 * s]), "r"(y.q[0][2 * s + 1]), "r"(y.q[1][2 * s + 1]),
              "r"(x.q[half][2 * s]), "r"(x.q[half][2 * s + 1]));
    }
#endif
}

PK_DEVICE void pk_multiply_i8(const pk_fragment_i8 &x, const pk_fragment_i8 &y, pk_acc_i32 &acc) {
#if PK_MFMA
  pk_i4 c = __builtin_bit_cast(pk_i4, acc);
#if defined(__gfx942__) || defined(__gfx950__)
  c = __builtin_amdgcn_mfma_i32_16x16x32_i8(__builtin_bit_cast(long, x.q[0]), __builtin_bit_cast(long, y.q[0]), c, 0, 0, 0);
#else
  PK_UNROLL for (int s = 0; s < 2; s++)
    c = __builtin_amdgcn_mfma_i32_16x16x16i8((int)x.q[0][s], (int)y.q[0][s], c, 0, 0, 0);
#endif
  acc = __builtin_bit_cast(pk_acc_i32, c);
#elif PK_WMMA12
  pk_i8 c = __builtin_bit_cast(pk_i8, acc);
  PK_UNROLL for (int s = 0; s < 2; s++) {
    const pk_i2 a = {(int)x.q[0][2 * s], (int)x.q[0][2 * s + 1]}, b = {(int)y.q[0][2 * s], (int)y.q[0][2 * s + 1]};
    c = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, a, true, b, c, false);
  }
  acc = __builtin_bit_cast(pk_acc_i32, c);
#elif PK_WMMA11
  pk_i8 c = __builtin_bit_cast(pk_i8, acc);
  PK_UNROLL for (int s = 0; s < 2; s++)
    c = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, __builtin_bit_cast(pk_i4, x.q[s]), true,
                                                   __builtin_bit_cast(pk_i4, y.q[s]), c, false);
  acc = __builtin_bit_cast(pk_acc_i32, c);
#elif PK_CUDA
  PK_UNROLL for (int half = 0; half < 2; half++) {
    int *c = acc.v + 4 * half;
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(y.q[0][0]), "r"(y.q[1][0]), "r"(y.q[0][1]), "r"(y.q[1][1]), "r"(x.q[half][0]), "r"(x.q[half][1]));
  }
#endif
}
