// test_main [-v] runs every test in several orders of threads; test_main --mutate takes away one barrier after another
// and requires that some order notices. test_main --overrun, in a build with AddressSanitizer, gives a kernel too short an
// output and requires that the sanitizer stops it.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "test_support.h"

namespace {

using testing::Test;
using pk_emu::Order;

const Order orders[] = {{false, 0}, {true, 2}, {false, 1}, {false, 7}, {true, 3}};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double run(const Test &test, Order order) {
  pk_emu::set_order(order);
  testing::generator().seed(20);
  return test.run();
}

int run_all(const std::vector<Test> &tests, bool verbose) {
  const double start = seconds();
  int failed = 0;
  for (const Test &test : tests) {
    double worst = 0;
    for (const Order &order : orders) {
      const double error = run(test, order);
      if (!(error <= test.tolerance))
        printf("FAILED %s: error %.3g above %.3g (%s order, seed %u)\n", test.name.c_str(), error, test.tolerance,
               order.greedy ? "greedy" : "fair", order.seed);
      worst = std::fmax(worst, error);
    }
    failed += !(worst <= test.tolerance);
    if (verbose) printf("%-48s error %.3g of %.3g\n", test.name.c_str(), worst, test.tolerance);
  }
  const pk_emu::Statistics s = pk_emu::statistics();
  printf("wave size %d: %lu blocks, %lu matrix instructions, %lu fiber switches\n", PK_WAVE, s.blocks, s.matrix_instructions,
         s.switches);
  printf("%zu passed, %d failed in %.1fs\n", tests.size() - failed, failed, seconds() - start);
  return failed != 0;
}

// In a process of its own: what a missing barrier lets happen may be anything.
bool notices(const Test &test, Order order, int site) {
  fflush(stdout);
  const pid_t child = fork();
  if (child < 0) pk_emu::die("cannot fork");
  if (child == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(2);
    alarm(60);
    pk_emu::drop_barrier(site);
    _exit(run(test, order) <= test.tolerance ? 0 : 1);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) pk_emu::die("cannot wait");
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

int overrun() {
  const pid_t child = fork();
  if (child < 0) pk_emu::die("cannot fork");
  if (child == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(0);
    const testing::Buffer<uint32_t> rows = testing::count_of(4);
    const testing::Buffer<uint16_t> x(testing::typed<pk_f16>(4 * 64, 1)), out(4 * 64 - 1);
    const testing::Buffer<float> gamma(testing::floats(64, 1));
    testing::launch("pk_norm_f16", {1},
                    pk_norm_args{rows.get(), x.get(), nullptr, gamma.get(), nullptr, nullptr, out.get(), 64, 1e-5f});
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) pk_emu::die("cannot wait");
  const bool stopped = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  printf("%d passed, %d failed in 0.1s\n", stopped, !stopped);
  return !stopped;
}

int mutate(const std::vector<Test> &tests) {
  const double start = seconds();
  std::vector<std::vector<const Test *>> reach;
  for (const Test &test : tests) {
    const std::vector<unsigned long> before = pk_emu::barrier_arrivals();
    if (!(run(test, orders[0]) <= test.tolerance)) {
      printf("FAILED %s with every barrier in place\n", test.name.c_str());
      return 1;
    }
    reach.resize(pk_emu::barrier_sites().size());
    for (size_t site = 0; site < reach.size(); site++)
      if (pk_emu::barrier_arrivals()[site] > (site < before.size() ? before[site] : 0)) reach[site].push_back(&test);
  }
  int missed = 0;
  for (size_t site = 0; site < reach.size(); site++) {
    const Test *found = nullptr;
    Order by;
    for (const Order &order : orders)
      for (const Test *test : reach[site])
        if (!found && notices(*test, order, (int)site)) {
          found = test;
          by = order;
        }
    missed += !found;
    if (found)
      printf("without %s: noticed by %s, %s order\n", pk_emu::barrier_sites()[site], found->name.c_str(),
             by.greedy ? "greedy" : "fair");
    else
      printf("FAILED without %s: nobody notices\n", pk_emu::barrier_sites()[site]);
  }
  printf("%zu passed, %d failed in %.1fs\n", reach.size() - missed, missed, seconds() - start);
  return missed != 0 || reach.empty();
}

}  // namespace

int main(int argc, char **argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "--overrun") return overrun();
  std::vector<Test> tests;
  testing::add_row_tests(tests);
  testing::add_gemm_tests(tests);
  testing::add_attention_tests(tests);
  testing::add_head_tests(tests);
  return mode == "--mutate" ? mutate(tests) : run_all(tests, mode == "-v");
}
