#include "test_support.h"

namespace testing {
namespace {

struct Tile {
  const char *name;
  uint32_t columns, rows;
};
constexpr Tile skinny = {"skinny", 32, 16}, mid = {"mid", 64, 64}, fat = {"fat", 128, 128};

struct Case {
  Tile tile;
  uint32_t rows, n, k, activation;
  bool bias, residual;
};

// The sum of row m and weight row w, with what the epilogue does to it up to the activation, is `sum(m, w)`.
template <class T, class Sum>
double check(const Case &c, const Buffer<uint16_t> &out, const std::vector<uint16_t> &residual, Sum sum) {
  const bool gated = c.activation == PK_GEGLU;
  const uint32_t columns = gated ? c.n / 2 : c.n;
  Error error;
  error.require(out.untouched_from((size_t)c.rows * columns));
  for (uint32_t m = 0; m < c.rows; m++)
    for (uint32_t column = 0; column < columns; column++) {
      double v;
      if (gated) {
        const uint32_t gate = column / 16 * 32 + column % 16;
        v = gelu(sum(m, gate)) * sum(m, gate + 16);
      } else {
        v = sum(m, column);
        v = c.activation == PK_GELU ? gelu(v) : c.activation == PK_TANH ? std::tanh(v) : v;
      }
      if (c.residual) v += T::widen(residual[(size_t)m * columns + column]);
      error.add(v, T::widen(out[(size_t)m * columns + column]));
    }
  return error.worst();
}

pk_emu::Grid grid(const Case &c) { return {blocks(c.n, c.tile.columns), blocks(c.rows, c.tile.rows) + 1}; }

template <class T> double gemm(const Case &c) {
  const uint32_t columns = c.activation == PK_GEGLU ? c.n / 2 : c.n;
  Buffer<uint16_t> a(typed<T>((size_t)c.rows * c.k, 1)), w(typed<T>((size_t)c.n * c.k, 0.1f));
  const std::vector<uint16_t> residual = typed<T>((size_t)c.rows * columns, 1);
  Buffer<float> bias(floats(c.n, 1));
  // In place: the epilogue reads the residual and writes the sum over it.
  Buffer<uint16_t> out((size_t)(c.rows + 1) * columns);
  if (c.residual) std::copy(residual.begin(), residual.end(), out.get());
  const Buffer<uint32_t> rows = count_of(c.rows);
  pk_gemm_args args = {};
  args.rows = rows.get(), args.a = a.get(), args.w = w.get(), args.bias = c.bias ? bias.get() : nullptr;
  args.residual = c.residual ? out.get() : nullptr, args.out = out.get();
  args.n = c.n, args.k = c.k, args.activation = c.activation;
  launch(std::string("pk_gemm_") + c.tile.name + suffix<T>(), grid(c), args);
  return check<T>(c, out, residual, [&](uint32_t m, uint32_t n) {
    double s = c.bias ? bias[n] : 0;
    for (uint32_t k = 0; k < c.k; k++) s += (double)T::widen(a[(size_t)m * c.k + k]) * T::widen(w[(size_t)n * c.k + k]);
    return s;
  });
}

template <class T> double gemm_i8(const Case &c) {
  const uint32_t columns = c.activation == PK_GEGLU ? c.n / 2 : c.n;
  std::uniform_int_distribution<int> byte(-127, 127);
  Buffer<int8_t> a((size_t)c.rows * c.k), w((size_t)c.n * c.k);
  for (size_t i = 0; i < a.size(); i++) a[i] = (int8_t)byte(generator());
  for (size_t i = 0; i < w.size(); i++) w[i] = (int8_t)byte(generator());
  Buffer<float> a_scale(floats(c.rows, 0.002f, 0.01f)), w_scale(floats(c.n, 0.0002f, 0.001f)), bias(floats(c.n, 1));
  Buffer<uint16_t> out((size_t)(c.rows + 1) * columns);
  const std::vector<uint16_t> residual = typed<T>((size_t)c.rows * columns, 1);
  Buffer<uint16_t> addend(residual);
  const Buffer<uint32_t> rows = count_of(c.rows);
  pk_gemm_i8_args args = {};
  args.rows = rows.get(), args.a = a.get(), args.a_scale = a_scale.get(), args.w = w.get(), args.w_scale = w_scale.get();
  args.bias = c.bias ? bias.get() : nullptr, args.residual = c.residual ? addend.get() : nullptr, args.out = out.get();
  args.n = c.n, args.k = c.k, args.activation = c.activation;
  launch(std::string("pk_gemm_i8_") + c.tile.name + suffix<T>(), grid(c), args);
  return check<T>(c, out, residual, [&](uint32_t m, uint32_t n) {
    long s = 0;
    for (uint32_t k = 0; k < c.k; k++) s += a[(size_t)m * c.k + k] * w[(size_t)n * c.k + k];
    return (double)s * a_scale[m] * w_scale[n] + (c.bias ? bias[n] : 0);
  });
}

std::string describe(const Case &c) {
  const char *activations[] = {"", " gelu", " tanh", " geglu"};
  return std::string(c.tile.name) + " " + std::to_string(c.rows) + "x" + std::to_string(c.n) + "x" + std::to_string(c.k) +
         activations[c.activation] + (c.bias ? " bias" : "") + (c.residual ? " residual" : "");
}

template <class T> void add(std::vector<Test> &tests) {
  const double tolerance = T::is_bf16 ? 1e-2 : 1e-3;
  const std::string type = suffix<T>();
  for (const Case &c : {Case{skinny, 21, 48, 160, PK_NONE, true, true}, Case{skinny, 5, 96, 32, PK_GEGLU, true, false},
                        Case{skinny, 16, 32, 384, PK_GELU, false, false}, Case{skinny, 33, 64, 96, PK_TANH, true, true},
                        Case{mid, 70, 80, 96, PK_GELU, true, false}, Case{mid, 9, 96, 64, PK_GEGLU, false, true},
                        Case{mid, 64, 64, 32, PK_NONE, false, true}, Case{fat, 150, 144, 96, PK_NONE, true, true},
                        Case{fat, 33, 160, 64, PK_GEGLU, true, true}, Case{fat, 129, 128, 64, PK_TANH, false, false}})
    tests.push_back({"gemm" + type + " " + describe(c), tolerance, [c] { return gemm<T>(c); }});
  for (const Case &c : {Case{skinny, 19, 48, 160, PK_NONE, true, true}, Case{skinny, 3, 64, 64, PK_GEGLU, true, false},
                        Case{mid, 70, 80, 96, PK_GELU, true, true}, Case{mid, 33, 96, 32, PK_GEGLU, false, false}})
    tests.push_back({"gemm i8" + type + " " + describe(c), tolerance, [c] { return gemm_i8<T>(c); }});
}

}  // namespace

void add_gemm_tests(std::vector<Test> &tests) {
  add<pk_f16>(tests);
  add<pk_bf16>(tests);
}

}  // namespace testing
