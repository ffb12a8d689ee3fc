#!/usr/bin/env bash
# build_hip.sh OUT_DIR [MFMA|WMMA11]: libamdhip64.so.6 on the CPU, as gfx942 (default) or gfx1100; beside it a libhiprtc.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p "$1"
"${CXX:-g++}" -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas \
  -DPK_EMU=1 "-DPK_EMU_${2:-MFMA}=1" -I. -I../include -Wl,-soname,libamdhip64.so.6 \
  -o "$1/libamdhip64.so.6" pk_emu.cpp kernels.cpp hip_api.cpp
ln -sf libamdhip64.so.6 "$1/libamdhip64.so"
"${CXX:-g++}" -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Wl,-soname,libhiprtc.so.6 \
  -o "$1/libhiprtc.so.6" hiprtc_api.cpp
