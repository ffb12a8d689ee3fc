// Runs the kernels on the host as plain C++17: the language half of the proof without a GPU.
//
// The threads of a block are fibers of one OS thread. Barriers, wave shuffles and matrix instructions are collectives
// over fibers: a thread that never arrives is reported as a deadlock. Shared memory is filled with 0xff (NaN, or an
// index out of all proportion) at the start of every block. The order in which fibers run is chosen for each launch;
// a kernel whose result depends on it lacks a barrier. Fair orders let every thread go to its next collective in turn;
// greedy ones run one wave as far as it gets before another moves, which is what finds writes that come too early.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#if PK_EMU_MFMA
#define PK_MFMA 1
#define PK_WAVE 64
#elif PK_EMU_WMMA11
#define PK_WMMA11 1
#define PK_WAVE 32
#elif PK_EMU_WMMA12
#define PK_WMMA12 1
#define PK_WAVE 32
#elif PK_EMU_CUDA
#define PK_CUDA 1
#define PK_WAVE 32
#else
#error "choose PK_EMU_MFMA, PK_EMU_WMMA11, PK_EMU_WMMA12 or PK_EMU_CUDA"
#endif

namespace pk_emu {

// Whether a launch uses fair or greedy order, and the seed of its choices.
struct Order {
  bool greedy = false;
  unsigned seed = 0;  // 0: forward, 1: backward, more: shuffled anew each round
};

struct Statistics {
  unsigned long blocks = 0, switches = 0, matrix_instructions = 0;
};

struct Kernel {
  const char *name;
  size_t argument_bytes;
  void (*invoke)(void *function, const void *argument);
  void *function;
};

struct Grid {
  unsigned x = 1, y = 1, z = 1;
};

void set_order(Order);
// Makes barriers of this site pass through, for the mutation test; -1 for none.
void drop_barrier(int site);
// The barrier sites met so far, as "file:line", and how often threads have arrived at each.
const std::vector<const char *> &barrier_sites();
const std::vector<unsigned long> &barrier_arrivals();
Statistics statistics();

const Kernel *find(const char *name);
const std::vector<Kernel> &kernels();
// Runs all blocks, one after another. Deadlocks and misuse end the process with a message.
void launch(const Kernel &, Grid, const void *argument);

int register_site(const char *file, int line);
void register_kernel(const Kernel &);
unsigned shared_epoch();
int thread();
int block_x();
int block_y();
void block_sync(int site);
void wave_sync(int site);
uint32_t shuffle_xor(uint32_t value, int mask);

// A matrix product as one wave-wide collective: every lane deposits its elements, then reads whole operands.
constexpr int matrix_k = 32;
struct Operands {
  float x[16][matrix_k], y[16][matrix_k];
  bool x_set[16][matrix_k], y_set[16][matrix_k];
};
Operands &operands();
// Waits until all lanes have deposited, and returns what they deposited; valid until the lane's next collective.
const Operands &exchange_operands();
[[noreturn]] void die(const char *message);

template <class A> struct Registration {
  Registration(const char *name, void (*function)(A)) {
    register_kernel({name, sizeof(A),
                     [](void *f, const void *a) {
                       A argument;
                       memcpy(&argument, a, sizeof(A));
                       ((void (*)(A))f)(argument);
                     },
                     (void *)function});
  }
};

template <class T> void poison(T *memory, size_t bytes, unsigned &epoch) {
  if (epoch == shared_epoch()) return;
  memset((void *)memory, 0xff, bytes);
  epoch = shared_epoch();
}

float half_to_float(uint16_t bits);
uint16_t float_to_half(float v);

}  // namespace pk_emu

#define PK_DEVICE static inline
#define PK_DEVICE_MEMBER inline
#define PK_KERNEL extern "C" void
#define PK_REGISTER(name) static const pk_emu::Registration pk_registration_##name(#name, &name);
#define PK_SHARED(T, name, count)                       \
  alignas(16) static thread_local T name[count];        \
  {                                                     \
    static thread_local unsigned pk_epoch = 0;          \
    pk_emu::poison(name, sizeof(name), pk_epoch);       \
  }
#define PK_SITE(call)                                                      \
  do {                                                                     \
    static const int pk_site = pk_emu::register_site(__FILE__, __LINE__);  \
    call(pk_site);                                                         \
  } while (0)
#define PK_SYNC() PK_SITE(pk_emu::block_sync)
#define PK_SYNC_WAVE() PK_SITE(pk_emu::wave_sync)
#define PK_UNROLL
#define PK_ROLLED

typedef uint32_t pk_u4 __attribute__((vector_size(16), may_alias));
typedef uint32_t pk_u2 __attribute__((vector_size(8), may_alias));
typedef float pk_f4 __attribute__((vector_size(16), may_alias));

PK_DEVICE int pk_thread() { return pk_emu::thread(); }
PK_DEVICE int pk_wave() { return pk_emu::thread() / PK_WAVE; }
PK_DEVICE int pk_block_x() { return pk_emu::block_x(); }
PK_DEVICE int pk_block_y() { return pk_emu::block_y(); }
PK_DEVICE uint32_t pk_shuffle_xor(uint32_t v, int mask) { return pk_emu::shuffle_xor(v, mask); }
PK_DEVICE uint32_t pk_as_u32(float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  return u;
}
PK_DEVICE float pk_as_float(uint32_t u) {
  float v;
  memcpy(&v, &u, 4);
  return v;
}
PK_DEVICE float pk_exp2(float v) { return exp2f(v); }
PK_DEVICE float pk_rsqrt(float v) { return 1.0f / sqrtf(v); }
PK_DEVICE float pk_rcp(float v) { return 1.0f / v; }
PK_DEVICE float pk_round(float v) { return nearbyintf(v); }
PK_DEVICE float pk_max(float a, float b) { return fmaxf(a, b); }
PK_DEVICE float pk_min(float a, float b) { return fminf(a, b); }
PK_DEVICE float pk_half_to_float(uint16_t bits) { return pk_emu::half_to_float(bits); }
PK_DEVICE uint16_t pk_float_to_half(float v) { return pk_emu::float_to_half(v); }
