// Element types and the arithmetic that every kernel shares. No maths library: the same polynomials on every target,
// so that targets differ by rounding only.
#pragma once
#include "pk_target.h"

struct pk_f16 {
  static constexpr bool is_bf16 = false;
  PK_DEVICE float widen(uint16_t bits) { return pk_half_to_float(bits); }
  // Saturates: an activation past 65504 stays the largest finite number instead of turning a whole row into NaN.
  PK_DEVICE uint16_t narrow(float v) { return pk_float_to_half(pk_min(pk_max(v, -65504.0f), 65504.0f)); }
};

struct pk_bf16 {
  static constexpr bool is_bf16 = true;
  PK_DEVICE float widen(uint16_t bits) { return pk_as_float((uint32_t)bits << 16); }
  // Round to nearest, ties to even; a NaN stays a NaN.
  PK_DEVICE uint16_t narrow(float v) {
#if defined(__gfx950__)
    return __builtin_bit_cast(uint16_t, (__bf16)v);
#else
    const uint32_t u = pk_as_u32(v);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
#endif
  }
};

template <class T> PK_DEVICE void pk_unpack(const pk_u4 &raw, float (&v)[8]) {
  PK_UNROLL for (int i = 0; i < 4; i++) {
    v[2 * i] = T::widen((uint16_t)(raw[i] & 0xffffu));
    v[2 * i + 1] = T::widen((uint16_t)(raw[i] >> 16));
  }
}
template <class T> PK_DEVICE uint32_t pk_pack2(float low, float high) {
  return (uint32_t)T::narrow(low) | ((uint32_t)T::narrow(high) << 16);
}
template <class T> PK_DEVICE pk_u4 pk_pack(const float (&v)[8]) {
  pk_u4 raw = {};
  PK_UNROLL for (int i = 0; i < 4; i++) raw[i] = pk_pack2<T>(v[2 * i], v[2 * i + 1]);
  return raw;
}

PK_DEVICE int pk_lane() { return pk_thread() % PK_WAVE; }
PK_DEVICE float pk_shuffle_xor_float(float v, int mask) { return pk_as_float(pk_shuffle_xor(pk_as_u32(v), mask)); }
PK_DEVICE float pk_wave_sum(float v) {
  PK_UNROLL for (int mask = PK_WAVE / 2; mask > 0; mask /= 2) v += pk_shuffle_xor_float(v, mask);
  return v;
}
PK_DEVICE float pk_wave_max(float v) {
  PK_UNROLL for (int mask = PK_WAVE / 2; mask > 0; mask /= 2) v = pk_max(v, pk_shuffle_xor_float(v, mask));
  return v;
}

struct pk_best_of {
  float value;
  uint32_t index;
};
PK_DEVICE bool pk_precedes(float value, uint32_t index, const pk_best_of &other) {
  return value > other.value || (value == other.value && index < other.index);
}
// The largest value of the wave and, of equals, the lowest index.
PK_DEVICE pk_best_of pk_wave_best(pk_best_of best) {
  PK_UNROLL for (int mask = PK_WAVE / 2; mask > 0; mask /= 2) {
    const float value = pk_shuffle_xor_float(best.value, mask);
    const uint32_t index = pk_shuffle_xor(best.index, mask);
    if (pk_precedes(value, index, best)) best = {value, index};
  }
  return best;
}

#define PK_LOG2E 1.44269504088896341f
#define PK_LOWEST (-3.0e38f)
PK_DEVICE float pk_exp(float v) { return pk_exp2(v * PK_LOG2E); }

// Abramowitz and Stegun 7.1.26: |error| < 1.5e-7.
PK_DEVICE float pk_erf(float v) {
  const float a = v < 0.0f ? -v : v;
  const float t = pk_rcp(1.0f + 0.3275911f * a);
  const float p = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  const float y = 1.0f - p * pk_exp(-a * a);
  return v < 0.0f ? -y : y;
}
PK_DEVICE float pk_gelu(float v) { return 0.5f * v * (1.0f + pk_erf(v * 0.70710678118654752f)); }
PK_DEVICE float pk_tanh(float v) { return 1.0f - 2.0f * pk_rcp(pk_exp(2.0f * v) + 1.0f); }
PK_DEVICE float pk_sigmoid(float v) { return pk_rcp(1.0f + pk_exp(-v)); }
PK_DEVICE float pk_activate(float v, uint32_t activation) {
  if (activation == PK_GELU) return pk_gelu(v);
  if (activation == PK_TANH) return pk_tanh(v);
  return v;
}
