// Kernels in which one wave handles one row of activations, held in registers between the passes of LayerNorm.
#pragma once
#include "../include/pk_math.h"

#define PK_ROW_CHUNKS ((int)(PK_MAX_HIDDEN / 8 / PK_WAVE))

// A row as lane-strided chunks of eight elements; elements past `hidden` are zero.
struct pk_row {
  float v[PK_ROW_CHUNKS][8];
};

template <class T> PK_DEVICE void pk_row_add(pk_row &row, const void *source, uint32_t hidden) {
  PK_UNROLL for (int i = 0; i < PK_ROW_CHUNKS; i++) {
    const uint32_t chunk = pk_lane() + i * PK_WAVE;
    if (chunk * 8 < hidden) {
      float v[8];
      pk_unpack<T>(((const pk_u4 *)source)[chunk], v);
      PK_UNROLL for (int e = 0; e < 8; e++) row.v[i][e] += v[e];
    }
  }
}

template <class T> PK_DEVICE void pk_row_store(const pk_row &row, void *target, uint32_t hidden) {
  PK_UNROLL for (int i = 0; i < PK_ROW_CHUNKS; i++) {
    const uint32_t chunk = pk_lane() + i * PK_WAVE;
    if (chunk * 8 < hidden) ((pk_u4 *)target)[chunk] = pk_pack<T>(row.v[i]);
  }
}

// Two passes: the variance of large means is not lost to cancellation.
PK_DEVICE void pk_row_normalize(pk_row &row, const float *gamma, const float *beta, uint32_t hidden, float epsilon) {
  float sum = 0.0f;
  PK_UNROLL for (int i = 0; i < PK_ROW_CHUNKS; i++)
    PK_UNROLL for (int e = 0; e < 8; e++) sum += row.v[i][e];
  const float scale = 1.0f / (float)hidden, mean = pk_wave_sum(sum) * scale;
  float squares = 0.0f;
  PK_UNROLL for (int i = 0; i < PK_ROW_CHUNKS; i++)
    if ((pk_lane() + i * PK_WAVE) * 8u < hidden) {
      PK_UNROLL for (int e = 0; e < 8; e++) squares += (row.v[i][e] - mean) * (row.v[i][e] - mean);
    }
  const float inverse = pk_rsqrt(pk_wave_sum(squares) * scale + epsilon);
  PK_UNROLL for (int i = 0; i < PK_ROW_CHUNKS; i++) {
    const uint32_t chunk = pk_lane() + i * PK_WAVE;
    if (chunk * 8 < hidden) {
      PK_UNROLL for (int q = 0; q < 2; q++) {
        const pk_f4 g = ((const pk_f4 *)gamma)[2 * chunk + q];
        pk_f4 b = {};
        if (beta) { b = ((const pk_f4 *)beta)[2 * chunk + q]; }
        PK_UNROLL for (int e = 0; e < 4; e++)
          row.v[i][4 * q + e] = (row.v[i][4 * q + e] - mean) * inverse * g[e] + b[e];
      }
    }
  }
}

PK_DEVICE size_t pk_clamp_index(int32_t index, uint32_t limit) {
  return (uint32_t)index < limit ? (uint32_t)index : limit - 1;
}

template <class T> PK_DEVICE void pk_embed(const pk_embed_args &a) {
  const uint32_t t = pk_block_x() * PK_WAVES + pk_wave();
  if (t >= *a.rows) return;
  const size_t bytes = a.hidden * 2ul;
  pk_row row = {};
  pk_row_add<T>(row, (const char *)a.word + pk_clamp_index(a.ids[t], a.vocabulary) * bytes, a.hidden);
  if (a.position)
    pk_row_add<T>(row, (const char *)a.position + pk_clamp_index(a.positions[t], a.position_limit) * bytes, a.hidden);
  if (a.type) {
    const int32_t type = a.types ? a.types[t] : 0;
    pk_row_add<T>(row, (const char *)a.type + pk_clamp_index(type, a.type_limit) * bytes, a.hidden);
  }
  pk_row_normalize(row, a.gamma, a.beta, a.hidden, a.epsilon);
  pk_row_store<T>(row, (char *)a.out + t * bytes, a.hidden);
}

template <class T> PK_DEVICE void pk_norm(const pk_norm_args &a) {
  const uint32_t t = pk_block_x() * PK_WAVES + pk_wave();
  if (t >= *a.rows) return;
  const size_t at = t * (size_t)a.hidden * 2;
  pk_row row = {};
  pk_row_add<T>(row, (const char *)a.x + at, a.hidden);
  if (a.residual) pk_row_add<T>(row, (const char *)a.residual + at, a.hidden);
  if (a.sum) pk_row_store<T>(row, (char *)a.sum + at, a.hidden);
  pk_row_normalize(row, a.gamma, a.beta, a.hidden, a.epsilon);
  pk_row_store<T>(row, (char *)a.out + at, a.hidden);
}

template <class T> PK_DEVICE void pk_quantize(const pk_quantize_args &a) {
  const uint32_t t = pk_block_x() * PK_WAVES + pk_wave();
  if (t >= *a.rows) return;
  const pk_u4 *x = (const pk_u4 *)((const char *)a.x + t * (size_t)a.k * 2);
  pk_u2 *q = (pk_u2 *)(a.q + t * (size_t)a.k);
  float largest = 0.0f;
  for (uint32_t chunk = pk_lane(); chunk * 8 < a.k; chunk += PK_WAVE) {
    float v[8];
    pk_unpack<T>(x[chunk], v);
    PK_UNROLL for (int e = 0; e < 8; e++) largest = pk_max(largest, pk_max(v[e], -v[e]));
  }
  largest = pk_wave_max(largest);
  const float scale = largest > 0.0f ? largest * (1.0f / 127.0f) : 1.0f;
  const float inverse = largest > 0.0f ? 127.0f * pk_rcp(largest) : 0.0f;
  for (uint32_t chunk = pk_lane(); chunk * 8 < a.k; chunk += PK_WAVE) {
    float v[8];
    pk_unpack<T>(x[chunk], v);
    pk_u2 packed = {};
    PK_UNROLL for (int e = 0; e < 8; e++) {
      // The reciprocal is not exact: the largest element may come out a little past 127.
      const float rounded = pk_min(pk_max(pk_round(v[e] * inverse), -127.0f), 127.0f);
      packed[e / 4] |= ((uint32_t)(int)rounded & 0xffu) << (8 * (e % 4));
    }
    q[chunk] = packed;
  }
  if (pk_lane() == 0) a.scale[t] = scale;
}
