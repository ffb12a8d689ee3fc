// libhiprtc for tests: compiles nothing, but takes a call only where the real library would, and gives an empty code
// object of the architecture that was asked for, which the emulated device takes or refuses by its own instruction set.
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#define EXPORT extern "C" __attribute__((visibility("default")))

enum hiprtcResult { SUCCESS, OUT_OF_MEMORY, CREATION, INVALID_INPUT, INVALID_PROGRAM, INVALID_OPTION, COMPILATION };

struct Program {
  std::string source, log, code;
  bool compiled = false;
};

namespace {

std::mutex mutex;
std::map<Program *, bool> programs;
std::string failing;
hiprtcResult failure = SUCCESS;
unsigned long compilations = 0;

// EF_AMDGPU_MACH of the targets that the kernels have matrix instructions for.
const std::map<std::string, unsigned> machines = {{"gfx90a", 0x3f},  {"gfx942", 0x4c},  {"gfx950", 0x4f}, {"gfx1100", 0x41},
                                                  {"gfx1101", 0x46}, {"gfx1150", 0x43}, {"gfx1200", 0x48}, {"sm_90", 90}};

hiprtcResult enter(const char *call) {
  if (failing != call) return SUCCESS;
  failing.clear();
  return failure;
}
#define ENTER()                                   \
  std::lock_guard<std::mutex> lock(mutex);        \
  if (const hiprtcResult failed = enter(__func__)) return failed
#define KNOWN(program) \
  if (!programs.count(program)) return INVALID_PROGRAM

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

// Whole and on its own: the library has no directory to look for headers in.
const char *defect(const std::string &source) {
  if (contains(source, "#include \"")) return "pintle.hip: fatal error: file not found\n";
  const char *needed[] = {"struct pk_gemm_args", "PK_ENTRY_TYPES(pk_gemm_fat,", "PK_ENTRY(pk_topk,", "__builtin_amdgcn_mfma_"};
  for (const char *part : needed)
    if (!contains(source, part)) return "pintle.hip: error: a part of the source is missing\n";
  return nullptr;
}

// As NVRTC and hipRTC make them: AMD's processor is in the low byte of the flags, NVIDIA's in the next.
std::string code_object(const std::string &architecture, unsigned machine) {
  const bool cuda = architecture.compare(0, 3, "sm_") == 0;
  if (cuda) machine <<= 8;
  std::string elf(64, '\0');
  memcpy(&elf[0], "\x7f" "ELF\x02\x01\x01\x40", 8);
  const unsigned short type = 3, elf_machine = cuda ? 190 : 224;
  memcpy(&elf[16], &type, 2);
  memcpy(&elf[18], &elf_machine, 2);
  memcpy(&elf[48], &machine, 4);
  return elf;
}

}  // namespace

/* The call named returns `error`, once. */
EXPORT void pintle_rtc_fail(const char *call, int error) {
  std::lock_guard<std::mutex> lock(mutex);
  failing = call;
  failure = (hiprtcResult)error;
}
/* Programs that are alive. */
EXPORT unsigned long pintle_rtc_alive(void) {
  std::lock_guard<std::mutex> lock(mutex);
  return programs.size();
}
/* Compilations so far. */
EXPORT unsigned long pintle_rtc_compilations(void) {
  std::lock_guard<std::mutex> lock(mutex);
  return compilations;
}

EXPORT const char *hiprtcGetErrorString(hiprtcResult result) {
  switch (result) {
    case SUCCESS: return "HIPRTC_SUCCESS";
    case OUT_OF_MEMORY: return "HIPRTC_ERROR_OUT_OF_MEMORY";
    case CREATION: return "HIPRTC_ERROR_PROGRAM_CREATION_FAILURE";
    case INVALID_INPUT: return "HIPRTC_ERROR_INVALID_INPUT";
    case INVALID_PROGRAM: return "HIPRTC_ERROR_INVALID_PROGRAM";
    case INVALID_OPTION: return "HIPRTC_ERROR_INVALID_OPTION";
    case COMPILATION: return "HIPRTC_ERROR_COMPILATION";
    default: return nullptr;
  }
}

EXPORT hiprtcResult hiprtcCreateProgram(Program **program, const char *source, const char *name, int headers,
                                        const char **header_sources, const char **header_names) {
  ENTER();
  if (!program || !source || !name || headers < 0 || (headers > 0 && (!header_sources || !header_names)))
    return INVALID_INPUT;
  *program = new Program{source, "", "", false};
  programs[*program] = true;
  return SUCCESS;
}

EXPORT hiprtcResult hiprtcCompileProgram(Program *program, int count, const char **options) {
  ENTER();
  KNOWN(program);
  compilations++;
  std::string architecture;
  bool optimised = false, standard = false;
  for (int i = 0; i < count; i++) {
    const std::string option = options[i], prefix = "--offload-arch=";
    if (option.compare(0, prefix.size(), prefix) == 0 && architecture.empty())
      architecture = option.substr(prefix.size());
    else if (option == "-O3")
      optimised = true;
    else if (option == "-std=c++17")
      standard = true;
    else
      return INVALID_OPTION;
  }
  if (architecture.empty() || !optimised || !standard) return INVALID_OPTION;
  if (const char *why = defect(program->source)) {
    program->log = why;
    return COMPILATION;
  }
  const auto machine = machines.find(architecture);
  if (machine == machines.end()) {
    program->log = "pk_target.h:30:2: error: \"no matrix instructions are known for this target\"\n";
    return COMPILATION;
  }
  program->code = code_object(architecture, machine->second);
  program->compiled = true;
  return SUCCESS;
}

EXPORT hiprtcResult hiprtcGetProgramLogSize(Program *program, size_t *bytes) {
  ENTER();
  KNOWN(program);
  *bytes = program->log.size() + 1;
  return SUCCESS;
}
EXPORT hiprtcResult hiprtcGetProgramLog(Program *program, char *log) {
  ENTER();
  KNOWN(program);
  memcpy(log, program->log.c_str(), program->log.size() + 1);
  return SUCCESS;
}
EXPORT hiprtcResult hiprtcGetCodeSize(Program *program, size_t *bytes) {
  ENTER();
  KNOWN(program);
  if (!program->compiled) return INVALID_PROGRAM;
  *bytes = program->code.size();
  return SUCCESS;
}
EXPORT hiprtcResult hiprtcGetCode(Program *program, char *code) {
  ENTER();
  KNOWN(program);
  if (!program->compiled) return INVALID_PROGRAM;
  memcpy(code, program->code.data(), program->code.size());
  return SUCCESS;
}
EXPORT hiprtcResult hiprtcDestroyProgram(Program **program) {
  std::lock_guard<std::mutex> lock(mutex);
  if (!program || !programs.erase(*program)) return INVALID_PROGRAM;
  delete *program;
  *program = nullptr;
  return enter(__func__);
}
