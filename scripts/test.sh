#!/usr/bin/env bash
# Runs the named stages, or all of them; prints one line for each, the log of what failed, every skip with its
# reason, and at the end the sum: 'N passed, N failed, N skipped'.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

root=$PWD
export CARGO_TERM_COLOR=never
export PATH=$PATH:$root/.tools/bin
target=${CARGO_TARGET_DIR:-$root/target}
logs=$target/test-logs
fuzz_seconds=${FUZZ_SMOKE_SECONDS:-5}
mkdir -p "$logs"

passed=0 failed=0 skipped=0
skips=()

# Sets p, f and s to the counts that a log of test runners adds up to.
count() {
  local log=$1
  read -r p f s < <(awk '
    function number(line, word,   m) { return match(line, "[0-9]+ " word) ? substr(line, RSTART) + 0 : 0 }
    /^ *Summary \[/ || /^test result:/ || /^[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s/ {
      sub(/\([0-9]+ (slow|flaky|leaky)[^)]*\)/, "")
      p += number($0, "passed"); f += number($0, "failed") + number($0, "error") + number($0, "timed out")
      s += number($0, "ignored") + number($0, "skipped")
    }
    END { print p + 0, f + 0, s + 0 }' "$log")
}

# stage NAME COUNTED COMMAND...: a stage that is not COUNTED is one check.
stage() {
  local name=$1 counted=$2 log=$logs/${1// /-}.log start=$SECONDS status p f s
  shift 2
  printf '%-28s ' "$name"
  "$@" >"$log" 2>&1 </dev/null
  status=$?
  if [[ $counted == counted ]]; then
    count "$log"
    # A test that found it could not run says so; its runner has counted it as passed.
    local line found=0
    while IFS= read -r line; do
      skips+=("$name: $line")
      found=$((found + 1))
    done < <(grep -ohE '^[[:space:]]*SKIP:? .*' "$log" | sed -E 's/^[[:space:]]*SKIP:? //' | sort -u)
    p=$((p > found ? p - found : 0)) s=$((s + found))
    if ((status == 0 && p == 0)); then status=1 && echo "no test ran" >>"$log"; fi
    if ((status != 0 && f == 0)); then f=1; fi
  elif ((status == 77)); then
    p=0 f=0 s=1
    skips+=("$name: $(tail -n 1 "$log")")
    status=0
  else
    p=$((status == 0)) f=$((status != 0)) s=0
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  printf '%s  %d passed, %d failed, %d skipped in %d s\n' \
    "$([[ $status == 0 ]] && echo ok || echo FAILED)" "$p" "$f" "$s" $((SECONDS - start))
  if ((status != 0)); then
    echo "---- the end of $log"
    tail -n 120 "$log"
    echo "----"
  fi
}

# Runs tests with nextest where it is installed, with the same arguments for both runners.
run_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast --success-output final --failure-output final "$@"
  else
    cargo test --no-fail-fast "$@" -- --show-output
  fi
}

unit_tests() {
  run_tests --workspace --exclude pintle-tests || return 1
  cargo test --doc --workspace --exclude pintle-tests
}

build_binary() {
  cargo build -p pintle
}

system_tests() {
  run_tests -p pintle-tests
}

client_tests() {
  (cd tests/clients && "$root/.venv/bin/python" -m pytest -p no:cacheprovider -rs)
}

licences() {
  cargo deny --all-features check licenses bans sources
}

advisories() {
  if ! timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    echo "the RustSec advisory database cannot be fetched from here"
    return 77
  fi
  cargo deny --all-features check advisories
}

fuzz_smoke() {
  if [[ ! -d fuzz ]]; then
    echo "no fuzz targets"
    return 77
  fi
  scripts/fuzz.sh "$fuzz_seconds"
  local status=$?
  if ((status == 3)); then return 77; fi
  return "$status"
}

ebpf_objects() {
  scripts/ebpf.sh check
}

ebpf_rebuild() {
  scripts/ebpf.sh verify
}

# Session records under an interpreter that knows Rust's memory rules, where the toolchain has it.
record_miri() {
  if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "this machine has no Miri (rustup component add --toolchain nightly miri)"
    return 77
  fi
  MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p pintle-sessions --lib -- \
    record:: table::tests::threads table::tests::an_update
}

units() {
  sh systemd/verify.sh
}

hip_code() {
  scripts/hip.sh check
}

hip_cuda() {
  scripts/hip.sh cuda
}

hip_compiled() {
  scripts/hip.sh hiprtc
}

hip_emulator() {
  hip-kernels/emu/test.sh
}

hip_linked() {
  scripts/hip.sh hip-rs
}

export PINTLE_BIN=$target/debug/pintle
wanted=("$@")
want() {
  local w
  ((${#wanted[@]} == 0)) && return 0
  for w in "${wanted[@]}"; do [[ $w == "$1" ]] && return 0; done
  return 1
}

want format && stage "format" check cargo fmt --all --check
want clippy && stage "clippy" check cargo clippy --workspace --all-targets --quiet -- -D warnings
want licences && stage "licences and sources" check licences
want advisories && stage "security advisories" check advisories
want hip && stage "GPU code objects" check hip_code
want hip && stage "GPU kernels for NVIDIA" check hip_cuda
want hip && stage "GPU kernels on the CPU" counted hip_emulator
want hip && stage "HIP linked through hip-rs" check hip_linked
want hip && stage "GPU kernels by hipRTC" check hip_compiled
want unit && stage "unit and property tests" counted unit_tests
want binary && stage "build of the binary" check build_binary
want system && stage "whole-system tests" counted system_tests
want clients && stage "Python clients" counted client_tests
want miri && stage "session records under Miri" check record_miri
want ebpf && stage "eBPF objects" check ebpf_objects
want ebpf && stage "eBPF objects, built anew" check ebpf_rebuild
want units && stage "systemd units" check units
want fuzz && stage "fuzzing, $fuzz_seconds s each" check fuzz_smoke

echo
for skip in "${skips[@]}"; do echo "SKIP  $skip"; done
echo "logs: $logs"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0))
