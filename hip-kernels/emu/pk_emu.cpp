// Fibers, collectives and the registry behind pk_emu.h.
#include "../include/pk_target.h"

#include <sys/mman.h>

#if !defined(__x86_64__)
#error "fiber_switch is written for x86-64 only"
#endif

// System V: saves the callee-saved registers on the old stack, takes them from the new one.
extern "C" void pk_emu_fiber_switch(void **save, void *load);
asm(R"(
.text
.globl pk_emu_fiber_switch
.type pk_emu_fiber_switch,@function
pk_emu_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pk_emu_fiber_switch, .-pk_emu_fiber_switch
.section .note.GNU-stack,"",@progbits
.text
)");

namespace pk_emu {
namespace {

constexpr int block_threads = PK_WAVES * PK_WAVE;
constexpr size_t stack_bytes = 256 * 1024, guard_bytes = 4096;

enum class State { ready, at_block_barrier, at_wave_collective, done };

struct Fiber {
  void *stack_pointer = nullptr;
  char *stack = nullptr;
  State state = State::done;
  unsigned collectives = 0;
};

// Collectives alternate between two slots: a lane may read one while the fastest lane already fills the other, and no
// lane can be two ahead.
struct Wave {
  int alive = 0, waiting = 0;
  uint32_t shuffled[2][PK_WAVE];
  Operands operands[2];
};

struct Block {
  Fiber fibers[block_threads];
  Wave waves[PK_WAVES];
  void *scheduler = nullptr;
  int current = 0, alive = 0, waiting = 0;
  unsigned x = 0, y = 0, epoch = 0;
  const Kernel *kernel = nullptr;
  const void *argument = nullptr;
};

Block block;
Order order;
int dropped = -1;
Statistics counted;

std::vector<Kernel> &registry() {
  static std::vector<Kernel> all;
  return all;
}
std::vector<const char *> &sites() {
  static std::vector<const char *> all;
  return all;
}

std::vector<unsigned long> arrivals;

Wave &wave() { return block.waves[block.current / PK_WAVE]; }
unsigned slot() { return block.fibers[block.current].collectives % 2; }

void suspend() {
  counted.switches++;
  pk_emu_fiber_switch(&block.fibers[block.current].stack_pointer, block.scheduler);
}

void release_block() {
  if (block.alive == 0 || block.waiting < block.alive) return;
  for (Fiber &f : block.fibers)
    if (f.state == State::at_block_barrier) f.state = State::ready;
  block.waiting = 0;
}

void release_wave(int index) {
  Wave &w = block.waves[index];
  if (w.alive == 0 || w.waiting < w.alive) return;
  for (int i = index * PK_WAVE; i < (index + 1) * PK_WAVE; i++)
    if (block.fibers[i].state == State::at_wave_collective) block.fibers[i].state = State::ready;
  w.waiting = 0;
}

void wait_for_wave() {
  block.fibers[block.current].state = State::at_wave_collective;
  wave().waiting++;
  release_wave(block.current / PK_WAVE);
  suspend();
}

extern "C" void pk_emu_fiber_main() {
  block.kernel->invoke(block.kernel->function, block.argument);
  Fiber &me = block.fibers[block.current];
  me.state = State::done;
  block.alive--;
  wave().alive--;
  release_block();
  release_wave(block.current / PK_WAVE);
  suspend();
  abort();
}

void start(Fiber &f) {
  if (!f.stack) {
    void *memory = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard_bytes, PROT_NONE) != 0) die("no memory for a stack");
    f.stack = (char *)memory;
  }
  void **top = (void **)(f.stack + guard_bytes + stack_bytes);
  *--top = nullptr;
  *--top = (void *)pk_emu_fiber_main;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  f.stack_pointer = top;
  f.state = State::ready;
  f.collectives = 0;
}

void resume(int index) {
  block.current = index;
  pk_emu_fiber_switch(&block.scheduler, block.fibers[index].stack_pointer);
}

struct Random {
  uint64_t state;
  unsigned below(unsigned n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % n;
  }
};

bool run_fair(Random &random, std::vector<int> &sequence) {
  if (order.seed > 1)
    for (unsigned i = block_threads - 1; i > 0; i--) std::swap(sequence[i], sequence[random.below(i + 1)]);
  bool moved = false;
  for (int i : sequence)
    if (block.fibers[i].state == State::ready) {
      resume(i);
      moved = true;
    }
  return moved;
}

bool run_greedy(Random &random) {
  const int first = (int)random.below(PK_WAVES);
  for (int n = 0; n < (int)PK_WAVES; n++) {
    const int w = (first + n) % (int)PK_WAVES;
    bool moved = false;
    for (bool again = true; again;) {
      again = false;
      for (int i = w * PK_WAVE; i < (w + 1) * PK_WAVE; i++)
        while (block.fibers[i].state == State::ready) {
          resume(i);
          again = moved = true;
        }
    }
    if (moved) return true;
  }
  return false;
}

void run_block() {
  counted.blocks++;
  block.epoch++;
  block.alive = block_threads;
  block.waiting = 0;
  for (Wave &w : block.waves) {
    w.alive = PK_WAVE;
    w.waiting = 0;
    memset(w.operands, 0, sizeof(w.operands));
  }
  for (Fiber &f : block.fibers) start(f);
  std::vector<int> sequence(block_threads);
  for (int i = 0; i < block_threads; i++) sequence[i] = order.seed == 1 ? block_threads - 1 - i : i;
  Random random{0x9e3779b97f4a7c15ull * (order.seed + 1)};
  while (block.alive > 0)
    if (!(order.greedy ? run_greedy(random) : run_fair(random, sequence)))
      die("deadlock: some threads wait at a barrier that others never reach");
}

}  // namespace

void set_order(Order o) { order = o; }
void drop_barrier(int site) { dropped = site; }
const std::vector<const char *> &barrier_sites() { return sites(); }
const std::vector<unsigned long> &barrier_arrivals() { return arrivals; }
Statistics statistics() { return counted; }
const std::vector<Kernel> &kernels() { return registry(); }
const Kernel *find(const char *name) {
  for (const Kernel &k : registry())
    if (strcmp(k.name, name) == 0) return &k;
  return nullptr;
}
void register_kernel(const Kernel &k) { registry().push_back(k); }

int register_site(const char *file, int line) {
  const char *slash = strrchr(file, '/');
  char name[256];
  snprintf(name, sizeof name, "%s:%d", slash ? slash + 1 : file, line);
  for (size_t i = 0; i < sites().size(); i++)
    if (strcmp(sites()[i], name) == 0) return (int)i;
  sites().push_back(strdup(name));
  arrivals.push_back(0);
  return (int)sites().size() - 1;
}

void launch(const Kernel &kernel, Grid grid, const void *argument) {
  block.kernel = &kernel;
  block.argument = argument;
  for (block.y = 0; block.y < grid.y; block.y++)
    for (block.x = 0; block.x < grid.x; block.x++) run_block();
}

void die(const char *message) {
  fprintf(stderr, "emulator: %s (%s, block %u,%u, thread %d)\n", message, block.kernel ? block.kernel->name : "-", block.x,
          block.y, block.current);
  abort();
}

unsigned shared_epoch() { return block.epoch; }
int thread() { return block.current; }
int block_x() { return (int)block.x; }
int block_y() { return (int)block.y; }

void block_sync(int site) {
  arrivals[site]++;
  if (site == dropped) return;
  block.fibers[block.current].state = State::at_block_barrier;
  block.waiting++;
  release_block();
  suspend();
}

void wave_sync(int site) {
  arrivals[site]++;
  if (site == dropped) return;
  wait_for_wave();
}

uint32_t shuffle_xor(uint32_t value, int mask) {
  const unsigned at = slot();
  const int lane = block.current % PK_WAVE;
  wave().shuffled[at][lane] = value;
  block.fibers[block.current].collectives++;
  wait_for_wave();
  return wave().shuffled[at][lane ^ mask];
}

Operands &operands() { return wave().operands[slot()]; }

const Operands &exchange_operands() {
  const unsigned at = slot();
  block.fibers[block.current].collectives++;
  wait_for_wave();
  Wave &w = wave();
  // Whoever comes first sees that nothing is missing, and clears the marks for the product after the next.
  if (w.operands[at].x_set[0][0]) {
    for (int row = 0; row < 16; row++)
      for (int k = 0; k < matrix_k; k++)
        if (!w.operands[at].x_set[row][k] || !w.operands[at].y_set[row][k]) die("an operand of a product is incomplete");
    memset(w.operands[at].x_set, 0, sizeof(w.operands[at].x_set));
    memset(w.operands[at].y_set, 0, sizeof(w.operands[at].y_set));
    counted.matrix_instructions++;
  }
  return w.operands[at];
}

float half_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  uint32_t u;
  if (exponent == 31) {
    u = sign | 0x7f800000u | (fraction << 13);
  } else if (exponent != 0) {
    u = sign | ((exponent + 112) << 23) | (fraction << 13);
  } else {
    const float tiny = (float)fraction * 5.9604644775390625e-8f;
    memcpy(&u, &tiny, 4);
    u |= sign;
  }
  float v;
  memcpy(&v, &u, 4);
  return v;
}

uint16_t float_to_half(float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  const uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  if (magnitude >= 0x7f800000u) return (uint16_t)(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u : 0));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Adding 0.5 shifts the subnormal result into the low bits, rounded to nearest even by the adder.
    float a;
    memcpy(&a, &magnitude, 4);
    a += 0.5f;
    uint32_t shifted;
    memcpy(&shifted, &a, 4);
    return (uint16_t)(sign | (shifted - 0x3f000000u));
  }
  return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13));
}

}  // namespace pk_emu
