#!/usr/bin/env bash
# Checks and measures the GPU kernels on this machine's NVIDIA GPU, beside PyTorch where that is installed, and writes what
# it finds into docs/gpu.md. Without a GPU or a compiler for it: prints SKIP and the reason, and ends with 0.
#   PYTHON names a Python with PyTorch; CUDA_HOME a CUDA toolkit.
#   scripts/gpu-check.sh --results DIR   only writes docs/gpu.md anew from the tables of an earlier run
set -euo pipefail
cd "$(dirname "$0")/.."

results=$(realpath -m "${CARGO_TARGET_DIR:-target}/gpu-check")
document=docs/gpu.md

skip() {
  echo "SKIP $1"
  exit 0
}

write() {
  local torch=()
  if [[ -s $1/torch.tsv ]]; then torch=("$1/torch.tsv"); fi
  python3 hip-kernels/tools/gpu_report.py "$document" "$1/ours.tsv" "${torch[@]}"
  echo "wrote $document"
}

if [[ ${1:-} == --results ]]; then
  write "$(realpath "$2")"
  exit 0
fi
command -v nvidia-smi >/dev/null || skip "there is no NVIDIA GPU here: nvidia-smi is not installed"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ') || true
[[ $capability =~ ^[0-9]+$ ]] || skip "there is no NVIDIA GPU here: nvidia-smi names none"
((capability >= 80)) || skip "the GPU is sm_$capability; the matrix instructions need sm_80"
command -v cargo >/dev/null || skip "cargo is not installed"
command -v "${CC:-gcc}" >/dev/null || skip "there is no C compiler for the shim"

rm -rf "$results"
mkdir -p "$results/kernels"
hip-kernels/cuda-shim/build.sh "$results/shim"
# nvcc's code is what NVIDIA users run; clang's PTX, compiled by the driver, is as good for the check.
scripts/hip.sh cubin "sm_$capability" "$results/kernels" || status=$?
case ${status:-0} in
0) ;;
77) skip "there is neither nvcc nor clang 22 (scripts/hip.sh nvidia, scripts/hip.sh install)" ;;
*) exit "$status" ;;
esac

cargo run --release --package pintle-hip --example gpu_check -- \
  "$results/shim/libamdhip64.so.6" "$results/kernels" "$results/ours.tsv"

python=${PYTHON:-python3}
if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  "$python" hip-kernels/tools/torch_baseline.py "$results/torch.tsv"
else
  echo "$python has no PyTorch with CUDA: nothing is compared with it"
fi
write "$results"
