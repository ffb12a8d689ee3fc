// Products of 16x16 tiles by MFMA (gfx9), WMMA (gfx11, gfx12) or mma.sync (CUDA), behind one interface.
//
// A fragment holds, over the lanes of a wave, 16 rows by 32 columns ("k") of a row-major operand; pk_multiply adds
// X . Y^T to an accumulator of 16x16: entry (i, j) is the product of X's row i and Y's row j. Only sums over k are
// formed, so the order of k inside a fragment is free as long as both operands agree on it; each lane takes the k that
// lie side by side in memory.
//
// Sources of the register layouts: AMD's matrix instruction calculator (CDNA), the RDNA3 and RDNA4 instruction set
// guides (WMMA), the PTX manual (mma.m16n8k16, m16n8k32).
#pragma once
#include "pk_math.h"

#if PK_MFMA
#define PK_FRAGMENT 1   // pk_u4 per lane of a fragment
#define PK_ACC 4        // accumulator elements per lane
#define PK_ACC_RUN 4    // neighbouring elements that lie in neighbouring rows
#define PK_ACC_COLUMNS 1
PK_DEVICE int pk_acc_row(int lane, int e) { return 4 * (lane / 16) + e; }
PK_DEVICE int pk_acc_column(int lane, int) { return lane % 16; }
#elif PK_WMMA12
#define PK_FRAGMENT 2
#define PK_ACC 8
#define PK_ACC_RUN 8
#define PK_ACC_COLUMNS 1
PK_DEVICE int pk_acc_row(int lane, int e) { return 8 * (lane / 16) + e; }
PK_DEVICE int pk_acc_column(int lane, int) { return lane % 16; }
#elif PK_WMMA11
#define PK_FRAGMENT 4
#define PK_ACC 8
#define PK_ACC_RUN 1
#define PK_ACC_COLUMNS 1
PK_DEVICE int pk_acc_row(int lane, int e) { return 2 * e + lane / 16; }
PK_DEVICE int pk_acc_column(int lane, int) { return lane % 16; }
#elif PK_CUDA
#define PK_FRAGMENT 2
#define PK_ACC 8
#define PK_ACC_RUN 2
#define PK_ACC_COLUMNS 2
PK_DEVICE int pk_acc_row(int lane, int e) { return 2 * (lane % 4) + (e & 1) + 8 * (e >> 2); }
PK_DEVICE int pk_acc_column(int lane, int e) { return lane / 4 + 8 * ((e >> 1) & 1); }
#endif

// Which of a lane's PK_ACC_COLUMNS columns an element belongs to.
PK_DEVICE constexpr int pk_acc_slot(int e) { return PK_ACC_COLUMNS == 1 ? 0 : (e >> 1) & 1; }

struct pk_acc {
  float v[PK_ACC];
};
struct pk_acc_i32 {
  int v[PK_ACC];
};
struct pk_fragment {
  pk_u4 q[PK_FRAGMENT];
};

// Folds over the 16 rows of an accumulator's columns; every lane gets the result for its own columns.
PK_DEVICE float pk_rows_sum(float v) {
#if PK_CUDA
  v += pk_shuffle_xor_float(v, 1);
  return v + pk_shuffle_xor_float(v, 2);
#else
  PK_UNROLL for (int mask = 16; mask < PK_WAVE; mask *= 2) v += pk_shuffle_xor_float(v, mask);
  return v;
#endif
}
PK_DEVICE float pk_rows_max(float v) {
#if PK_CUDA
  v = pk_max(v, pk_shuffle_xor_float(v, 1));
  return pk_max(v, pk_shuffle_xor_float(v, 2));
#else
  PK_UNROLL for (int mask = 16; mask < PK_WAVE; mask *= 2) v = pk_max(v, pk_shuffle_xor_float(v, mask));
  return v;
#endif
}

// The row of a fragment that part `q` of this lane's registers comes from, and its first column.
PK_DEVICE int pk_fragment_row(int lane, int q) {
#if PK_CUDA
  return lane / 4 + 8 * q;
#else
  return lane % 16;
#endif
}
PK_DEVICE int pk_fragment_k(int lane, int q) {
#if PK_MFMA
  return 8 * (lane / 16);
#elif PK_WMMA12
  return 16 * (lane / 16) + 8 * q;
#elif PK_WMMA11
  return 8 * q;
#elif PK_CUDA
  return 8 * (lane % 4);
#endif
}

// `tile` is 16-byte aligned and so is each row: `stride`, in elements, is a multiple of 8.
PK_DEVICE pk_fragment pk_load_fragment(const uint16_t *tile, int stride, int lane) {
  pk_fragment f;
  PK_UNROLL for (int q = 0; q < PK_FRAGMENT; q++)
    f.q[q] = *(const pk_u4 *)(tile + pk_fragment_row(lane, q) * stride + pk_fragment_k(lane, q));
  return f;
}

// As pk_load_fragment, of a matrix of which only the first `rows` rows exist; the others count as zero.
PK_DEVICE pk_fragment pk_load_fragment_rows(const uint16_t *tile, int rows, size_t stride, int lane) {
  pk_fragment f;
  PK_UNROLL for (int q = 0; q < PK_FRAGMENT; q++) {
    const int row = pk_fragment_row(lane, q);
    f.q[q] = pk_u4{};
    if (row < rows) f.q[q] = *(const pk_u4 *)(tile + row * stride + pk_fragment_k(lane, q));
  }
  return f;
}

// As pk_load_fragment, with k in the order in which pk_acc_fragment lays out the rows of two accumulators.
PK_DEVICE pk_fragment pk_load_fragment_acc_order(const uint16_t *tile, int stride, int lane) {
#if PK_MFMA
  const uint16_t *row = tile + (lane % 16) * stride + 4 * (lane / 16);
  const pk_u2 x = *(const pk_u2 *)row, y = *(const pk_u2 *)(row + 16);
  pk_fragment f;
  f.q[0] = pk_u4{x[0], x[1], y[0], y[1]};
  return f;
#elif PK_WMMA12
  const uint16_t *row = tile + (lane % 16) * stride + 8 * (lane / 16);
  pk_fragment f;
  f.q[0] = *(const pk_u4 *)row;
  f.q[1] = *(const pk_u4 *)(row + 16);
  return f;
#elif PK_WMMA11
  return pk_load_fragment(tile, stride, lane);
#elif PK_CUDA
  pk_fragment f;
  PK_UNROLL for (int q = 0; q < 2; q++) {
    const uint16_t *row = tile + (lane / 4 + 8 * q) * stride + 2 * (lane % 4);
    PK_UNROLL for (int i = 0; i < 4; i++) f.q[q][i] = *(const uint32_t *)(row + 8 * i);
  }
  return f;
#endif
}

// Two accumulators (rows 0..15 and 16..31 of k, columns = rows of the fragment) as the second operand of a product.
template <class T> PK_DEVICE pk_fragment pk_acc_fragment(const pk_acc &x, const pk_acc &y, int lane) {
  pk_fragment f;
#if PK_MFMA
  f.q[0] = pk_u4{pk_pack2<T>(x.v[0], x.v[1]), pk_pack2<T>(x.v[2], x.v[3]),
                 pk_pack2<T>(y.v[0], y.v[1]), pk_pack2<T>(y.v[2], y.v[3])};
#elif PK_WMMA12
  f.q[0] = pk_pack<T>(x.v);
  f.q[1] = pk_pack<T>(y.v);
#elif PK_WMMA11
  // The lower half of the wave holds the even rows, the upper half the odd ones; a fragment wants both in each.
  const bool odd = lane >= 16;
  PK_UNROLL for (int half = 0; half < 2; half++) {
    const pk_u4 own = pk_pack<T>(half == 0 ? x.v : y.v);
    PK_UNROLL for (int i = 0; i < 4; i++) {
      const uint32_t other = pk_shuffle_xor(own[i], 16);
      const uint32_t even_rows = odd ? other : own[i], odd_rows = odd ? own[i] : other;
      f.q[2 * half + i / 2][2 * (i % 2)] = (even_rows & 0xffffu) | (odd_rows << 16);
      f.q[2 * half + i / 2][2 * (i % 2) + 1] = (even_rows >> 16) | (odd_rows & 0xffff0000u);
    }
  }
#elif PK_CUDA
  PK_UNROLL for (int q = 0; q < 2; q++)
    f.q[q] = pk_u4{pk_pack2<T>(x.v[2 * q], x.v[2 * q + 1]), pk_pack2<T>(x.v[2 * q + 4], x.v[2 * q + 5]),
                   pk_pack2<T>(y.v[2 * q], y.v[2 * q + 1]), pk_pack2<T>(y.v[2 * q + 4], y.v[2 * q + 5])};
#endif
  return f;
}

#if PK_WMMA11
#define PK_FRAGMENT_I8 2
#else
#define PK_FRAGMENT_I8 1
#endif
// 16 rows by 32 columns of int8.
struct pk_fragment_i8 {
#if PK_MFMA
  pk_u2 q[1];
#elif PK_CUDA
  pk_u2 q[2];
#else
  pk_u4 q[PK_FRAGMENT_I8];
#endif
};

// The first `rows` rows exist; the others count as zero. Rows are 16-byte aligned.
PK_DEVICE pk_fragment_i8 pk_load_fragment_i8(const int8_t *tile, int rows, size_t stride, int lane) {
  pk_fragment_i8 f = {};
#if PK_MFMA
  if (lane % 16 < rows) f.q[0] = *(const pk_u2 *)(tile + (lane % 16) * stride + 8 * (lane / 16));
#elif PK_WMMA12
  if (lane % 16 < rows) f.q[0] = *(const pk_u4 *)(tile + (lane % 16) * stride + 16 * (lane / 16));
#elif PK_WMMA11
  PK_UNROLL for (int q = 0; q < 2; q++)
    if (lane % 16 < rows) f.q[q] = *(const pk_u4 *)(tile + (lane % 16) * stride + 16 * q);
#elif PK_CUDA
  PK_UNROLL for (int q = 0; q < 2; q++)
    if (lane / 4 + 8 * q < rows) f.q[q] = *(const pk_u2 *)(tile + (lane / 4 + 8 * q) * stride + 8 * (lane % 4));
#endif
  return f;
}

#if defined(PK_EMU)
#include "pk_emu_matrix.h"
#else
#include "pk_matrix_device.h"
#endif
