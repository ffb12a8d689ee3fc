// Softmax attention over packed sequences, 64 queries of one head a block, 16 a wave.
//
// Scores are formed transposed, keys by queries: a lane then owns whole queries (one, or two on CUDA), the running
// maximum and sum live in registers, and the probabilities are already laid out as the second operand of the product
// with the values. They never pass through shared memory.
#pragma once
#include "../include/pk_matrix.h"

#define PK_KEY_TILE 64
#define PK_VALUE_STRIDE (PK_KEY_TILE + 8)

// Rotates dimensions (d, d + 32) for eight d that begin at 8 * part, by the angles of `position`.
template <class T> PK_DEVICE void pk_rotate(pk_u4 &low, pk_u4 &high, const pk_attention_args &a, uint32_t position, int part) {
  const uint32_t at = position < a.rope_limit ? position : a.rope_limit - 1;
  const pk_f4 *angles = (const pk_f4 *)(a.rope + (size_t)at * 64 + 8 * part);
  float x[8], y[8];
  pk_unpack<T>(low, x);
  pk_unpack<T>(high, y);
  PK_UNROLL for (int q = 0; q < 2; q++) {
    const pk_f4 cosine = angles[q], sine = angles[8 + q];
    PK_UNROLL for (int e = 0; e < 4; e++) {
      const float u = x[4 * q + e], v = y[4 * q + e];
      x[4 * q + e] = u * cosine[e] - v * sine[e];
      y[4 * q + e] = v * cosine[e] + u * sine[e];
    }
  }
  low = pk_pack<T>(x);
  high = pk_pack<T>(y);
}

// The 16 queries of a wave as fragments; those past the sequence are zero.
template <class T, int D>
PK_DEVICE void pk_load_queries(pk_fragment (&queries)[D / 32], const pk_attention_args &a, const uint16_t *head, size_t stride,
                               uint32_t query, uint32_t length) {
  const int lane = pk_lane();
  const int left = (int)length - (int)query;
  PK_UNROLL for (int f = 0; f < D / 32; f++)
    queries[f] = pk_load_fragment_rows(head + (size_t)query * stride + 32 * f, left, stride, lane);
  if constexpr (D == 64)
    if (a.rope)
      PK_UNROLL for (int q = 0; q < PK_FRAGMENT; q++)
        pk_rotate<T>(queries[0].q[q], queries[1].q[q], a, query + pk_fragment_row(lane, q), pk_fragment_k(lane, q) / 8);
}

// A tile of keys and values on its way from memory to shared memory; both are asked for together. Keys past the sequence become zeros: their probability is zero, and zero times what happened to lie in
// shared memory might be NaN.
template <class T, int D> struct pk_key_stage {
  static constexpr int threads = PK_WAVES * PK_WAVE;
  // A thread's item of keys is 8 elements, and with D = 64 the 8 that are rotated with them.
  static constexpr int key_parts = D == 64 ? 4 : D / 8, pairs = D == 64 ? 2 : 1;
  static constexpr int key_steps = PK_KEY_TILE * key_parts / threads, value_steps = PK_KEY_TILE * (D / 8) / threads;
  pk_u4 keys[key_steps][pairs], values[value_steps];

  PK_DEVICE_MEMBER void load(const uint16_t *head_keys, const uint16_t *head_values, size_t stride, uint32_t key0, uint32_t length) {
    PK_UNROLL for (int i = 0; i < key_steps; i++) {
      const int at = pk_thread() + i * threads, row = at / key_parts, part = at % key_parts;
      const uint16_t *from = head_keys + (size_t)(key0 + row) * stride + 8 * part;
      PK_UNROLL for (int p = 0; p < pairs; p++) {
        keys[i][p] = pk_u4{};
        if (key0 + row < length) keys[i][p] = *(const pk_u4 *)(from + 32 * p);
      }
    }
    // Neighbouring lanes take neighbouring keys, so that the transposed stores of a wave lie side by side.
    PK_UNROLL for (int i = 0; i < value_steps; i++) {
      const int at = pk_thread() + i * threads, row = at % PK_KEY_TILE, part = at / PK_KEY_TILE;
      values[i] = pk_u4{};
      if (key0 + row < length) values[i] = *(const pk_u4 *)(head_values + (size_t)(key0 + row) * stride + 8 * part);
    }
  }

  // Keys as rows, rotated; values as columns.
  PK_DEVICE_MEMBER void store(uint16_t *to_keys, uint16_t *to_values, const pk_attention_args &a, uint32_t key0) {
    PK_UNROLL for (int i = 0; i < key_steps; i++) {
      const int at = pk_thread() + i * threads, row = at / key_parts, part = at % key_parts;
      if constexpr (D == 64)
        if (a.rope) pk_rotate<T>(keys[i][0], keys[i][1], a, key0 + row, part);
      PK_UNROLL for (int p = 0; p < pairs; p++) *(pk_u4 *)(to_keys + row * (D + 8) + 32 * p + 8 * part) = keys[i][p];
    }
    PK_UNROLL for (int i = 0; i < value_steps; i++) {
      const int at = pk_thread() + i * threads, row = at % PK_KEY_TILE, part = at / PK_KEY_TILE;
      PK_UNROLL for (int e = 0; e < 8; e++)
        to_values[(8 * part + e) * PK_VALUE_STRIDE + row] = (uint16_t)(values[i][e / 2] >> (16 * (e % 2)));
    }
  }
};

template <class T, int D> PK_DEVICE void pk_attention(const pk_attention_args &a) {
  constexpr int key_tiles = PK_KEY_TILE / 16;
  if ((uint32_t)pk_block_x() >= *a.tile_count) return;
  PK_SHARED(uint16_t, keys, PK_KEY_TILE * (D + 8));
  PK_SHARED(uint16_t, values, D * PK_VALUE_STRIDE);
  const pk_tile tile = a.tiles[pk_block_x()];
  const int lane = pk_lane();
  const size_t row = (size_t)a.heads * D, stride = 3 * row;
  const uint16_t *head = (const uint16_t *)a.qkv + tile.first * stride + (size_t)pk_block_y() * D;
  const uint32_t query0 = tile.query + 16 * pk_wave();

  uint32_t begin = 0, end = tile.length;
  if (a.window) {
    begin = tile.query > a.window ? (tile.query - a.window) / PK_KEY_TILE * PK_KEY_TILE : 0;
    const uint32_t reach = tile.query + PK_QUERY_TILE + a.window;
    end = reach < end ? reach : end;
  }
  // gfx11 keeps each operand twice and has no registers left to hold the next tile in.
  constexpr bool ahead = PK_FRAGMENT < 4;
  pk_key_stage<T, D> next;
  if (ahead) next.load(head + row, head + 2 * row, stride, begin, tile.length);
  pk_fragment queries[D / 32];
  pk_load_queries<T, D>(queries, a, head, stride, query0, tile.length);
  const float scale = a.scale * PK_LOG2E;
  pk_acc out[D / 16] = {};
  float largest[PK_ACC_COLUMNS], sum[PK_ACC_COLUMNS] = {};
  PK_UNROLL for (int c = 0; c < PK_ACC_COLUMNS; c++) largest[c] = PK_LOWEST;

  for (uint32_t key0 = begin; key0 < end; key0 += PK_KEY_TILE) {
    PK_SYNC();
    if (!ahead) next.load(head + row, head + 2 * row, stride, key0, tile.length);
    next.store(keys, values, a, key0);
    PK_SYNC();
    if (ahead && key0 + PK_KEY_TILE < end) next.load(head + row, head + 2 * row, stride, key0 + PK_KEY_TILE, tile.length);
    pk_acc scores[key_tiles] = {};
    PK_UNROLL for (int i = 0; i < key_tiles; i++)
      PK_UNROLL for (int f = 0; f < D / 32; f++)
        pk_multiply<T>(pk_load_fragment(keys + 16 * i * (D + 8) + 32 * f, D + 8, lane), queries[f], scores[i]);

    float highest[PK_ACC_COLUMNS], rescale[PK_ACC_COLUMNS];
    PK_UNROLL for (int c = 0; c < PK_ACC_COLUMNS; c++) highest[c] = PK_LOWEST;
    PK_UNROLL for (int i = 0; i < key_tiles; i++)
      PK_UNROLL for (int e = 0; e < PK_ACC; e++) {
        const uint32_t key = key0 + 16 * i + pk_acc_row(lane, e), query = query0 + pk_acc_column(lane, e);
        const uint32_t distance = key > query ? key - query : query - key;
        const bool seen = key < tile.length && (a.window == 0 || distance <= a.window);
        scores[i].v[e] = seen ? scores[i].v[e] * scale : PK_LOWEST;
        highest[pk_acc_slot(e)] = pk_max(highest[pk_acc_slot(e)], scores[i].v[e]);
      }
    PK_UNROLL for (int c = 0; c < PK_ACC_COLUMNS; c++) {
      highest[c] = pk_max(largest[c], pk_rows_max(highest[c]));
      rescale[c] = pk_exp2(largest[c] - highest[c]);
      largest[c] = highest[c];
      sum[c] *= rescale[c];
    }
    PK_UNROLL for (int i = 0; i < key_tiles; i++)
      PK_UNROLL for (int e = 0; e < PK_ACC; e++) {
        const float score = scores[i].v[e];
        // Before a query's first visible key its maximum is PK_LOWEST itself, and the difference would be 0.
        const float p = score > PK_LOWEST ? pk_exp2(score - largest[pk_acc_slot(e)]) : 0.0f;
        scores[i].v[e] = p;
        sum[pk_acc_slot(e)] += p;
      }
    PK_UNROLL for (int i = 0; i < D / 16; i++)
      PK_UNROLL for (int e = 0; e < PK_ACC; e++) out[i].v[e] *= rescale[pk_acc_slot(e)];
    PK_UNROLL for (int pair = 0; pair < key_tiles / 2; pair++) {
      const pk_fragment p = pk_acc_fragment<T>(scores[2 * pair], scores[2 * pair + 1], lane);
      PK_UNROLL for (int i = 0; i < D / 16; i++) {
        const uint16_t *from = values + 16 * i * PK_VALUE_STRIDE + 32 * pair;
        pk_multiply<T>(pk_load_fragment_acc_order(from, PK_VALUE_STRIDE, lane), p, out[i]);
      }
    }
  }

  float inverse[PK_ACC_COLUMNS];
  PK_UNROLL for (int c = 0; c < PK_ACC_COLUMNS; c++) inverse[c] = pk_rcp(pk_rows_sum(sum[c]));
  PK_UNROLL for (int e = 0; e < PK_ACC; e += PK_ACC_RUN) {
    const uint32_t query = query0 + pk_acc_column(lane, e);
    if (query >= tile.length) continue;
    uint16_t *target = (uint16_t *)a.out + (size_t)(tile.first + query) * row + (size_t)pk_block_y() * D + pk_acc_row(lane, e);
    PK_UNROLL for (int i = 0; i < D / 16; i++) {
      struct alignas(2 * PK_ACC_RUN) run {
        uint16_t v[PK_ACC_RUN];
      };
      run result;
      PK_UNROLL for (int r = 0; r < PK_ACC_RUN; r++) result.v[r] = T::narrow(out[i].v[e + r] * inverse[pk_acc_slot(e)]);
      *(run *)(target + 16 * i) = result;
    }
  }
}
