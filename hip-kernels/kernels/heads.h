// From the last hidden states to what a classifier answers: pooling, prototype banks, labels, top-k.
#pragma once
#include "rows.h"

// One block a sequence; its waves share the tokens, then add up in a fixed order.
template <class T> PK_DEVICE void pk_pool(const pk_pool_args &a) {
  const uint32_t s = pk_block_x();
  if (s >= *a.sequences) return;
  PK_SHARED(float, parts, PK_WAVES * PK_MAX_HIDDEN);
  PK_SHARED(float, squares, PK_WAVES);
  const uint32_t first = a.offsets[s], tokens = a.offsets[s + 1] - first;
  const uint32_t used = a.mode == PK_POOL_CLS && tokens > 1 ? 1 : tokens;
  const size_t bytes = a.hidden * 2ul;
  pk_row row = {};
  for (uint32_t t = pk_wave(); t < used; t += PK_WAVES)
    pk_row_add<T>(row, (const char *)a.x + (first + t) * bytes, a.hidden);
  PK_UNROLL for (int i = 0; i < PK_ROW_CHUNKS; i++) {
    const uint32_t chunk = pk_lane() + i * PK_WAVE;
    if (chunk * 8 < a.hidden)
      PK_UNROLL for (int e = 0; e < 8; e++) parts[pk_wave() * PK_MAX_HIDDEN + chunk * 8 + e] = row.v[i][e];
  }
  PK_SYNC();
  const float share = used > 0 ? 1.0f / (float)used : 0.0f;
  float square = 0.0f;
  for (uint32_t h = pk_thread(); h < a.hidden; h += PK_WAVES * PK_WAVE) {
    float sum = 0.0f;
    PK_UNROLL for (int w = 0; w < (int)PK_WAVES; w++) sum += parts[w * PK_MAX_HIDDEN + h];
    sum *= share;
    parts[h] = sum;  // read again by this thread only
    square += sum * sum;
  }
  square = pk_wave_sum(square);
  if (pk_lane() == 0) squares[pk_wave()] = square;
  PK_SYNC();
  float length = 0.0f;
  PK_UNROLL for (int w = 0; w < (int)PK_WAVES; w++) length += squares[w];
  const float scale = a.normalize && length > 0.0f ? pk_rsqrt(length) : 1.0f;
  for (uint32_t h = pk_thread(); h < a.hidden; h += PK_WAVES * PK_WAVE) {
    const float v = parts[h] * scale;
    a.embedding[s * (size_t)a.hidden + h] = v;
    if (a.typed) ((uint16_t *)a.typed)[s * (size_t)a.hidden + h] = T::narrow(v);
  }
}

PK_DEVICE float pk_dot(const float *x, const float *y, uint32_t n) {
  float sum = 0.0f;
  for (uint32_t at = pk_lane(); at * 4 < n; at += PK_WAVE) {
    const pk_f4 u = ((const pk_f4 *)x)[at], v = ((const pk_f4 *)y)[at];
    PK_UNROLL for (int e = 0; e < 4; e++) sum += u[e] * v[e];
  }
  return pk_wave_sum(sum);
}

// The PK_MAX_TOP_M best of what a wave has seen, in falling order; the same in every lane.
struct pk_ranking {
  pk_best_of at[PK_MAX_TOP_M];
};
PK_DEVICE void pk_rank(pk_ranking &ranking, pk_best_of next) {
  PK_UNROLL for (int i = 0; i < (int)PK_MAX_TOP_M; i++)
    if (pk_precedes(next.value, next.index, ranking.at[i])) {
      const pk_best_of displaced = ranking.at[i];
      ranking.at[i] = next;
      next = displaced;
    }
}

struct pk_side {
  float score;
  pk_best_of best;
};
PK_DEVICE pk_side pk_side_of(const pk_ranking &ranking, uint32_t size, const pk_bank &bank) {
  if (size == 0) return {0.0f, {0.0f, PK_NO_INDEX}};
  const uint32_t counted = bank.top_m < size ? bank.top_m : size;
  float sum = 0.0f, taken = 0.0f;
  PK_UNROLL for (int i = 0; i < (int)PK_MAX_TOP_M; i++)
    if ((uint32_t)i < counted) {
      sum += ranking.at[i].value;
      taken += 1.0f;
    }
  return {bank.best_weight * ranking.at[0].value + (1.0f - bank.best_weight) * (sum / taken), ranking.at[0]};
}

// One block a bank and sequence: even waves take the hard side, odd ones the easy side.
PK_DEVICE void pk_prototypes_block(const pk_prototypes_args &a) {
  const uint32_t s = pk_block_y(), b = pk_block_x();
  if (s >= *a.sequences) return;
  PK_SHARED(pk_best_of, found, PK_WAVES * PK_MAX_TOP_M);
  const pk_bank bank = a.banks[b];
  const int side = pk_wave() % 2;
  const uint32_t begin = side ? bank.easy_begin : bank.hard_begin, end = side ? bank.easy_end : bank.hard_end;
  pk_ranking ranking;
  PK_UNROLL for (int i = 0; i < (int)PK_MAX_TOP_M; i++) ranking.at[i] = {PK_LOWEST, PK_NO_INDEX};
  PK_ROLLED for (uint32_t p = begin + pk_wave() / 2; p < end; p += PK_WAVES / 2)
    pk_rank(ranking, {pk_dot(a.embedding + s * (size_t)a.hidden, a.prototypes + p * (size_t)a.hidden, a.hidden), p});
  if (pk_lane() == 0)
    PK_UNROLL for (int i = 0; i < (int)PK_MAX_TOP_M; i++) found[pk_wave() * PK_MAX_TOP_M + i] = ranking.at[i];
  PK_SYNC();
  if (pk_thread() != 0) return;
  pk_side sides[2];
  PK_UNROLL for (int i = 0; i < 2; i++) {
    pk_ranking all;
    PK_UNROLL for (int m = 0; m < (int)PK_MAX_TOP_M; m++) all.at[m] = found[i * PK_MAX_TOP_M + m];
    static_assert(PK_WAVES == 4, "two waves a side");
    PK_ROLLED for (uint32_t m = 0; m < PK_MAX_TOP_M; m++) pk_rank(all, found[(2 + i) * PK_MAX_TOP_M + m]);
    const uint32_t size = i ? bank.easy_end - bank.easy_begin : bank.hard_end - bank.hard_begin;
    sides[i] = pk_side_of(all, size, bank);
  }
  a.scores[s * (size_t)a.bank_count + b] = {sides[0].score,       sides[1].score,       sides[0].score - sides[1].score,
                                            sides[0].best.value,  sides[1].best.value,  sides[0].best.index,
                                            sides[1].best.index,  0};
}

// One block a row: its waves share the labels.
template <class T> PK_DEVICE void pk_head(const pk_head_args &a) {
  const uint32_t r = pk_block_x();
  if (r >= *a.rows) return;
  PK_SHARED(float, logits, PK_MAX_CLASSES);
  const pk_u4 *x = (const pk_u4 *)((const uint16_t *)a.x + r * (size_t)a.hidden);
  for (uint32_t c = pk_wave(); c < a.classes; c += PK_WAVES) {
    const pk_u4 *w = (const pk_u4 *)((const uint16_t *)a.w + c * (size_t)a.hidden);
    float sum = 0.0f;
    for (uint32_t chunk = pk_lane(); chunk * 8 < a.hidden; chunk += PK_WAVE) {
      float u[8], v[8];
      pk_unpack<T>(x[chunk], u);
      pk_unpack<T>(w[chunk], v);
      PK_UNROLL for (int e = 0; e < 8; e++) sum += u[e] * v[e];
    }
    sum = pk_wave_sum(sum);
    if (pk_lane() == 0) logits[c] = a.bias ? sum + a.bias[c] : sum;
  }
  PK_SYNC();
  if (pk_wave() != 0) return;
  pk_best_of best = {PK_LOWEST, PK_NO_INDEX};
  for (uint32_t c = pk_lane(); c < a.classes; c += PK_WAVE)
    if (pk_precedes(logits[c], c, best)) best = {logits[c], c};
  best = pk_wave_best(best);
  float total = 0.0f;
  for (uint32_t c = pk_lane(); c < a.classes; c += PK_WAVE) total += pk_exp(logits[c] - best.value);
  const float inverse = pk_rcp(pk_wave_sum(total));
  for (uint32_t c = pk_lane(); c < a.classes; c += PK_WAVE) {
    const float logit = logits[c];
    a.probs[r * (size_t)a.classes + c] = a.mode == PK_SOFTMAX   ? pk_exp(logit - best.value) * inverse
                                         : a.mode == PK_SIGMOID ? pk_sigmoid(logit)
                                                                : logit;
  }
  if (a.best && pk_lane() == 0)
    a.best[r] = {best.index, a.mode == PK_SOFTMAX ? inverse : a.mode == PK_SIGMOID ? pk_sigmoid(best.value) : best.value};
}

// One wave a row: each round finds the best that comes after the one found before.
PK_DEVICE void pk_topk_row(const pk_topk_args &a) {
  const uint32_t r = pk_block_x() * PK_WAVES + pk_wave();
  if (r >= *a.rows) return;
  const float *scores = a.scores + r * (size_t)a.n;
  pk_best_of last = {pk_as_float(0x7f800000u), 0};
  for (uint32_t i = 0; i < a.k; i++) {
    pk_best_of best = {pk_as_float(0xff800000u), PK_NO_INDEX};
    for (uint32_t at = pk_lane(); at < a.n; at += PK_WAVE) {
      const float v = scores[at];
      const bool after = i == 0 || v < last.value || (v == last.value && at > last.index);
      if (after && pk_precedes(v, at, best)) best = {v, at};
    }
    last = pk_wave_best(best);
    if (pk_lane() == 0) {
      a.values[r * (size_t)a.k + i] = last.value;
      a.indices[r * (size_t)a.k + i] = last.index;
    }
  }
}
