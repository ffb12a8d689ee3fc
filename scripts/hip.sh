#!/usr/bin/env bash
# Compiles the GPU kernels with Debian's clang 22, without ROCm.
#   scripts/hip.sh build    writes hip-kernels/prebuilt and hip-kernels/budgets.toml
#   scripts/hip.sh check    builds aside and compares: digests where the compiler is the committed one, and in any case
#                           that no kernel exceeds its budget; ends with 77 and a reason where clang 22 is absent
#   scripts/hip.sh hip-rs   runs the tests of the runtime linked through hip_rs::sys with the CPU's libamdhip64; 77 where
#                           there is no libclang, which hip-rs reads headers with, or no C++ compiler
#   scripts/hip.sh nvcc     compiles for NVIDIA and keeps nothing; $NVCC names the compiler, 77 where there is none
#   scripts/hip.sh install  installs the compiler (Debian, root)
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$0")/../hip-kernels"

targets=(gfx90a gfx942 gfx950 gfx1100 gfx1201)
packages=(clang-22 lld-22 llvm-22)

install_compiler() {
  apt-get update -qq
  apt-get install -y --no-install-recommends "${packages[@]}"
}

need_compiler() {
  local tool
  for tool in clang-22 ld.lld-22 llvm-objdump-22 llvm-readelf-22 llvm-strip-22; do
    if ! command -v "$tool" >/dev/null; then
      echo "$tool is not installed (scripts/hip.sh install, or: apt-get install ${packages[*]})"
      exit 77
    fi
  done
}

# Only what decides the code: no paths, no dates.
compiler_identity() {
  clang-22 --version | head -n 1
  ld.lld-22 --version | sed 's/ (compatible.*//'
}

compile() {
  local into=$1 target
  mkdir -p "$into"
  for target in "${targets[@]}"; do
    clang-22 -x hip --offload-arch="$target" --cuda-device-only --no-gpu-bundle-output -nogpuinc -nogpulib \
      -O3 -std=c++17 -Wall -Wextra -Werror -Wno-unused-parameter -fno-ident -fuse-cuid=none \
      -o "$into/$target.co" kernels/pintle.hip
    llvm-strip-22 --strip-all "$into/$target.co"
    chmod 644 "$into/$target.co"
  done
  (cd "$into" && sha256sum -- *.co >SHA256SUMS)
  compiler_identity >"$into/BUILDINFO"
}

nvcc_check() {
  local nvcc=${NVCC:-nvcc} arch
  if ! command -v "$nvcc" >/dev/null; then
    echo "nvcc is not installed"
    exit 77
  fi
  for arch in sm_80 sm_90; do
    "$nvcc" -x cu -arch="$arch" -cubin -O3 -std=c++17 -o /dev/null kernels/pintle.hip
  done
  echo "nvcc compiles the kernels for sm_80 and sm_90"
}

# hip-rs builds against a ROCm installation: here one of the shim's headers, the emulator's library and an empty hipBLAS.
# Its place is fixed, since hip-rs does not look again once it is built.
hip_rs_tests() {
  local target rocm
  if ! compgen -G '/usr/lib/llvm-*/lib/libclang[-.][0-9s]*' >/dev/null && [[ -z ${LIBCLANG_PATH:-} ]]; then
    echo "there is no libclang for hip-rs"
    exit 77
  fi
  if ! command -v "${CXX:-g++}" >/dev/null || [[ $(uname -m) != x86_64 ]]; then
    echo "the emulator needs x86-64 and a C++ compiler"
    exit 77
  fi
  target=$(realpath -m "${CARGO_TARGET_DIR:-../target}")/hip-rs
  rocm=$target/rocm
  mkdir -p "$rocm/lib"
  ln -sfn "$PWD/rocm-shim/include" "$rocm/include"
  emu/build_hip.sh "$rocm/emulator/gfx942" MFMA
  ln -sf ../emulator/gfx942/libamdhip64.so "$rocm/lib/libamdhip64.so"
  echo | "${CXX:-g++}" -x c++ -shared -fPIC -o "$rocm/lib/libhipblas.so" -
  # A target directory of its own, or the other tests would be built anew each time.
  CARGO_TARGET_DIR=$target ROCM_PATH=$rocm PINTLE_EMULATOR=$rocm/emulator LD_LIBRARY_PATH=$rocm/emulator/gfx942:$rocm/lib \
    cargo test --package pintle-hip --features hip-rs --lib
}

case ${1:-check} in
install) install_compiler ;;
hip-rs) hip_rs_tests ;;
nvcc) nvcc_check ;;
build)
  need_compiler
  rm -f prebuilt/*.co
  compile prebuilt
  python3 tools/budgets.py prebuilt --write budgets.toml
  ;;
check)
  (cd prebuilt && sha256sum --check --quiet SHA256SUMS)
  need_compiler
  built=$(mktemp -d)
  trap 'rm -rf "$built"' EXIT
  compile "$built"
  if cmp -s "$built/BUILDINFO" prebuilt/BUILDINFO; then
    diff "$built/SHA256SUMS" prebuilt/SHA256SUMS || {
      echo "the committed code objects are not what the sources give: scripts/hip.sh build"
      exit 1
    }
    echo "the committed code objects are what the sources give"
  else
    echo "another compiler than the committed objects': digests are not compared"
  fi
  python3 tools/budgets.py "$built" --check budgets.toml
  python3 tools/budgets.py prebuilt --markdown ../docs/gpu.md
  python3 model/predict.py --check ../docs/gpu.md
  ;;
*)
  sed -n '2,10s/^# \{0,1\}//p' "$self"
  exit 2
  ;;
esac
