// What the matrix instructions compute, by the register layouts that the vendors document. pk_multiply issues two
// products of depth 16; `step` is which, `k` the column within it.
#pragma once

PK_DEVICE void pk_emu_put(float (&m)[16][32], bool (&set)[16][32], int row, int column, float v) {
  if (set[row][column] && !(m[row][column] == v || (v != v && m[row][column] != m[row][column])))
    pk_emu::die("the two halves of the wave hold different copies of an operand");
  m[row][column] = v;
  set[row][column] = true;
}

template <class T>
PK_DEVICE void pk_emu_deposit(const pk_fragment &f, float (&m)[16][32], bool (&set)[16][32], int lane) {
  for (int step = 0; step < 2; step++) {
#if PK_MFMA
    // A[i][k]: lane 16 * (k / 4) + i, element k % 4.
    for (int j = 0; j < 4; j++) {
      const uint32_t word = f.q[0][2 * step + j / 2];
      pk_emu_put(m, set, lane % 16, 16 * step + 4 * (lane / 16) + j, T::widen((uint16_t)(word >> (16 * (j % 2)))));
    }
#elif PK_WMMA12
    // A[i][k]: lane 16 * (k / 8) + i, element k % 8.
    for (int j = 0; j < 8; j++)
      pk_emu_put(m, set, lane % 16, 16 * step + 8 * (lane / 16) + j,
                 T::widen((uint16_t)(f.q[step][j / 2] >> (16 * (j % 2)))));
#elif PK_WMMA11
    // A[i][k]: lanes i and 16 + i, element k.
    for (int j = 0; j < 16; j++)
      pk_emu_put(m, set, lane % 16, 16 * step + j, T::widen((uint16_t)(f.q[2 * step + j / 8][j % 8 / 2] >> (16 * (j % 2)))));
#elif PK_CUDA
    // Row g = lane / 4 (and g + 8): columns 2t, 2t + 1, 2t + 8, 2t + 9 with t = lane % 4.
    for (int half = 0; half < 2; half++)
      for (int j = 0; j < 4; j++)
        pk_emu_put(m, set, lane / 4 + 8 * half, 16 * step + 2 * (lane % 4) + 8 * (j / 2) + j % 2,
                   T::widen((uint16_t)(f.q[half][2 * step + j / 2] >> (16 * (j % 2)))));
#endif
  }
}

template <class T> PK_DEVICE void pk_multiply(const pk_fragment &x, const pk_fragment &y, pk_acc &acc) {
  const int lane = pk_lane();
  pk_emu::Operands &mine = pk_emu::operands();
  pk_emu_deposit<T>(x, mine.x, mine.x_set, lane);
  pk_emu_deposit<T>(y, mine.y, mine.y_set, lane);
  const pk_emu::Operands &all = pk_emu::exchange_operands();
  for (int e = 0; e < PK_ACC; e++) {
    const int row = pk_acc_row(lane, e), column = pk_acc_column(lane, e);
    float sum = acc.v[e];
    for (int k = 0; k < 32; k++) sum += all.x[row][k] * all.y[column][k];
    acc.v[e] = sum;
  }
}

PK_DEVICE void pk_emu_deposit_i8(const pk_fragment_i8 &f, float (&m)[16][32], bool (&set)[16][32], int lane) {
  const auto byte = [](uint32_t word, int j) { return (float)(int8_t)(word >> (8 * (j % 4))); };
#if PK_MFMA
  // gfx942's A[i][k] of depth 32: lane 16 * (k / 8) + i, element k % 8. gfx90a's two products of depth 16 differ in the
  // order of k only.
  for (int j = 0; j < 8; j++) pk_emu_put(m, set, lane % 16, 8 * (lane / 16) + j, byte(f.q[0][j / 4], j));
#elif PK_WMMA12
  for (int step = 0; step < 2; step++)
    for (int j = 0; j < 8; j++)
      pk_emu_put(m, set, lane % 16, 16 * step + 8 * (lane / 16) + j, byte(f.q[0][2 * step + j / 4], j));
#elif PK_WMMA11
  for (int step = 0; step < 2; step++)
    for (int j = 0; j < 16; j++) pk_emu_put(m, set, lane % 16, 16 * step + j, byte(f.q[step][j / 4], j));
#elif PK_CUDA
  for (int half = 0; half < 2; half++)
    for (int j = 0; j < 8; j++)
      pk_emu_put(m, set, lane / 4 + 8 * half, 4 * (lane % 4) + 16 * (j / 4) + j % 4, byte(f.q[half][j / 4], j));
#endif
}

PK_DEVICE void pk_multiply_i8(const pk_fragment_i8 &x, const pk_fragment_i8 &y, pk_acc_i32 &acc) {
  const int lane = pk_lane();
  pk_emu::Operands &mine = pk_emu::operands();
  pk_emu_deposit_i8(x, mine.x, mine.x_set, lane);
  pk_emu_deposit_i8(y, mine.y, mine.y_set, lane);
  const pk_emu::Operands &all = pk_emu::exchange_operands();
  for (int e = 0; e < PK_ACC; e++) {
    const int row = pk_acc_row(lane, e), column = pk_acc_column(lane, e);
    for (int k = 0; k < 32; k++) acc.v[e] += (int)(all.x[row][k] * all.y[column][k]);
  }
}
