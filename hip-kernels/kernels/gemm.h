// out = activation(a . w^T + bias) + residual.
//
// Products are formed as w . a^T: an accumulator's rows are then output columns, so that a lane's neighbouring elements
// are neighbours in memory.
#pragma once
#include "../include/pk_matrix.h"

#define PK_TILE_STRIDE 40  // elements of a staged row of 32: 80 bytes, so that eight rows fall into distinct banks

// What follows the sum. Scales are null unless the operands were int8.
struct pk_epilogue {
  const float *bias;
  const uint16_t *residual;
  uint16_t *out;
  const float *a_scale;
  const float *w_scale;
  uint32_t rows;
  uint32_t n;
  uint32_t activation;
};

// RUN neighbouring output columns of one row. `weight` is the row of w behind the first of them; with PK_GEGLU `sum` are
// gates and `up` the sums of the rows 16 further on.
template <class T, int RUN>
PK_DEVICE void pk_finish(const pk_epilogue &to, float (&sum)[RUN], float (&up)[RUN], uint32_t row, uint32_t weight) {
  const bool gated = to.activation == PK_GEGLU;
  const float a_scale = to.a_scale ? to.a_scale[row] : 1.0f;
  PK_UNROLL for (int i = 0; i < RUN; i++) {
    if (to.w_scale) sum[i] *= a_scale * to.w_scale[weight + i];
    if (to.bias) sum[i] += to.bias[weight + i];
  }
  if (gated || to.activation == PK_GELU) {
    PK_UNROLL for (int i = 0; i < RUN; i++) sum[i] = pk_gelu(sum[i]);
  } else if (to.activation == PK_TANH) {
    PK_UNROLL for (int i = 0; i < RUN; i++) sum[i] = pk_tanh(sum[i]);
  }
  if (gated) {
    PK_UNROLL for (int i = 0; i < RUN; i++) {
      if (to.w_scale) up[i] *= a_scale * to.w_scale[weight + 16 + i];
      if (to.bias) up[i] += to.bias[weight + 16 + i];
      sum[i] *= up[i];
    }
  }
  const size_t columns = gated ? to.n / 2 : to.n, column = gated ? weight / 32 * 16 + weight % 32 : weight;
  const size_t at = row * columns + column;
  struct alignas(2 * RUN) run {
    uint32_t v[RUN / 2];
  };
  if (to.residual) {
    const run addend = *(const run *)(to.residual + at);
    PK_UNROLL for (int i = 0; i < RUN; i++) sum[i] += T::widen((uint16_t)(addend.v[i / 2] >> (16 * (i % 2))));
  }
  run result;
  PK_UNROLL for (int i = 0; i < RUN / 2; i++) result.v[i] = pk_pack2<T>(sum[2 * i], sum[2 * i + 1]);
  *(run *)(to.out + at) = result;
}

// A wave's slab of sums: 16 rows of a against WIDTH rows of w, four floats of padding after each row.
template <int WIDTH> PK_DEVICE void pk_slab_put(float *slab, const pk_acc &acc, int tile) {
  const int lane = pk_lane();
  PK_UNROLL for (int e = 0; e < PK_ACC; e++)
    slab[pk_acc_column(lane, e) * (WIDTH + 4) + 16 * tile + pk_acc_row(lane, e)] = acc.v[e];
}

// Writes a slab out in rows, 16 bytes a lane: one loop in place of an epilogue for each register.
template <class T, int WIDTH>
PK_DEVICE void pk_slab_finish(const pk_epilogue &to, const float *slab, uint32_t row0, uint32_t weight0) {
  const bool gated = to.activation == PK_GEGLU;
  constexpr int chunks = WIDTH / 8;
  PK_ROLLED for (int at = pk_lane(); at < 16 * chunks; at += PK_WAVE) {
    const uint32_t row = at / chunks, weight = at % chunks * 8;
    if (row0 + row >= to.rows || weight0 + weight >= to.n || (gated && weight % 32 >= 16)) continue;
    const float *from = slab + row * (WIDTH + 4) + weight;
    float sum[8], up[8] = {};
    PK_UNROLL for (int i = 0; i < 8; i++) sum[i] = from[i];
    if (gated) PK_UNROLL for (int i = 0; i < 8; i++) up[i] = from[16 + i];
    pk_finish<T, 8>(to, sum, up, row0 + row, weight0 + weight);
  }
}

// Copies `ROWS` rows of 32 elements between device memory, registers and shared memory, 16 bytes a thread and step.
template <int ROWS> struct pk_stage {
  static constexpr int steps = ROWS * 4 / (int)(PK_WAVES * PK_WAVE);
  pk_u4 held[steps];
  PK_DEVICE_MEMBER void load(const uint16_t *source, uint32_t row0, uint32_t rows, uint32_t stride, uint32_t k0) {
    PK_UNROLL for (int i = 0; i < steps; i++) {
      const uint32_t at = pk_thread() + i * PK_WAVES * PK_WAVE, row = row0 + at / 4;
      held[i] = pk_u4{};
      if (row < rows) held[i] = *(const pk_u4 *)(source + (size_t)row * stride + k0 + at % 4 * 8);
    }
  }
  PK_DEVICE_MEMBER void store(uint16_t *tile) const {
    PK_UNROLL for (int i = 0; i < steps; i++) {
      const uint32_t at = pk_thread() + i * PK_WAVES * PK_WAVE;
      *(pk_u4 *)(tile + at / 4 * PK_TILE_STRIDE + at % 4 * 8) = held[i];
    }
  }
};

// A block of SIDE x SIDE outputs; four waves in a square, each SIDE/32 x SIDE/32 tiles of 16x16. The next 32 columns are
// on their way from memory while the present ones are multiplied.
template <class T, int SIDE> PK_DEVICE void pk_gemm_square(const pk_gemm_args &a) {
  constexpr int tiles = SIDE / 32;
  const uint32_t rows = *a.rows, m0 = pk_block_y() * SIDE, n0 = pk_block_x() * SIDE;
  if (m0 >= rows) return;
  PK_SHARED(uint16_t, tile_a, 2 * SIDE * PK_TILE_STRIDE);  // later the slabs
  static_assert(2 * SIDE * PK_TILE_STRIDE * sizeof(uint16_t) >= PK_WAVES * 16 * (SIDE / 2 + 4) * sizeof(float), "slabs fit");
  uint16_t *tile_w = tile_a + SIDE * PK_TILE_STRIDE;
  const int lane = pk_lane(), wave_m = pk_wave() / 2 * (SIDE / 2), wave_n = pk_wave() % 2 * (SIDE / 2);
  pk_acc acc[tiles][tiles] = {};
  pk_stage<SIDE> next_a, next_w;
  next_a.load((const uint16_t *)a.a, m0, rows, a.k, 0);
  next_w.load((const uint16_t *)a.w, n0, a.n, a.k, 0);
  for (uint32_t k0 = 0; k0 < a.k; k0 += PK_GEMM_K) {
    PK_SYNC();
    next_a.store(tile_a);
    next_w.store(tile_w);
    PK_SYNC();
    if (k0 + PK_GEMM_K < a.k) {
      next_a.load((const uint16_t *)a.a, m0, rows, a.k, k0 + PK_GEMM_K);
      next_w.load((const uint16_t *)a.w, n0, a.n, a.k, k0 + PK_GEMM_K);
    }
    pk_fragment fragment_a[tiles];
    PK_UNROLL for (int j = 0; j < tiles; j++)
      fragment_a[j] = pk_load_fragment(tile_a + (wave_m + 16 * j) * PK_TILE_STRIDE, PK_TILE_STRIDE, lane);
    PK_UNROLL for (int i = 0; i < tiles; i++) {
      const pk_fragment w = pk_load_fragment(tile_w + (wave_n + 16 * i) * PK_TILE_STRIDE, PK_TILE_STRIDE, lane);
      PK_UNROLL for (int j = 0; j < tiles; j++) pk_multiply<T>(w, fragment_a[j], acc[i][j]);
    }
  }
  const pk_epilogue to = {a.bias, (const uint16_t *)a.residual, (uint16_t *)a.out, nullptr, nullptr, rows, a.n, a.activation};
  PK_SYNC();
  float *slab = (float *)tile_a + pk_wave() * (16 * (SIDE / 2 + 4));
  PK_ROLLED for (int j = 0; j < tiles; j++) {
    PK_UNROLL for (int held = 0; held < tiles; held++)
      if (held == j) PK_UNROLL for (int i = 0; i < tiles; i++) pk_slab_put<SIDE / 2>(slab, acc[i][held], i);
    PK_SYNC_WAVE();
    pk_slab_finish<T, SIDE / 2>(to, slab, m0 + wave_m + 16 * j, n0 + wave_n);
    PK_SYNC_WAVE();
  }
}

// The end of a skinny block: adds the four waves' slabs in a fixed order and writes 16 rows of 32 (or 16) columns.
template <class T> PK_DEVICE void pk_parts_finish(const pk_epilogue &to, const float *slabs, uint32_t m0, uint32_t n0) {
  const bool gated = to.activation == PK_GEGLU;
  const uint32_t pairs = gated ? 8 : 16;
  PK_ROLLED for (uint32_t at = pk_thread(); at < 16 * pairs; at += PK_WAVES * PK_WAVE) {
    const uint32_t row = at / pairs, weight = at % pairs * 2;
    if (m0 + row >= to.rows || n0 + weight >= to.n) continue;
    float sum[2] = {}, up[2] = {};
    PK_UNROLL for (int wave = 0; wave < (int)PK_WAVES; wave++)
      PK_UNROLL for (int i = 0; i < 2; i++) {
        const float *from = slabs + (wave * 16 + row) * 36 + weight + i;
        sum[i] += from[0];
        if (gated) up[i] += from[16];
      }
    pk_finish<T, 2>(to, sum, up, m0 + row, n0 + weight);
  }
}

// Steps of k whose operands are asked for before the first is used: a skinny block's time is the time of its loads.
#define PK_DEPTH (PK_FRAGMENT == 4 ? 2 : 4)

// 16 rows of a against 32 rows of w; the four waves share k between them. Operands go straight from memory to
// registers: each is used once, so staging them would only add latency. Steps past k are zeros.
template <class T> PK_DEVICE void pk_gemm_skinny(const pk_gemm_args &a) {
  const uint32_t rows = *a.rows, m0 = pk_block_y() * 16, n0 = pk_block_x() * 32;
  if (m0 >= rows) return;
  PK_SHARED(float, slabs, PK_WAVES * 16 * 36);
  const int lane = pk_lane();
  const uint16_t *from_a = (const uint16_t *)a.a + (size_t)m0 * a.k, *from_w = (const uint16_t *)a.w + (size_t)n0 * a.k;
  pk_acc acc[2] = {};
  PK_ROLLED for (uint32_t k0 = pk_wave() * PK_GEMM_K; k0 < a.k; k0 += PK_DEPTH * PK_WAVES * PK_GEMM_K) {
    pk_fragment x[PK_DEPTH], w[PK_DEPTH][2];
    PK_UNROLL for (int s = 0; s < PK_DEPTH; s++) {
      const uint32_t k = k0 + s * PK_WAVES * PK_GEMM_K;
      const bool inside = k < a.k;
      x[s] = pk_load_fragment_rows(from_a + k, inside ? rows - m0 : 0, a.k, lane);
      PK_UNROLL for (int i = 0; i < 2; i++) {
        const int left = inside ? (int)(a.n - n0) - 16 * i : 0;
        w[s][i] = pk_load_fragment_rows(from_w + k + (size_t)(16 * i) * a.k, left, a.k, lane);
      }
    }
    PK_UNROLL for (int s = 0; s < PK_DEPTH; s++)
      PK_UNROLL for (int i = 0; i < 2; i++) pk_multiply<T>(w[s][i], x[s], acc[i]);
  }
  PK_UNROLL for (int i = 0; i < 2; i++) pk_slab_put<32>(slabs + pk_wave() * 16 * 36, acc[i], i);
  PK_SYNC();
  const pk_epilogue to = {a.bias, (const uint16_t *)a.residual, (uint16_t *)a.out, nullptr, nullptr, rows, a.n, a.activation};
  pk_parts_finish<T>(to, slabs, m0, n0);
}

PK_DEVICE pk_acc pk_widen_acc(const pk_acc_i32 &acc) {
  pk_acc wide;
  PK_UNROLL for (int e = 0; e < PK_ACC; e++) wide.v[e] = (float)acc.v[e];
  return wide;
}

PK_DEVICE pk_epilogue pk_epilogue_of(const pk_gemm_i8_args &a, uint32_t rows) {
  return {a.bias, (const uint16_t *)a.residual, (uint16_t *)a.out, a.a_scale, a.w_scale, rows, a.n, a.activation};
}

// 64 x 64 outputs, each wave 32 x 32 on its own. int8 rows are half as long: fragments come from the caches, unstaged.
template <class T> PK_DEVICE void pk_gemm_i8_mid(const pk_gemm_i8_args &a) {
  const uint32_t rows = *a.rows, m0 = pk_block_y() * 64 + pk_wave() / 2 * 32, n0 = pk_block_x() * 64 + pk_wave() % 2 * 32;
  if (m0 >= rows || n0 >= a.n) return;
  const int lane = pk_lane();
  pk_acc_i32 acc[2][2] = {};
  PK_ROLLED for (uint32_t k0 = 0; k0 < a.k; k0 += PK_DEPTH * PK_GEMM_K) {
    pk_fragment_i8 x[PK_DEPTH][2], w[PK_DEPTH][2];
    PK_UNROLL for (int s = 0; s < PK_DEPTH; s++)
      PK_UNROLL for (int i = 0; i < 2; i++) {
        const uint32_t k = k0 + s * PK_GEMM_K;
        const bool inside = k < a.k;
        x[s][i] = pk_load_fragment_i8(a.a + (size_t)(m0 + 16 * i) * a.k + k, inside ? (int)(rows - m0) - 16 * i : 0, a.k, lane);
        w[s][i] = pk_load_fragment_i8(a.w + (size_t)(n0 + 16 * i) * a.k + k, inside ? (int)(a.n - n0) - 16 * i : 0, a.k, lane);
      }
    PK_UNROLL for (int s = 0; s < PK_DEPTH; s++)
      PK_UNROLL for (int i = 0; i < 2; i++)
        PK_UNROLL for (int j = 0; j < 2; j++) pk_multiply_i8(w[s][i], x[s][j], acc[i][j]);
  }
  PK_SHARED(float, slabs, PK_WAVES * 16 * 36);
  float *slab = slabs + pk_wave() * 16 * 36;
  const pk_epilogue to = pk_epilogue_of(a, rows);
  PK_ROLLED for (int j = 0; j < 2; j++) {
    PK_UNROLL for (int held = 0; held < 2; held++)
      if (held == j) PK_UNROLL for (int i = 0; i < 2; i++) pk_slab_put<32>(slab, pk_widen_acc(acc[i][held]), i);
    PK_SYNC_WAVE();
    pk_slab_finish<T, 32>(to, slab, m0 + 16 * j, n0);
    PK_SYNC_WAVE();
  }
}

template <class T> PK_DEVICE void pk_gemm_i8_skinny(const pk_gemm_i8_args &a) {
  const uint32_t rows = *a.rows, m0 = pk_block_y() * 16, n0 = pk_block_x() * 32;
  if (m0 >= rows) return;
  PK_SHARED(float, slabs, PK_WAVES * 16 * 36);
  const int lane = pk_lane();
  pk_acc_i32 acc[2] = {};
  PK_ROLLED for (uint32_t k0 = pk_wave() * PK_GEMM_K; k0 < a.k; k0 += PK_DEPTH * PK_WAVES * PK_GEMM_K) {
    pk_fragment_i8 x[PK_DEPTH], w[PK_DEPTH][2];
    PK_UNROLL for (int s = 0; s < PK_DEPTH; s++) {
      const uint32_t k = k0 + s * PK_WAVES * PK_GEMM_K;
      const bool inside = k < a.k;
      x[s] = pk_load_fragment_i8(a.a + (size_t)m0 * a.k + k, inside ? rows - m0 : 0, a.k, lane);
      PK_UNROLL for (int i = 0; i < 2; i++)
        w[s][i] = pk_load_fragment_i8(a.w + (size_t)(n0 + 16 * i) * a.k + k, inside ? (int)(a.n - n0) - 16 * i : 0, a.k, lane);
    }
    PK_UNROLL for (int s = 0; s < PK_DEPTH; s++)
      PK_UNROLL for (int i = 0; i < 2; i++) pk_multiply_i8(w[s][i], x[s], acc[i]);
  }
  PK_UNROLL for (int i = 0; i < 2; i++) pk_slab_put<32>(slabs + pk_wave() * 16 * 36, pk_widen_acc(acc[i]), i);
  PK_SYNC();
  pk_parts_finish<T>(pk_epilogue_of(a, rows), slabs, m0, n0);
}
