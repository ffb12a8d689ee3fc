#include "test_support.h"

namespace testing {
namespace {

struct Case {
  uint32_t dimension, window;
  bool rope;
  std::vector<uint32_t> lengths;
};

template <class T> double attention(const Case &c) {
  const uint32_t heads = 2, d = c.dimension, row = heads * d, rope_limit = 100;
  std::vector<pk_tile> list;
  std::vector<uint32_t> first;
  uint32_t tokens = 0;
  for (uint32_t length : c.lengths) {
    first.push_back(tokens);
    for (uint32_t query = 0; query < length; query += PK_QUERY_TILE) list.push_back({tokens, length, query, 0});
    tokens += length;
  }
  std::reverse(list.begin(), list.end());
  Buffer<pk_tile> tiles(list);
  Buffer<uint16_t> qkv(typed<T>((size_t)tokens * 3 * row, 1)), out((size_t)(tokens + 1) * row);
  std::vector<float> table;
  for (uint32_t position = 0; position < rope_limit; position++)
    for (uint32_t i = 0; i < d; i++) {
      const double angle = position * std::pow(10000.0, -2.0 * (i % (d / 2)) / d);
      table.push_back((float)(i < d / 2 ? std::cos(angle) : std::sin(angle)));
    }
  Buffer<float> rope(table);
  const Buffer<uint32_t> count = count_of((uint32_t)list.size());
  pk_attention_args a = {};
  a.tile_count = count.get(), a.tiles = tiles.get(), a.qkv = qkv.get(), a.rope = c.rope ? rope.get() : nullptr;
  a.out = out.get(), a.heads = heads, a.window = c.window, a.rope_limit = rope_limit, a.scale = 1 / std::sqrt((float)d);
  launch("pk_attention" + std::to_string(d) + suffix<T>(), {(unsigned)list.size() + 2, heads}, a);

  Error error;
  error.require(out.untouched_from((size_t)tokens * row));
  const auto at = [&](uint32_t s, uint32_t token, uint32_t which, uint32_t head, uint32_t i) {
    const auto element = [&](uint32_t j) {
      return (double)T::widen(qkv[(size_t)(first[s] + token) * 3 * row + which * row + head * d + j]);
    };
    if (!c.rope || which == 2) return element(i);
    const float *angles = table.data() + (size_t)std::min(token, rope_limit - 1) * d;
    const uint32_t j = i % (d / 2);
    const double x = element(j), y = element(j + d / 2);
    return i < d / 2 ? x * angles[j] - y * angles[d / 2 + j] : y * angles[j] + x * angles[d / 2 + j];
  };
  for (uint32_t s = 0; s < c.lengths.size(); s++)
    for (uint32_t head = 0; head < heads; head++) {
      const uint32_t length = c.lengths[s];
      std::vector<double> rotated[3];
      for (uint32_t which = 0; which < 3; which++)
        for (uint32_t t = 0; t < length; t++)
          for (uint32_t i = 0; i < d; i++) rotated[which].push_back(at(s, t, which, head, i));
      for (uint32_t q = 0; q < length; q++) {
        std::vector<double> p(length, 0), expected(d, 0);
        double total = 0;
        for (uint32_t k = 0; k < length; k++) {
          if (c.window && (q > k ? q - k : k - q) > c.window) continue;
          double score = 0;
          for (uint32_t i = 0; i < d; i++) score += rotated[0][q * d + i] * rotated[1][k * d + i];
          total += p[k] = std::exp(score * a.scale);
        }
        for (uint32_t k = 0; k < length; k++)
          for (uint32_t i = 0; i < d; i++) expected[i] += p[k] / total * rotated[2][k * d + i];
        for (uint32_t i = 0; i < d; i++)
          error.add(expected[i], T::widen(out[(size_t)(first[s] + q) * row + head * d + i]));
      }
    }
  return error.worst();
}

template <class T> void add(std::vector<Test> &tests) {
  for (const Case &c : {Case{32, 0, false, {1, 37, 70}}, Case{32, 5, false, {66, 3}}, Case{64, 0, true, {130, 16}},
                        // The window leaves out the first tile of keys for the last queries, and whole waves of keys.
                        Case{64, 8, true, {150}}, Case{64, 64, false, {17, 129}}})
    tests.push_back({"attention" + std::to_string(c.dimension) + suffix<T>() + " window " + std::to_string(c.window) +
                         (c.rope ? " rope" : ""),
                     T::is_bf16 ? 2.5e-2 : 4e-3, [c] { return attention<T>(c); }});
}

}  // namespace

void add_attention_tests(std::vector<Test> &tests) {
  add<pk_f16>(tests);
  add<pk_bf16>(tests);
}

}  // namespace testing
