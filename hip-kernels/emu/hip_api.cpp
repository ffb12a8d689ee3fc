// libamdhip64 on the CPU: the HIP entry points over the kernel emulator, so that the host side runs end to end without
// a GPU.
//
// Strict where hardware would be lenient by luck: queued work is executed only when somebody synchronises or asks, so a
// missing synchronisation shows as stale data; device memory cannot be touched by the host outside of that; copies are
// checked against allocations when they are queued; kernel arguments are copied at the launch.
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "../rocm-shim/include/hip/hip_runtime.h"
#include "hip_faults.h"
#include "../include/pk_target.h"

#define CONTROL extern "C" __attribute__((visibility("default")))
// Inside the emulated CUDA driver HIP's names are nobody else's business.
#ifdef EXPORT_HIP
#define EXPORT EXPORT_HIP
#else
#define EXPORT CONTROL
#endif

using Work = std::function<hipError_t()>;
using Clock = std::chrono::steady_clock;

struct ihipGraph {
  std::vector<Work> work;
};
struct hipGraphExec {
  std::vector<Work> work;
};
struct ihipStream_t {
  std::deque<Work> queue;
  std::unique_ptr<ihipGraph> capture;
};
struct EventState {
  bool done = true;
  ihipStream_t *stream = nullptr;
  Clock::time_point at;
};
// Queued work may outlive the handle.
struct ihipEvent_t {
  std::shared_ptr<EventState> state = std::make_shared<EventState>();
};
struct ihipModuleSymbol_t {
  const pk_emu::Kernel *kernel;
};
struct ihipModule_t {
  std::map<std::string, ihipModuleSymbol_t> functions;
};

namespace {

// What the device is unless a test says otherwise.
#if PK_EMU_WMMA11
constexpr const char *own_isa = "gfx1100";
#elif PK_EMU_CUDA
constexpr const char *own_isa = "sm_90";
#else
constexpr const char *own_isa = "gfx942:sramecc+:xnack-";
#endif
// Code objects: ELF's machine, where its flags name the processor, and whether PTX will do.
#if PK_EMU_CUDA
#define PK_CUDA_IMAGES true
constexpr unsigned elf_machine = 190, flags_shift = 8;
#else
#define PK_CUDA_IMAGES false
constexpr unsigned elf_machine = 224, flags_shift = 0;
#endif
const std::map<std::string, unsigned> machines = {
    {"sm_90", 90},
    {"gfx942", 0x4c}, {"gfx1100", 0x41}, {"gfx1101", 0x46}, {"gfx1150", 0x43}};
std::string isa = own_isa;
constexpr size_t page = 4096, default_memory = 4ull << 30;

struct Fault {
  unsigned after;
  hipError_t error;
};

std::recursive_mutex mutex;
std::mutex hang_mutex;
std::condition_variable resumed;
std::map<char *, size_t> device, host;
std::map<ihipStream_t *, std::unique_ptr<ihipStream_t>> streams;
std::map<std::string, Fault> faults;
std::map<std::string, unsigned long> calls;
ihipStream_t null_stream;
size_t memory_limit = default_memory, memory_used = 0;
unsigned long others = 0;  // events, modules, graphs
std::atomic<bool> hanging = false;
hipError_t dead = hipSuccess;

// A process without a test in it finds its faults in its environment: PINTLE_EMU_FAIL=call:after:error.
const bool faults_of_environment = [] {
  const char *plan = getenv("PINTLE_EMU_FAIL");
  char call[64];
  unsigned after, error;
  if (plan && sscanf(plan, "%63[^:]:%u:%u", call, &after, &error) == 3) faults[call] = {after, (hipError_t)error};
  return plan != nullptr;
}();

bool kills(hipError_t e) { return e == hipErrorLaunchFailure || e == hipErrorIllegalAddress; }

hipError_t enter(const char *call) {
  calls[call]++;
  const auto fault = faults.find(call);
  if (fault == faults.end()) return dead;
  if (fault->second.after-- > 0) return dead;
  const hipError_t error = fault->second.error;
  faults.erase(fault);
  if (kills(error)) dead = error;
  return error;
}
#define ENTER()                                          \
  std::lock_guard<std::recursive_mutex> lock(mutex);     \
  if (const hipError_t failed = enter(__func__)) return failed

void allow_device(bool allow) {
  for (const auto &[memory, bytes] : device) mprotect(memory, bytes, allow ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// Before a call that waits takes the lock, so that others can end the hang.
void wait_out_hang() {
  std::unique_lock<std::mutex> lock(hang_mutex);
  resumed.wait(lock, [] { return !hanging; });
}

// Runs what is queued; whatever was queued on a device that dies is lost.
hipError_t drain(ihipStream_t *stream) {
  if (dead) return dead;
  allow_device(true);
  while (!stream->queue.empty() && !dead) {
    const Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    const hipError_t error = work();
    if (kills(error)) dead = error;
  }
  if (dead) {
    null_stream.queue.clear();
    for (auto &other : streams) other.first->queue.clear();
  }
  allow_device(false);
  return dead;
}

ihipStream_t *real(hipStream_t s) { return s ? s : &null_stream; }
bool known(hipStream_t s) { return !s || streams.count(s); }

hipError_t put(hipStream_t s, Work work) {
  if (!known(s)) return hipErrorInvalidHandle;
  ihipStream_t *stream = real(s);
  if (stream->capture)
    stream->capture->work.push_back(std::move(work));
  else
    stream->queue.push_back(std::move(work));
  return hipSuccess;
}

bool inside(const std::map<char *, size_t> &allocations, const void *memory, size_t bytes) {
  auto at = allocations.upper_bound((char *)memory);
  if (at == allocations.begin()) return false;
  --at;
  return (char *)memory + bytes <= at->first + at->second;
}

}  // namespace

CONTROL void pintle_emu_fail(const char *call, unsigned after, int error) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  faults[call] = {after, (hipError_t)error};
}
CONTROL void pintle_emu_hang(int on) {
  std::lock_guard<std::mutex> lock(hang_mutex);
  hanging = on;
  resumed.notify_all();
}
CONTROL void pintle_emu_isa(const char *name) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  isa = name;
}
CONTROL void pintle_emu_memory(size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  memory_limit = bytes;
}
CONTROL unsigned long pintle_emu_calls(const char *call) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  return calls[call];
}
CONTROL unsigned long pintle_emu_alive(void) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  return device.size() + host.size() + streams.size() + others;
}
CONTROL void pintle_emu_reset(void) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  faults.clear();
  calls.clear();
  memory_limit = default_memory;
  isa = own_isa;
  dead = hipSuccess;
  pintle_emu_hang(0);
}

EXPORT hipError_t hipInit(unsigned) {
  ENTER();
  return hipSuccess;
}
EXPORT hipError_t hipRuntimeGetVersion(int *version) {
  ENTER();
  *version = 70100000;
  return hipSuccess;
}
EXPORT hipError_t hipDriverGetVersion(int *version) {
  ENTER();
  *version = 70100000;
  return hipSuccess;
}
EXPORT hipError_t hipGetDeviceCount(int *count) {
  ENTER();
  *count = 1;
  return hipSuccess;
}
EXPORT hipError_t hipSetDevice(int index) {
  ENTER();
  return index == 0 ? hipSuccess : hipErrorInvalidDevice;
}
EXPORT hipError_t hipGetDevice(int *index) {
  ENTER();
  *index = 0;
  return hipSuccess;
}
EXPORT hipError_t hipDeviceGetName(char *name, int length, hipDevice_t) {
  ENTER();
  snprintf(name, (size_t)length, "Pintle emulator (wave %d)", PK_WAVE);
  return hipSuccess;
}
EXPORT hipError_t hipDeviceTotalMem(size_t *bytes, hipDevice_t) {
  ENTER();
  *bytes = memory_limit;
  return hipSuccess;
}
EXPORT hipError_t hipDeviceComputeCapability(int *major, int *minor, hipDevice_t) {
  ENTER();
  *major = PK_WAVE == 64 ? 9 : 11;
  *minor = PK_WAVE == 64 ? 4 : 0;
  return hipSuccess;
}
EXPORT hipError_t hipDeviceGetUuid(hipUUID *uuid, hipDevice_t) {
  ENTER();
  memset(uuid, 0, sizeof *uuid);
  return hipSuccess;
}
EXPORT hipError_t hipDeviceGetPCIBusId(char *id, int length, int) {
  ENTER();
  snprintf(id, (size_t)length, "0000:00:00.0");
  return hipSuccess;
}
EXPORT hipError_t hipDeviceGetByPCIBusId(int *index, const char *) {
  ENTER();
  *index = 0;
  return hipSuccess;
}
EXPORT hipError_t hipDeviceGetP2PAttribute(int *, hipDeviceP2PAttr, int, int) { return hipErrorNotSupported; }
EXPORT hipError_t hipDeviceGetDefaultMemPool(hipMemPool_t *, int) { return hipErrorNotSupported; }
EXPORT hipError_t hipMemPoolCreate(hipMemPool_t *, const hipMemPoolProps *) { return hipErrorNotSupported; }
EXPORT hipError_t hipMemPoolDestroy(hipMemPool_t) { return hipErrorNotSupported; }
EXPORT hipError_t hipDeviceGetAttribute(int *value, hipDeviceAttribute_t attribute, int) {
  ENTER();
  if (attribute == hipDeviceAttributeWarpSize)
    *value = PK_WAVE;
  else if (attribute == hipDeviceAttributeMultiprocessorCount)
    *value = 4;
  else
    return hipErrorInvalidValue;
  return hipSuccess;
}
EXPORT hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600 *properties, int index) {
  ENTER();
  static_assert(sizeof(hipDeviceProp_tR0600) == 1472 && offsetof(hipDeviceProp_tR0600, gcnArchName) == 1160, "HIP 6");
  if (index != 0) return hipErrorInvalidDevice;
  memset(properties, 0, sizeof *properties);
  snprintf(properties->name, sizeof properties->name, "Pintle emulator (wave %d)", PK_WAVE);
  snprintf(properties->gcnArchName, sizeof properties->gcnArchName, "%s", isa.c_str());
  properties->totalGlobalMem = memory_limit;
  properties->sharedMemPerBlock = 65536;
  properties->warpSize = PK_WAVE;
  return hipSuccess;
}

EXPORT hipError_t hipMemGetInfo(size_t *left, size_t *total) {
  ENTER();
  *total = memory_limit;
  *left = memory_limit - std::min(memory_limit, memory_used);
  return hipSuccess;
}
EXPORT hipError_t hipMalloc(void **memory, size_t bytes) {
  ENTER();
  const size_t rounded = std::max(page, (bytes + page - 1) / page * page);
  if (memory_used + rounded > memory_limit) return hipErrorOutOfMemory;
  // One more page that stays closed: whoever runs past the end is stopped.
  char *at = (char *)mmap(nullptr, rounded + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == (char *)MAP_FAILED) return hipErrorOutOfMemory;
  mprotect(at, rounded, PROT_READ | PROT_WRITE);
  memset(at, 0xa5, rounded);
  mprotect(at, rounded, PROT_NONE);
  device[at] = rounded;
  memory_used += rounded;
  *memory = at;
  return hipSuccess;
}
EXPORT hipError_t hipExtMallocWithFlags(void **memory, size_t bytes, unsigned) { return hipMalloc(memory, bytes); }
EXPORT hipError_t hipMallocAsync(void **memory, size_t bytes, hipStream_t) { return hipMalloc(memory, bytes); }
EXPORT hipError_t hipFree(void *memory) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (!memory) return hipSuccess;
  const auto at = device.find((char *)memory);
  if (at == device.end()) return hipErrorInvalidValue;
  // Memory comes back even from a dead device, so that owners can be dropped.
  const hipError_t failed = enter(__func__);
  if (!failed && !hanging) {
    drain(&null_stream);
    for (auto &stream : streams) drain(stream.first);
  }
  munmap(at->first, at->second + page);
  memory_used -= at->second;
  device.erase(at);
  return failed;
}
EXPORT hipError_t hipHostMalloc(void **memory, size_t bytes, unsigned) {
  ENTER();
  const size_t rounded = (bytes + 63) / 64 * 64;
  *memory = aligned_alloc(64, std::max<size_t>(rounded, 64));
  if (!*memory) return hipErrorOutOfMemory;
  host[(char *)*memory] = rounded;
  return hipSuccess;
}
EXPORT hipError_t hipHostFree(void *memory) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (!memory) return hipSuccess;
  if (!host.erase((char *)memory)) return hipErrorInvalidValue;
  free(memory);
  return enter(__func__);
}

static hipError_t queue_copy(void *to, const void *from, size_t bytes, hipMemcpyKind kind, hipStream_t stream) {
  const bool to_device = kind == hipMemcpyHostToDevice || kind == hipMemcpyDeviceToDevice;
  const bool from_device = kind == hipMemcpyDeviceToHost || kind == hipMemcpyDeviceToDevice;
  if (kind != hipMemcpyDefault && (to_device != inside(device, to, bytes) || from_device != inside(device, from, bytes)))
    return hipErrorInvalidValue;
  return put(stream, [=] {
    memcpy(to, from, bytes);
    return hipSuccess;
  });
}
static hipError_t queue_fill(void *memory, int value, size_t bytes, hipStream_t stream) {
  if (!inside(device, memory, bytes)) return hipErrorInvalidValue;
  return put(stream, [=] {
    memset(memory, value, bytes);
    return hipSuccess;
  });
}
static hipError_t drain_all() {
  hipError_t error = drain(&null_stream);
  for (auto &stream : streams) error = error ? error : drain(stream.first);
  return error;
}
EXPORT hipError_t hipMemcpyAsync(void *to, const void *from, size_t bytes, hipMemcpyKind kind, hipStream_t stream) {
  ENTER();
  return queue_copy(to, from, bytes, kind, stream);
}
EXPORT hipError_t hipMemsetAsync(void *memory, int value, size_t bytes, hipStream_t stream) {
  ENTER();
  return queue_fill(memory, value, bytes, stream);
}
EXPORT hipError_t hipDeviceSynchronize(void) {
  wait_out_hang();
  ENTER();
  return drain_all();
}
EXPORT hipError_t hipMemcpy(void *to, const void *from, size_t bytes, hipMemcpyKind kind) {
  wait_out_hang();
  ENTER();
  const hipError_t error = queue_copy(to, from, bytes, kind, nullptr);
  return error ? error : drain_all();
}
EXPORT hipError_t hipMemset(void *memory, int value, size_t bytes) {
  wait_out_hang();
  ENTER();
  const hipError_t error = queue_fill(memory, value, bytes, nullptr);
  return error ? error : drain_all();
}
EXPORT hipError_t hipDeviceReset(void) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  const hipError_t was = dead;
  dead = hipSuccess;
  if (const hipError_t failed = enter(__func__)) {
    if (!dead) dead = was;
    return failed;
  }
  null_stream.queue.clear();
  for (auto &stream : streams) stream.first->queue.clear();
  for (const auto &[memory, bytes] : device) munmap(memory, bytes + page);
  device.clear();
  memory_used = 0;
  return hipSuccess;
}

EXPORT hipError_t hipStreamCreateWithFlags(hipStream_t *stream, unsigned) {
  ENTER();
  auto made = std::make_unique<ihipStream_t>();
  *stream = made.get();
  streams[made.get()] = std::move(made);
  return hipSuccess;
}
EXPORT hipError_t hipStreamCreate(hipStream_t *stream) { return hipStreamCreateWithFlags(stream, 0); }
EXPORT hipError_t hipStreamDestroy(hipStream_t stream) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (!streams.count(stream)) return hipErrorInvalidHandle;
  const hipError_t failed = enter(__func__);
  if (!failed && !hanging) drain(stream);
  streams.erase(stream);
  return failed;
}
EXPORT hipError_t hipStreamSynchronize(hipStream_t stream) {
  wait_out_hang();
  ENTER();
  if (!known(stream)) return hipErrorInvalidHandle;
  if (real(stream)->capture) return hipErrorStreamCaptureUnsupported;
  return drain(real(stream));
}
// Work is done when asked for a second time: whoever asks only once must cope with "not yet".
EXPORT hipError_t hipStreamQuery(hipStream_t stream) {
  ENTER();
  if (!known(stream)) return hipErrorInvalidHandle;
  if (real(stream)->queue.empty()) return hipSuccess;
  if (hanging) return hipErrorNotReady;
  const hipError_t error = drain(real(stream));
  return error ? error : hipErrorNotReady;
}

EXPORT hipError_t hipEventCreateWithFlags(hipEvent_t *event, unsigned) {
  ENTER();
  *event = new ihipEvent_t;
  others++;
  return hipSuccess;
}
EXPORT hipError_t hipEventDestroy(hipEvent_t event) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (!event) return hipErrorInvalidHandle;
  delete event;
  others--;
  return enter(__func__);
}
EXPORT hipError_t hipEventRecord(hipEvent_t event, hipStream_t stream) {
  ENTER();
  if (real(stream)->capture) return hipErrorStreamCaptureUnsupported;
  const std::shared_ptr<EventState> state = event->state;
  state->done = false;
  state->stream = real(stream);
  return put(stream, [state] {
    state->done = true;
    state->at = Clock::now();
    return hipSuccess;
  });
}
EXPORT hipError_t hipEventQuery(hipEvent_t event) {
  ENTER();
  if (event->state->done) return hipSuccess;
  if (hanging) return hipErrorNotReady;
  const hipError_t error = drain(event->state->stream);
  return error ? error : hipErrorNotReady;
}
EXPORT hipError_t hipEventSynchronize(hipEvent_t event) {
  wait_out_hang();
  ENTER();
  return event->state->done ? hipSuccess : drain(event->state->stream);
}
EXPORT hipError_t hipEventElapsedTime(float *milliseconds, hipEvent_t begin, hipEvent_t end) {
  ENTER();
  if (!begin->state->done || !end->state->done) return hipErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->state->at - begin->state->at).count();
  return hipSuccess;
}
EXPORT hipError_t hipStreamWaitEvent(hipStream_t stream, hipEvent_t event, unsigned) {
  ENTER();
  const std::shared_ptr<EventState> state = event->state;
  return put(stream, [state] { return state->done ? hipSuccess : drain(state->stream); });
}

// Takes the code objects that the emulated device would run; its own kernels are executed in their place.
EXPORT hipError_t hipModuleLoadData(hipModule_t *module, const void *image) {
  ENTER();
  const unsigned char *elf = (const unsigned char *)image;
  uint16_t machine;
  uint32_t flags;
  const bool ptx = PK_CUDA_IMAGES && memcmp(elf, "//", 2) == 0;
  if (ptx) {
    if (!strstr((const char *)image, ("\n.target " + isa + "\n").c_str())) return hipErrorNoBinaryForGpu;
  } else {
    if (memcmp(elf, "\x7f" "ELF\x02\x01", 6) != 0) return hipErrorInvalidImage;
    memcpy(&machine, elf + 18, 2);
    memcpy(&flags, elf + 48, 4);
    if (machine != elf_machine) return hipErrorInvalidImage;
    const auto own = machines.find(isa.substr(0, isa.find(':')));
    if (own == machines.end() || (flags >> flags_shift & 0xff) != own->second) return hipErrorNoBinaryForGpu;
  }
  *module = new ihipModule_t;
  others++;
  for (const pk_emu::Kernel &kernel : pk_emu::kernels()) (*module)->functions[kernel.name] = {&kernel};
  return hipSuccess;
}
EXPORT hipError_t hipModuleUnload(hipModule_t module) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  delete module;
  others--;
  return enter(__func__);
}
EXPORT hipError_t hipModuleGetFunction(hipFunction_t *function, hipModule_t module, const char *name) {
  ENTER();
  const auto at = module->functions.find(name);
  if (at == module->functions.end()) return hipErrorNotFound;
  *function = &at->second;
  return hipSuccess;
}
EXPORT hipError_t hipModuleLaunchKernel(hipFunction_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                                        hipStream_t stream, void **parameters, void **extra) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  const bool lived = dead == hipSuccess;
  if (const hipError_t failed = enter(__func__)) {
    if (!lived || !kills(failed)) return failed;
    // A device fault is found when the work runs, not when it is queued.
    dead = hipSuccess;
    return put(stream, [failed] { return failed; });
  }
  if (!function || !parameters || extra || shared_bytes != 0) return hipErrorInvalidValue;
  if (grid_x == 0 || grid_y == 0 || grid_z != 1 || block_x != PK_WAVES * PK_WAVE || block_y != 1 || block_z != 1)
    return hipErrorInvalidValue;
  const pk_emu::Kernel *kernel = function->kernel;
  const char *from = (const char *)parameters[0];
  auto argument = std::make_shared<std::vector<char>>(from, from + kernel->argument_bytes);
  return put(stream, [=] {
    pk_emu::launch(*kernel, {grid_x, grid_y, 1}, argument->data());
    return hipSuccess;
  });
}

EXPORT hipError_t hipStreamBeginCapture(hipStream_t stream, hipStreamCaptureMode) {
  ENTER();
  if (!streams.count(stream) || stream->capture) return hipErrorInvalidValue;
  stream->capture = std::make_unique<ihipGraph>();
  return hipSuccess;
}
EXPORT hipError_t hipStreamEndCapture(hipStream_t stream, hipGraph_t *graph) {
  ENTER();
  if (!streams.count(stream) || !stream->capture) return hipErrorInvalidValue;
  *graph = stream->capture.release();
  others++;
  return hipSuccess;
}
EXPORT hipError_t hipGraphInstantiate(hipGraphExec_t *exec, hipGraph_t graph, hipGraphNode_t *, char *, size_t) {
  ENTER();
  *exec = new hipGraphExec{graph->work};
  others++;
  return hipSuccess;
}
EXPORT hipError_t hipGraphLaunch(hipGraphExec_t exec, hipStream_t stream) {
  ENTER();
  for (const Work &work : exec->work)
    if (const hipError_t error = put(stream, work)) return error;
  return hipSuccess;
}
EXPORT hipError_t hipGraphExecDestroy(hipGraphExec_t exec) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  delete exec;
  others--;
  return enter(__func__);
}
EXPORT hipError_t hipGraphDestroy(hipGraph_t graph) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  delete graph;
  others--;
  return enter(__func__);
}

EXPORT hipError_t hipGetLastError(void) { return hipSuccess; }
EXPORT const char *hipGetErrorName(hipError_t error) {
  switch (error) {
    case hipSuccess: return "hipSuccess";
    case hipErrorInvalidValue: return "hipErrorInvalidValue";
    case hipErrorOutOfMemory: return "hipErrorOutOfMemory";
    case hipErrorNoDevice: return "hipErrorNoDevice";
    case hipErrorNoBinaryForGpu: return "hipErrorNoBinaryForGpu";
    case hipErrorNotReady: return "hipErrorNotReady";
    case hipErrorIllegalAddress: return "hipErrorIllegalAddress";
    case hipErrorLaunchFailure: return "hipErrorLaunchFailure";
    case hipErrorNotSupported: return "hipErrorNotSupported";
    default: return "hipErrorUnknown";
  }
}
EXPORT const char *hipGetErrorString(hipError_t error) { return hipGetErrorName(error); }
