#!/usr/bin/env bash
# Runs every fuzz target for the given number of seconds, starting from its committed corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?seconds per target}

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzz: a nightly toolchain is missing: run 'rustup toolchain install nightly' and try again" >&2
  exit 3
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "fuzz: cargo-fuzz is missing: run 'cargo install --locked cargo-fuzz' and try again" >&2
  exit 3
fi
# The workspace's shared target directory would be rebuilt with every switch of compiler and sanitizer.
export CARGO_TARGET_DIR=${FUZZ_TARGET_DIR:-$PWD/fuzz/target}

targets=$(cargo +nightly fuzz list)
cargo +nightly fuzz build
failed=0
for target in $targets; do
  # New inputs go to a folder of their own: the committed corpus changes only on purpose.
  found=$CARGO_TARGET_DIR/found/$target
  mkdir -p "$found"
  corpus=()
  if [[ -d fuzz/corpus/$target ]]; then corpus=("fuzz/corpus/$target"); fi
  echo "fuzz: $target for $seconds s"
  options=()
  # A graph may make tensors of 4 GiB together (classifier/src/onnx/sizes.rs).
  if [[ $target == model_graph ]]; then options=(-rss_limit_mb=6144); fi
  if ! cargo +nightly fuzz run "$target" "$found" "${corpus[@]}" -- \
    -max_total_time="$seconds" -print_final_stats=1 "${options[@]}"; then
    echo "fuzz: $target FAILED"
    failed=$((failed + 1))
  else
    echo "fuzz: $target passed"
  fi
done
exit $((failed > 0))
