// Data, buffers and comparison for tests of the kernels on the emulator.
#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "../include/pk_math.h"

namespace testing {

constexpr unsigned char guard_byte = 0xa5;

// Device memory: 16-byte aligned, of exactly the size asked for, so that a sanitizer sees every byte too far.
template <class V> class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count), data_((V *)allocate(count * sizeof(V)), free) {
    memset((void *)data_.get(), guard_byte, count * sizeof(V));
  }
  Buffer(const std::vector<V> &from) : Buffer(from.size()) { std::copy(from.begin(), from.end(), data_.get()); }
  V *get() const { return data_.get(); }
  V &operator[](size_t i) const { return data_.get()[i]; }
  size_t size() const { return count_; }
  // Whether everything from element `first` on is as allocated.
  bool untouched_from(size_t first) const {
    const unsigned char *bytes = (const unsigned char *)data_.get();
    for (size_t i = first * sizeof(V); i < count_ * sizeof(V); i++)
      if (bytes[i] != guard_byte) return false;
    return true;
  }

 private:
  static void *allocate(size_t bytes) {
    void *memory = nullptr;
    if (posix_memalign(&memory, 16, bytes ? bytes : 1) != 0) abort();
    return memory;
  }
  size_t count_;
  std::unique_ptr<V, void (*)(void *)> data_;
};

inline std::mt19937 &generator() {
  static std::mt19937 g(20);
  return g;
}
inline std::vector<float> floats(size_t count, float scale, float mean = 0.0f) {
  std::normal_distribution<float> d(mean, scale);
  std::vector<float> v(count);
  for (float &x : v) x = d(generator());
  return v;
}
template <class T> std::vector<uint16_t> typed(size_t count, float scale, float mean = 0.0f) {
  std::vector<uint16_t> v;
  for (float x : floats(count, scale, mean)) v.push_back(T::narrow(x));
  return v;
}
inline Buffer<uint32_t> count_of(uint32_t n) { return Buffer<uint32_t>(std::vector<uint32_t>{n}); }
inline unsigned blocks(size_t n, size_t per) { return (unsigned)((n + per - 1) / per); }

template <class T> const char *suffix() { return T::is_bf16 ? "_bf16" : "_f16"; }

template <class A> void launch(const std::string &name, pk_emu::Grid grid, const A &argument) {
  const pk_emu::Kernel *kernel = pk_emu::find(name.c_str());
  if (!kernel || kernel->argument_bytes != sizeof(A)) pk_emu::die("no such kernel, or another argument");
  pk_emu::launch(*kernel, grid, &argument);
}

// The largest error so far relative to max(1, |expected|); NaN counts as infinite.
class Error {
 public:
  void add(double expected, double got) {
    const double e = std::fabs(expected - got) / std::fmax(1.0, std::fabs(expected));
    worst_ = e <= worst_ ? worst_ : (e == e ? e : INFINITY);
  }
  void require(bool held) {
    if (!held) worst_ = INFINITY;
  }
  double worst() const { return worst_; }

 private:
  double worst_ = 0;
};

struct Test {
  std::string name;
  double tolerance;
  std::function<double()> run;
};

inline double gelu(double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); }

// LayerNorm of one row in double.
inline std::vector<double> layer_norm(const std::vector<double> &x, const float *gamma, const float *beta, double epsilon) {
  double mean = 0, variance = 0;
  for (double v : x) mean += v / (double)x.size();
  for (double v : x) variance += (v - mean) * (v - mean) / (double)x.size();
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); i++)
    y[i] = (x[i] - mean) / std::sqrt(variance + epsilon) * gamma[i] + (beta ? beta[i] : 0.0);
  return y;
}

void add_row_tests(std::vector<Test> &);
void add_gemm_tests(std::vector<Test> &);
void add_attention_tests(std::vector<Test> &);
void add_head_tests(std::vector<Test> &);

}  // namespace testing
