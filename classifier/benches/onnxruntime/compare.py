"""Times this crate beside Python's onnxruntime, alternately, in CPU time of one thread each.

    compare.py BENCH FOLDER GOLDEN [--quick] [--cosines]

BENCH is the `encode` benchmark's binary, FOLDER a BERT folder, GOLDEN a safetensors file with `input_ids`,
`attention_mask` and `emb`. Graphs are exported beside FOLDER once (`export.py`).
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file
from tokenizers import Tokenizer

SHAPES = [(1, 16), (1, 64), (1, 128), (1, 256), (1, 512), (8, 64), (32, 64)]
PRECISIONS = ["f32", "bf16", "int8"]


class Pintle:
    def __init__(self, binary, folder):
        self.process = subprocess.Popen([binary, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed(texts, tokens):
    ids = np.array([[1000 + (t * tokens + p) * 7919 % 20_000 for p in range(tokens)] for t in range(texts)], np.int64)
    ids[:, 0], ids[:, -1] = 101, 102
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def embed(model, ids, mask):
    states = model.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def sentences(count):
    """Prose of many lengths: this repository's own documents, in pieces of 1 to 12 sentences."""
    root = Path(__file__).resolve().parents[3]
    text = " ".join(p.read_text() for p in sorted(root.glob("docs/*.md")) + [root / "README.md", root / "SPECIFICATION.md"])
    parts = [s.strip() for s in re.split(r"(?<=[.!?])\s+", text) if len(s.strip()) > 20]
    pieces, at = [], 0
    while len(pieces) < count:
        size = 1 + len(pieces) % 12
        pieces.append(" ".join(parts[(at + i) % len(parts)] for i in range(size)))
        at += size
    return pieces


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("bench")
    arguments.add_argument("folder")
    arguments.add_argument("golden")
    arguments.add_argument("--quick", action="store_true", help="fewer rounds, fewer texts")
    arguments.add_argument("--cosines", action="store_true", help="how near the outputs are, without any timing")
    chosen = arguments.parse_args()
    graphs = Path(chosen.folder).with_name(Path(chosen.folder).name + "-onnx")
    if not (graphs / "int8.onnx").exists():
        subprocess.run([sys.executable, Path(__file__).with_name("export.py"), chosen.folder, graphs], check=True)
    exact, narrow = session(graphs / "f32.onnx"), session(graphs / "int8.onnx")
    golden = load_file(chosen.golden)
    difference = np.abs(embed(exact, golden["input_ids"], golden["attention_mask"]) - golden["emb"]).max()
    assert difference < 1e-4, f"the exported graph is wrong by {difference}"
    print(f"exported graph against the reference: largest difference {difference:.1e}")
    pintle = Pintle(chosen.bench, chosen.folder)
    if not chosen.cosines:
        time_shapes(pintle, exact, narrow, 3 if chosen.quick else 9)
    compare_outputs(pintle, exact, narrow, Path(chosen.folder), 40 if chosen.quick else 400)


def time_shapes(pintle, exact, narrow, rounds):
    print(f"{'texts x tokens':>15} {'ORT f32 ms':>11} {'ORT int8':>9}" + "".join(f"{p:>9}" for p in PRECISIONS)
          + "   ratios of least: f32/f32  bf16/f32  int8/int8 (median)")
    for texts, tokens in SHAPES:
        inputs = feed(texts, tokens)
        times = {name: [] for name in ["ort f32", "ort int8", *PRECISIONS]}
        inner = max(1, min(20, 1200 // (texts * tokens)))
        for model in (exact, narrow):
            model.run(None, inputs)
        for _ in range(rounds):
            for name, model in (("ort f32", exact), ("ort int8", narrow)):
                for _ in range(inner):
                    start = time.process_time_ns()
                    model.run(None, inputs)
                    times[name].append(time.process_time_ns() - start)
            for precision in PRECISIONS:
                least, median = map(int, pintle.ask(f"time {precision} {texts} {tokens} {inner}"))
                times[precision] += [least, median]
        least = {name: min(values) / 1e6 for name, values in times.items()}
        middle = {name: statistics.median(values) / 1e6 for name, values in times.items()}
        print(f"{texts:>8} x {tokens:<4} {least['ort f32']:>11.2f} {least['ort int8']:>9.2f}"
              + "".join(f"{least[p]:>9.2f}" for p in PRECISIONS)
              + f"   {least['f32'] / least['ort f32']:>22.2f} {least['bf16'] / least['ort f32']:>9.2f}"
              + f" {least['int8'] / least['ort int8']:>9.2f} ({middle['int8'] / middle['ort int8']:.2f})", flush=True)


def compare_outputs(pintle, exact, narrow, folder, count):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    cosines = {name: [] for name in [*PRECISIONS, "ort int8"]}
    for text in sentences(count):
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        mask = np.ones_like(ids)
        reference = embed(exact, ids, mask)[0]
        cosines["ort int8"].append(float(embed(narrow, ids, mask)[0] @ reference))
        listed = ",".join(map(str, ids[0]))
        for precision in PRECISIONS:
            got = np.array(pintle.ask(f"embed {precision} {listed}"), np.float32)
            cosines[precision].append(float(got @ reference))
    for name, values in cosines.items():
        values.sort()
        print(f"cosine to ORT f32 over {len(values)} texts, {name:>8}: least {values[0]:.6f}  "
              f"1st percentile {values[len(values) // 100]:.6f}  median {values[len(values) // 2]:.6f}")


if __name__ == "__main__":
    main()
