#!/usr/bin/env bash
# Times the CPU back end beside Python's onnxruntime on MiniLM; fetches both the first time. Arguments go to compare.py.
# `compare.sh graphs [TEXTS]` compares what the two make of bge-small's graph instead (graphs.py).
set -euo pipefail
cd "$(dirname "$0")/../../.."
scripts/setup.sh build models
here=classifier/benches/onnxruntime environment=.models/onnxruntime
if ! cmp -s $here/requirements.txt $environment/requirements.txt; then
  python3 -m venv --clear $environment
  $environment/bin/python -m pip install --quiet --disable-pip-version-check --requirement $here/requirements.txt
  cp $here/requirements.txt $environment/requirements.txt
fi
binary=$(cargo bench --no-run -p pintle-classifier --bench encode --message-format json |
  python3 -c 'import json, sys; print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")][-1])')
if [[ ${1-} == graphs ]]; then
  exec $environment/bin/python $here/graphs.py "$binary" .models/bge-small "${@:2}"
fi
"$binary" roofline
$environment/bin/python $here/compare.py "$binary" .models/minilm classifier/tests/golden/minilm.safetensors "$@"
