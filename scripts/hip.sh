#!/usr/bin/env bash
# Compiles the GPU kernels with Debian's clang 22, without ROCm.
#   scripts/hip.sh build    writes hip-kernels/prebuilt and hip-kernels/budgets.toml
#   scripts/hip.sh check    builds aside and compares: digests where the compiler is the committed one, and in any case
#                           that no kernel exceeds its budget; ends with 77 and a reason where clang 22 is absent
#   scripts/hip.sh hip-rs   runs the tests of the runtime linked through hip_rs::sys with the CPU's libamdhip64; 77 where
#                           there is no libclang, which hip-rs reads headers with, or no C++ compiler
#   scripts/hip.sh hiprtc   compiles for gfx90a as the program does where no code is built in, by Debian's hipRTC, which it
#                           fetches into target/hiprtc, and runs the result in the interpreter; 77 where it cannot be fetched
#   scripts/hip.sh cuda     compiles for NVIDIA and keeps nothing: by clang 22, which needs no CUDA, 77 where it is absent;
#                           what it makes goes through ptxas, and the source through nvcc, where they are installed
#   scripts/hip.sh ptx ARCH DIR   writes DIR/ARCH.co: the kernels as PTX for an NVIDIA GPU as sm_90; 77 without clang 22
#   scripts/hip.sh cubin ARCH DIR   the same by nvcc where there is one, as machine code
#   scripts/hip.sh nvidia   installs nvcc, ptxas and NVRTC of the Python registry (proprietary) in target/cuda
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

# Where nvcc, ptxas or libnvrtc are: $CUDA_HOME, what `nvidia` installed, the usual place, or the path.
cuda_tool() {
  local tool=$1 home
  for home in ${CUDA_HOME:-} "$(realpath -m ../target/cuda)"/nvidia/cu* /usr/local/cuda; do
    if [[ -x $home/bin/$tool ]]; then
      echo "$home/bin/$tool"
      return
    fi
  done
  command -v "$tool"
}

ptx() {
  clang-22 -x cuda --cuda-gpu-arch="$1" --cuda-feature=+ptx80 --cuda-device-only -nocudainc -nocudalib \
    -O3 -std=c++17 -Wall -Wextra -Werror -Wno-unused-parameter -S -o "$2" kernels/pintle.hip
}

# A file that the driver takes: PTX ends with a zero byte there.
ptx_file() {
  if ! command -v clang-22 >/dev/null; then
    echo "clang-22 is not installed (scripts/hip.sh install)"
    exit 77
  fi
  mkdir -p "$2"
  ptx "$1" "$2/$1.co"
  printf '\0' >>"$2/$1.co"
}

cubin_file() {
  local nvcc
  if nvcc=$(cuda_tool nvcc); then
    mkdir -p "$2"
    "$nvcc" -x cu -arch="$1" -cubin -O3 -std=c++17 -o "$2/$1.co" kernels/pintle.hip
  else
    ptx_file "$1" "$2"
  fi
}

# The runtime's way to code that is not built in, with the shim's hipRTC over NVRTC, which needs no GPU.
nvrtc_check() {
  local library shim
  shim=$(realpath -m ../target/cuda/shim)
  library=$(compgen -G "$(realpath -m ../target/cuda)/nvidia/cu*/lib/libnvrtc.so.*" | head -n 1) || return 0
  cuda-shim/build.sh "$shim"
  LD_LIBRARY_PATH=$(dirname "$library") cargo test --quiet --package pintle-hip --lib -- --ignored nvrtc_compiles >&2
  found+=", NVRTC"
}

cuda_check() {
  local arch tool found="clang 22"
  if ! command -v clang-22 >/dev/null; then
    echo "clang-22 is not installed (scripts/hip.sh install)"
    exit 77
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  for arch in sm_80 sm_90; do
    ptx "$arch" "$work/$arch.ptx"
    if [[ $(grep -c '^\.visible \.entry pk_' "$work/$arch.ptx") != $(grep -c '\.maxntid' "$work/$arch.ptx") ]]; then
      echo "a kernel for $arch does not say how large its blocks are"
      exit 1
    fi
    # A call would need a library that nobody links.
    if grep -E '^[[:space:]]*(call|\.extern)' "$work/$arch.ptx"; then exit 1; fi
    if tool=$(cuda_tool ptxas); then
      "$tool" -arch="$arch" -o /dev/null "$work/$arch.ptx"
    fi
    if tool=$(cuda_tool nvcc); then
      "$tool" -x cu -arch="$arch" -cubin -O3 -std=c++17 -o /dev/null kernels/pintle.hip
    fi
  done
  if tool=$(cuda_tool nvcc) && [[ -e $(dirname "$tool")/../include/cuda.h ]]; then
    "${CXX:-g++}" -std=c++20 -Wno-enum-compare -fsyntax-only -I"$(dirname "$tool")/../include" cuda-shim/check.cpp
    found+=", the driver's header"
  fi
  nvrtc_check
  for tool in ptxas nvcc; do
    if cuda_tool "$tool" >/dev/null; then found+=", $tool"; fi
  done
  echo "the kernels compile for sm_80 and sm_90 by $found"
}

install_nvidia() {
  local into wheel
  into=$(realpath -m ../target/cuda)
  mkdir -p "$into/wheels"
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$into/wheels" \
    nvidia-cuda-{nvcc,crt,runtime,cccl,nvrtc}==13.* nvidia-nvvm==13.*
  for wheel in "$into"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$into"; done
  rm -r "$into/wheels"
  chmod +x "$into"/nvidia/cu13/{,nvvm/}bin/*
  echo "installed $into/nvidia/cu13"
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

# Debian's HIP is of ROCm 5, too old for the runtime, and its hipRTC, inside the same library, is the oldest that will do.
# It needs neither a GPU nor the driver.
hiprtc_tests() {
  local into deb
  local debs=(libamdhip64-5 libhiprtc-builtins5 libamd-comgr2 libhsa-runtime64-1 libhsakmt1)
  into=$(realpath -m ../target/hiprtc)
  if [[ ! -e $into/libhiprtc.so ]]; then
    rm -rf "$into" && mkdir -p "$into/debs"
    if ! (cd "$into/debs" && timeout 300 apt-get download -qq "${debs[@]}"); then
      echo "Debian's hipRTC cannot be fetched from here"
      exit 77
    fi
    for deb in "$into"/debs/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$into/debs"; done
    cp -a "$into"/debs/usr/lib/*/*.so* "$into"
    rm -r "$into/debs"
    ln -s libamdhip64.so.5 "$into/libhiprtc.so"
  fi
  # While it is there, the interpreter's tests run this code.
  compiled=$into/code
  trap 'rm -rf "$compiled"' EXIT
  LD_LIBRARY_PATH=$into cargo test --package pintle-hip --lib -- --ignored a_real_library_compiles_the_kernels
  cargo test --package pintle-gfx-interpreter --test encoder --test heads
}

case ${1:-check} in
install) install_compiler ;;
hip-rs) hip_rs_tests ;;
cuda) cuda_check ;;
cubin) cubin_file "$2" "$(realpath -m "$3")" ;;
ptx) ptx_file "$2" "$(realpath -m "$3")" ;;
hiprtc) hiprtc_tests ;;
nvidia) install_nvidia ;;
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
  python3 tools/gpu_report.py ../docs/gpu.md --check
  ;;
*)
  sed -n '2,16s/^# \{0,1\}//p' "$self"
  exit 2
  ;;
esac
