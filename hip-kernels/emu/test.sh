#!/usr/bin/env bash
# Everything that the emulator proves: each matrix flavour, each missing barrier, sanitizers, the HIP library on the CPU.
# Needs a C++ compiler; uses clang 22 beside it where there is one.
set -euo pipefail
cd "$(dirname "$0")"

cxx=${CXX:-g++}
if ! command -v "$cxx" >/dev/null; then
  echo "SKIP there is no $cxx to build the emulator with"
  exit 0
fi
if [[ $(uname -m) != x86_64 ]]; then
  echo "SKIP the emulator's fibers are written for x86-64"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

jobs=()
start() {
  "$@" &
  jobs+=($!)
}
finish() {
  local job
  for job in "${jobs[@]}"; do wait "$job"; done
  jobs=()
}

start ./build.sh "$work/MFMA" "$cxx" MFMA -O2
start ./build.sh "$work/WMMA11" "$cxx" WMMA11 -O2
finish
start ./build.sh "$work/WMMA12" "$cxx" WMMA12 -O2
start ./build.sh "$work/CUDA" "$cxx" CUDA -O2
finish
start ./build.sh "$work/sanitized" "$cxx" MFMA -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all
start ./build_hip.sh "$work/gfx942" MFMA
finish
start ./build_hip.sh "$work/gfx1100" WMMA11
if command -v clang++-22 >/dev/null; then
  start ./build.sh "$work/clang" clang++-22 MFMA -O2
else
  echo "SKIP clang++-22 is not installed: the emulator is built with $cxx only"
fi
finish

for flavour in MFMA WMMA11 WMMA12 CUDA clang; do
  [[ -x $work/$flavour ]] || continue
  echo "== $flavour"
  "$work/$flavour"
done
for flavour in MFMA WMMA11 WMMA12 CUDA; do
  echo "== $flavour, one barrier less"
  "$work/$flavour" --mutate
done
echo "== sanitizers"
# Fibers' stacks are not the ones the sanitizer knows.
export ASAN_OPTIONS=detect_stack_use_after_return=0
"$work/sanitized"
"$work/sanitized" --overrun
for target in gfx942 gfx1100; do
  echo "== the HIP library as $target"
  "$cxx" -std=c++17 -Wall -Wextra -I../rocm-shim/include -o "$work/api" test_hip_api.cpp \
    -L"$work/$target" -Wl,-rpath,"$work/$target" -lamdhip64 -lpthread
  "$work/api" "../prebuilt/$target.co"
done
