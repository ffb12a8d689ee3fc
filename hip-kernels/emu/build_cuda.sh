#!/usr/bin/env bash
# build_cuda.sh OUT_DIR: libcuda.so.1 on the CPU, as sm_90; beside it the libamdhip64 of cuda-shim, and a libhiprtc.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p "$1"
"${CXX:-g++}" -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas \
  -DPK_EMU=1 -DPK_EMU_CUDA=1 '-DEXPORT_HIP=extern "C"' -I. -I../include -Wl,-soname,libcuda.so.1 \
  -o "$1/libcuda.so.1" pk_emu.cpp kernels.cpp hip_api.cpp cuda_api.cpp
CC="${CXX:-g++}" ../cuda-shim/build.sh "$1"
"${CXX:-g++}" -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Wl,-soname,libhiprtc.so.6 \
  -o "$1/libhiprtc.so.6" hiprtc_api.cpp
