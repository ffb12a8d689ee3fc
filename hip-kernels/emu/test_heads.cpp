#include "test_support.h"

namespace testing {
namespace {

std::vector<float> unit_rows(uint32_t rows, uint32_t hidden) {
  std::vector<float> m = floats((size_t)rows * hidden, 1);
  for (uint32_t r = 0; r < rows; r++) {
    double square = 0;
    for (uint32_t h = 0; h < hidden; h++) square += (double)m[r * hidden + h] * m[r * hidden + h];
    for (uint32_t h = 0; h < hidden; h++) m[r * hidden + h] = (float)(m[r * hidden + h] / std::sqrt(square));
  }
  return m;
}

struct PoolCase {
  uint32_t hidden, mode, normalize;
};

template <class T> double pool(const PoolCase &c) {
  const std::vector<uint32_t> offsets = {0, 4, 5, 5, 23};
  const uint32_t sequences = 4, n = c.hidden;
  Buffer<uint16_t> x(typed<T>(23 * n, 1)), out((sequences + 1) * n);
  Buffer<float> embedding((sequences + 1) * n);
  Buffer<uint32_t> at(offsets);
  const Buffer<uint32_t> count = count_of(sequences);
  launch(std::string("pk_pool") + suffix<T>(), {sequences + 2},
         pk_pool_args{count.get(), at.get(), x.get(), embedding.get(), out.get(), n, c.mode, c.normalize, 0});
  Error error;
  error.require(embedding.untouched_from(sequences * n) && out.untouched_from(sequences * n));
  for (uint32_t s = 0; s < sequences; s++) {
    const uint32_t length = offsets[s + 1] - offsets[s], used = c.mode == PK_POOL_CLS ? std::min(length, 1u) : length;
    std::vector<double> v(n, 0);
    double square = 0;
    for (uint32_t h = 0; h < n; h++) {
      for (uint32_t t = 0; t < used; t++) v[h] += (double)T::widen(x[(offsets[s] + t) * n + h]) / used;
      square += v[h] * v[h];
    }
    for (uint32_t h = 0; h < n; h++) {
      const double expected = c.normalize && square > 0 ? v[h] / std::sqrt(square) : v[h];
      error.add(expected, embedding[s * n + h]);
      error.require(T::narrow(embedding[s * n + h]) == out[s * n + h]);
    }
  }
  return error.worst();
}

double prototypes() {
  const uint32_t sequences = 3, n = 96, rows = 40;
  Buffer<float> embedding(unit_rows(sequences, n));
  std::vector<float> matrix = unit_rows(rows, n);
  // Equal prototypes: the first must win. Row 30 is what sequence 0 asks.
  std::copy(matrix.begin() + 2 * n, matrix.begin() + 3 * n, matrix.begin() + 6 * n);
  std::copy(embedding.get(), embedding.get() + n, matrix.begin() + 30 * n);
  Buffer<float> prototype(matrix);
  Buffer<pk_bank> banks(std::vector<pk_bank>{
      {0, 20, 20, 40, 2, 0.75f}, {5, 6, 7, 15, 8, 0.0f}, {0, 13, 13, 13, 1, 1.0f}, {3, 3, 30, 33, 3, 0.5f}, {2, 3, 6, 7, 4, 0.25f}});
  const uint32_t count = (uint32_t)banks.size();
  Buffer<pk_bank_score> scores((sequences + 1) * count);
  const Buffer<uint32_t> sequence_count = count_of(sequences);
  launch("pk_prototypes", {count, sequences + 1},
         pk_prototypes_args{sequence_count.get(), embedding.get(), prototype.get(), banks.get(), scores.get(), n, count});
  Error error;
  error.require(scores.untouched_from(sequences * count));
  for (uint32_t s = 0; s < sequences; s++)
    for (uint32_t b = 0; b < count; b++) {
      const pk_bank &bank = banks[b];
      const auto side = [&](uint32_t begin, uint32_t end, float got, float best, uint32_t index) {
        std::vector<std::pair<double, uint32_t>> found;
        for (uint32_t p = begin; p < end; p++) {
          double dot = 0;
          for (uint32_t h = 0; h < n; h++) dot += (double)embedding[s * n + h] * prototype[p * n + h];
          found.push_back({-dot, p});
        }
        std::sort(found.begin(), found.end());
        if (found.empty()) {
          error.require(got == 0 && best == 0 && index == PK_NO_INDEX);
          return 0.0;
        }
        const uint32_t counted = std::min<uint32_t>(bank.top_m, (uint32_t)found.size());
        double mean = 0;
        for (uint32_t i = 0; i < counted; i++) mean -= found[i].first / counted;
        const double score = bank.best_weight * -found[0].first + (1 - bank.best_weight) * mean;
        error.add(score, got);
        error.add(-found[0].first, best);
        error.require(index == found[0].second);
        return score;
      };
      const pk_bank_score &got = scores[s * count + b];
      const double hard = side(bank.hard_begin, bank.hard_end, got.hard, got.hard_best, got.hard_index);
      const double easy = side(bank.easy_begin, bank.easy_end, got.easy, got.easy_best, got.easy_index);
      error.add(hard - easy, got.margin);
    }
  return error.worst();
}

struct HeadCase {
  uint32_t classes, mode;
  bool bias;
};

template <class T> double head(const HeadCase &c) {
  const uint32_t rows = 5, n = 96;
  Buffer<uint16_t> x(typed<T>(rows * n, 1)), w(typed<T>(c.classes * n, 0.3f));
  Buffer<float> bias(floats(c.classes, 1)), probs((rows + 1) * c.classes);
  Buffer<pk_label> best(rows + 1);
  const Buffer<uint32_t> count = count_of(rows);
  launch(std::string("pk_head") + suffix<T>(), {rows + 1},
         pk_head_args{count.get(), x.get(), w.get(), c.bias ? bias.get() : nullptr, probs.get(), best.get(), n, c.classes,
                      c.mode, 0});
  Error error;
  error.require(probs.untouched_from(rows * c.classes) && best.untouched_from(rows));
  for (uint32_t r = 0; r < rows; r++) {
    std::vector<double> logits(c.classes);
    double total = 0;
    for (uint32_t l = 0; l < c.classes; l++) {
      logits[l] = c.bias ? bias[l] : 0;
      for (uint32_t h = 0; h < n; h++) logits[l] += (double)T::widen(x[r * n + h]) * T::widen(w[l * n + h]);
    }
    const uint32_t top = (uint32_t)(std::max_element(logits.begin(), logits.end()) - logits.begin());
    for (double l : logits) total += std::exp(l - logits[top]);
    for (uint32_t l = 0; l < c.classes; l++) {
      const double expected = c.mode == PK_SOFTMAX   ? std::exp(logits[l] - logits[top]) / total
                              : c.mode == PK_SIGMOID ? 1 / (1 + std::exp(-logits[l]))
                                                     : logits[l];
      error.add(expected, probs[r * c.classes + l]);
    }
    error.require(best[r].index == top);
    error.add(probs[r * c.classes + top], best[r].confidence);
  }
  return error.worst();
}

double topk(uint32_t n, uint32_t k) {
  const uint32_t rows = 6;
  std::uniform_int_distribution<int> value(-5, 5);
  std::vector<float> v(rows * n);
  for (float &x : v) x = (float)value(generator());
  Buffer<float> scores(v), values((rows + 1) * k);
  Buffer<uint32_t> indices((rows + 1) * k);
  const Buffer<uint32_t> count = count_of(rows);
  launch("pk_topk", {blocks(rows, PK_WAVES) + 1}, pk_topk_args{count.get(), scores.get(), values.get(), indices.get(), n, k});
  Error error;
  error.require(values.untouched_from(rows * k) && indices.untouched_from(rows * k));
  for (uint32_t r = 0; r < rows; r++) {
    std::vector<std::pair<float, uint32_t>> sorted;
    for (uint32_t i = 0; i < n; i++) sorted.push_back({-v[r * n + i], i});
    std::sort(sorted.begin(), sorted.end());
    for (uint32_t i = 0; i < k; i++) {
      const float expected = i < n ? -sorted[i].first : -INFINITY;
      error.require(values[r * k + i] == expected && indices[r * k + i] == (i < n ? sorted[i].second : PK_NO_INDEX));
    }
  }
  return error.worst();
}

template <class T> void add(std::vector<Test> &tests) {
  const std::string type = suffix<T>();
  for (const PoolCase &c : {PoolCase{384, PK_POOL_MEAN, 1}, PoolCase{1024, PK_POOL_MEAN, 0}, PoolCase{40, PK_POOL_CLS, 1}})
    tests.push_back({"pool" + type + " hidden " + std::to_string(c.hidden), 1e-5, [c] { return pool<T>(c); }});
  for (const HeadCase &c : {HeadCase{14, PK_SOFTMAX, true}, HeadCase{35, PK_SIGMOID, true}, HeadCase{256, PK_SOFTMAX, false},
                            HeadCase{1, PK_LOGITS, true}, HeadCase{70, PK_LOGITS, false}})
    tests.push_back({"head" + type + " " + std::to_string(c.classes) + " classes", 2e-5, [c] { return head<T>(c); }});
}

}  // namespace

void add_head_tests(std::vector<Test> &tests) {
  add<pk_f16>(tests);
  add<pk_bf16>(tests);
  tests.push_back({"prototypes", 1e-5, prototypes});
  tests.push_back({"topk 200, 7", 0, [] { return topk(200, 7); }});
  tests.push_back({"topk 5, 32", 0, [] { return topk(5, 32); }});
}

}  // namespace testing
