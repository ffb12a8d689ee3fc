#!/usr/bin/env bash
# build.sh OUT_DIR: libamdhip64.so.6 over the CUDA driver, and libhiprtc.so.6 over NVRTC. Driver and NVRTC are looked for
# when they are needed, NVRTC beside the library too.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p "$1"
# One language of the compiler that there is: the emulator's may know C++ only by its own name.
shared=("${CC:-gcc}" -x c -std=gnu11 -O2 -fPIC -shared -Wall -Wextra -Wno-unused-value)
"${shared[@]}" -Wl,-soname,libamdhip64.so.6 -o "$1/libamdhip64.so.6" hip_on_cuda.c -ldl -lpthread
ln -sf libamdhip64.so.6 "$1/libamdhip64.so"
"${shared[@]}" -Wl,-soname,libhiprtc.so.6 '-Wl,-rpath,$ORIGIN' -o "$1/libhiprtc.so.6" hiprtc_on_nvrtc.c -ldl
