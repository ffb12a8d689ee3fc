/* libhiprtc's names over NVRTC, with HIP's options in NVRTC's words: the code is a cubin of "sm_90" and the like. Result
 * codes of the two agree. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *program;
enum { OUT_OF_MEMORY = 1, INVALID_OPTION = 5, BUILTIN_OPERATION_FAILURE = 7 };

#define COMPILER(X)                                                                                \
  X(nvrtcCreateProgram, (program *, const char *, const char *, int, const char **, const char **)) \
  X(nvrtcCompileProgram, (program, int, const char **))                                            \
  X(nvrtcGetProgramLogSize, (program, size_t *))                                                   \
  X(nvrtcGetProgramLog, (program, char *))                                                         \
  X(nvrtcGetCUBINSize, (program, size_t *))                                                        \
  X(nvrtcGetCUBIN, (program, char *))                                                              \
  X(nvrtcDestroyProgram, (program *))

#define DECLARE(name, parameters) static int(*name) parameters;
COMPILER(DECLARE)
static const char *(*nvrtcGetErrorString)(int);
static int found;

/* Runs once, before anything else may enter the library. */
__attribute__((constructor)) static void open_compiler(void) {
  static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  void *compiler = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !compiler; i++) compiler = dlopen(names[i], RTLD_NOW);
  if (!compiler) return;
#define FIND(name, parameters)               \
  *(void **)&name = dlsym(compiler, #name); \
  if (!name) return;
  COMPILER(FIND)
  *(void **)&nvrtcGetErrorString = dlsym(compiler, "nvrtcGetErrorString");
  found = nvrtcGetErrorString != NULL;
}

#define FORWARD(name, parameters, call) \
  int name parameters { return found ? call : BUILTIN_OPERATION_FAILURE; }

FORWARD(hiprtcCreateProgram,
        (program * made, const char *source, const char *name, int count, const char **headers, const char **names),
        nvrtcCreateProgram(made, source, name, count, headers, names))
FORWARD(hiprtcGetProgramLogSize, (program of, size_t *bytes), nvrtcGetProgramLogSize(of, bytes))
FORWARD(hiprtcGetProgramLog, (program of, char *log), nvrtcGetProgramLog(of, log))
FORWARD(hiprtcGetCodeSize, (program of, size_t *bytes), nvrtcGetCUBINSize(of, bytes))
FORWARD(hiprtcGetCode, (program of, char *code), nvrtcGetCUBIN(of, code))
FORWARD(hiprtcDestroyProgram, (program * of), nvrtcDestroyProgram(of))

int hiprtcCompileProgram(program of, int count, const char **options) {
  static const char offload[] = "--offload-arch=";
  char architecture[64];
  if (!found) return BUILTIN_OPERATION_FAILURE;
  const char **own = malloc((size_t)(count + 1) * sizeof *own);
  int kept = 0, error = 0;
  if (!own) return OUT_OF_MEMORY;
  for (int i = 0; i < count; i++) {
    if (strncmp(options[i], offload, sizeof offload - 1) == 0) {
      const int length =
          snprintf(architecture, sizeof architecture, "--gpu-architecture=%s", options[i] + sizeof offload - 1);
      if (length >= (int)sizeof architecture) error = INVALID_OPTION;
      own[kept++] = architecture;
    } else if (strcmp(options[i], "-O3") != 0) { /* which NVRTC does unasked */
      own[kept++] = options[i];
    }
  }
  if (!error) error = nvrtcCompileProgram(of, kept, own);
  free(own);
  return error;
}

const char *hiprtcGetErrorString(int result) {
  return found ? nvrtcGetErrorString(result) : "libnvrtc cannot be opened";
}
