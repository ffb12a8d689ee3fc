#!/usr/bin/env bash
# build.sh OUT COMPILER TARGET [FLAG...]: the kernels and their tests for the host. TARGET: MFMA, WMMA11, WMMA12, CUDA.
set -euo pipefail
cd "$(dirname "$0")"
out=$1 compiler=$2 target=$3
shift 3
exec "$compiler" -std=c++17 -Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas \
  -DPK_EMU=1 "-DPK_EMU_$target=1" -I. -I../include "$@" \
  -o "$out" pk_emu.cpp kernels.cpp test_main.cpp test_rows.cpp test_gemm.cpp test_attention.cpp test_heads.cpp
