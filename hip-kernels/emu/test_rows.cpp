#include "test_support.h"

namespace testing {
namespace {

struct EmbedCase {
  uint32_t tokens, hidden;
  bool position, type, beta;
};

template <class T> double embed(const EmbedCase &c) {
  const uint32_t vocabulary = 23, positions = 17, types = 2;
  Buffer<uint16_t> word(typed<T>(vocabulary * c.hidden, 1)), position(typed<T>(positions * c.hidden, 1)),
      type(typed<T>(types * c.hidden, 1));
  Buffer<float> gamma(floats(c.hidden, 0.1f, 1)), beta(floats(c.hidden, 0.1f));
  std::vector<int32_t> ids, at, kind;
  for (uint32_t t = 0; t < c.tokens; t++) {
    // Ids and positions out of range must act as the last row.
    ids.push_back(t == 1 ? 1000000 : t == 2 ? -1 : (int)(t * 5 % vocabulary));
    at.push_back(t == 3 ? 99 : (int)(t % positions));
    kind.push_back((int)(t % types));
  }
  Buffer<int32_t> id_buffer(ids), at_buffer(at), kind_buffer(kind);
  Buffer<uint16_t> out((c.tokens + 3) * c.hidden);
  const Buffer<uint32_t> rows = count_of(c.tokens);
  pk_embed_args a = {};
  a.rows = rows.get(), a.ids = id_buffer.get(), a.positions = at_buffer.get(), a.types = kind_buffer.get();
  a.word = word.get(), a.position = c.position ? position.get() : nullptr, a.type = c.type ? type.get() : nullptr;
  a.gamma = gamma.get(), a.beta = c.beta ? beta.get() : nullptr, a.out = out.get(), a.hidden = c.hidden;
  a.vocabulary = vocabulary, a.position_limit = positions, a.type_limit = types, a.epsilon = 1e-12f;
  launch(std::string("pk_embed") + suffix<T>(), {blocks(c.tokens + 3, PK_WAVES)}, a);
  Error error;
  error.require(out.untouched_from(c.tokens * c.hidden));
  for (uint32_t t = 0; t < c.tokens; t++) {
    const uint32_t id = std::min<uint32_t>((uint32_t)ids[t], vocabulary - 1), p = std::min<uint32_t>(at[t], positions - 1);
    std::vector<double> x(c.hidden);
    for (uint32_t h = 0; h < c.hidden; h++)
      x[h] = T::widen(word[id * c.hidden + h]) + (c.position ? (double)T::widen(position[p * c.hidden + h]) : 0.0) +
             (c.type ? (double)T::widen(type[kind[t] * c.hidden + h]) : 0.0);
    const std::vector<double> y = layer_norm(x, gamma.get(), c.beta ? beta.get() : nullptr, a.epsilon);
    for (uint32_t h = 0; h < c.hidden; h++) error.add(y[h], T::widen(out[t * c.hidden + h]));
  }
  return error.worst();
}

struct NormCase {
  uint32_t rows, hidden;
  bool residual, sum, in_place;
  float mean;
};

template <class T> double norm(const NormCase &c) {
  const size_t n = (size_t)(c.rows + 2) * c.hidden, used = (size_t)c.rows * c.hidden;
  Buffer<uint16_t> x(n), residual(typed<T>(used, 1)), sum(n), out(n);
  const std::vector<uint16_t> before = typed<T>(used, 1, c.mean);
  std::copy(before.begin(), before.end(), x.get());
  Buffer<float> gamma(floats(c.hidden, 0.1f, 1)), beta(floats(c.hidden, 0.1f));
  const Buffer<uint32_t> rows = count_of(c.rows);
  pk_norm_args a = {};
  a.rows = rows.get(), a.x = x.get(), a.residual = c.residual ? residual.get() : nullptr;
  a.gamma = gamma.get(), a.beta = beta.get(), a.sum = c.sum ? (c.in_place ? x.get() : sum.get()) : nullptr;
  a.out = c.in_place && !c.sum ? x.get() : out.get(), a.hidden = c.hidden, a.epsilon = 1e-5f;
  launch(std::string("pk_norm") + suffix<T>(), {blocks(c.rows + 2, PK_WAVES)}, a);
  Error error;
  error.require(out.untouched_from(used) && sum.untouched_from(used) && x.untouched_from(used));
  for (uint32_t r = 0; r < c.rows; r++) {
    std::vector<double> v(c.hidden);
    for (uint32_t h = 0; h < c.hidden; h++) {
      const size_t at = (size_t)r * c.hidden + h;
      v[h] = T::widen(before[at]) + (c.residual ? (double)T::widen(residual[at]) : 0.0);
      if (c.sum) error.add(v[h], T::widen(((uint16_t *)a.sum)[at]));
    }
    const std::vector<double> y = layer_norm(v, gamma.get(), beta.get(), a.epsilon);
    for (uint32_t h = 0; h < c.hidden; h++) error.add(y[h], T::widen(((uint16_t *)a.out)[(size_t)r * c.hidden + h]));
  }
  return error.worst();
}

template <class T> double quantize(uint32_t count, uint32_t k) {
  std::vector<uint16_t> values = typed<T>(count * k, 2);
  std::fill(values.begin() + k, values.begin() + 2 * k, (uint16_t)0);
  Buffer<uint16_t> x(values);
  Buffer<int8_t> q((count + 2) * k);
  Buffer<float> scale(count + 2);
  const Buffer<uint32_t> rows = count_of(count);
  launch(std::string("pk_quantize") + suffix<T>(), {blocks(count + 2, PK_WAVES)},
         pk_quantize_args{rows.get(), x.get(), q.get(), scale.get(), k, 0});
  Error error;
  error.require(q.untouched_from(count * k) && scale.untouched_from(count));
  for (uint32_t r = 0; r < count; r++) {
    double largest = 0;
    for (uint32_t i = 0; i < k; i++) largest = std::fmax(largest, std::fabs((double)T::widen(x[r * k + i])));
    const double expected = largest > 0 ? largest / 127 : 1;
    error.add(expected, scale[r]);
    // Half a step, and a little for values that lie on the border between two.
    for (uint32_t i = 0; i < k; i++)
      error.require(std::fabs(T::widen(x[r * k + i]) / expected - q[r * k + i]) < 0.5001);
  }
  return error.worst();
}

template <class T> void add(std::vector<Test> &tests) {
  const double tolerance = T::is_bf16 ? 1e-2 : 2e-3;
  const std::string type = suffix<T>();
  for (const EmbedCase &c : {EmbedCase{9, 384, true, true, true}, EmbedCase{6, 768, false, false, false},
                             EmbedCase{5, 1024, true, false, true}, EmbedCase{7, 40, false, true, true}})
    tests.push_back({"embed" + type + " hidden " + std::to_string(c.hidden), tolerance, [c] { return embed<T>(c); }});
  for (const NormCase &c : {NormCase{13, 384, true, false, true, 0}, NormCase{5, 768, false, false, false, 0},
                            NormCase{6, 1024, true, true, true, 0}, NormCase{4, 40, true, true, false, 0},
                            // E[x^2] - E[x]^2 in binary32 is off by far more than the tolerance here.
                            NormCase{4, 384, false, false, false, 300}})
    tests.push_back({"norm" + type + " hidden " + std::to_string(c.hidden) + (c.mean > 0 ? " far from zero" : ""), tolerance,
                     [c] { return norm<T>(c); }});
  tests.push_back({"quantize" + type, 1e-6, [] { return quantize<T>(7, 96); }});
}

}  // namespace

void add_row_tests(std::vector<Test> &tests) {
  add<pk_f16>(tests);
  add<pk_bf16>(tests);
}

}  // namespace testing
