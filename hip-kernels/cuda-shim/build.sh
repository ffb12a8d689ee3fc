#!/usr/bin/env bash
# build.sh OUT_DIR: libamdhip64.so.6 over the CUDA driver, which is looked for when the library is loaded.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p "$1"
"${CC:-gcc}" -std=gnu11 -O2 -fPIC -shared -Wall -Wextra -Wno-unused-value -Wl,-soname,libamdhip64.so.6 \
  -o "$1/libamdhip64.so.6" hip_on_cuda.c -ldl
ln -sf libamdhip64.so.6 "$1/libamdhip64.so"
