#!/usr/bin/env python3
"""Puts what gpu_check and torch_baseline.py measured into docs/gpu.md, between its two markers.

gpu_report.py DOCUMENT OURS [TORCH]     writes
gpu_report.py DOCUMENT --none           says that nothing was measured
gpu_report.py DOCUMENT --check          fails unless the markers are there, once, and something between them
"""

import sys

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NONE = "Not measured: `make gpu-check` has not been run on a machine with a GPU."
# Data sheets: dense 16-bit matrix TFLOP/s without sparsity, TB/s of memory; SXM parts. The first name that fits counts.
PEAKS = {"H200": (989.4, 4.8), "H100": (989.4, 3.35), "A100": (312.0, 2.04), "L40": (181.0, 0.864), "L4": (121.0, 0.3)}
VARIANTS = ["eager", "compile", "CUDA graph", "compiled graph"]


def rows(path):
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line in file]


def peaks(name):
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def table(head, lines):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(line) + " |" for line in lines), ""]


def kernel_lines(ours, theirs, peak):
    for _, model, what, batch, tokens, us, _, gflop, mega, note in ours:
        us, gflop, mega = float(us), float(gflop), float(mega)
        share, bound = "", ""
        if peak:
            matrix, memory = gflop / peak[0] * 1e3, mega / peak[1]
            bound = "matrix" if matrix > memory else "memory"
            share = f"{100 * max(matrix, memory) / us:.0f} %"
        rate = f"{gflop / us * 1e3:.1f}" if gflop else f"{mega / us:.2f} TB/s"
        other = theirs.get((model, what, batch, tokens), {})
        other = ", ".join(f"{name} {float(time):.1f}" for name, time in other.items())
        yield [model, what, f"{batch} x {tokens}", f"{us:.1f}", rate, share, bound, other or "-", note or "-"]


def encoder_lines(ours, theirs, peak):
    for _, model, what, batch, tokens, us, rate, gflop, _, _ in ours:
        other = theirs.get((model, what, batch, tokens), {})
        cells = [f"{float(other[name]):.0f}" if name in other else "-" for name in VARIANTS]
        share = f"{100 * float(gflop) / peak[0] * 1e3 / float(us):.1f} %" if peak else ""
        case = f"{batch} x {tokens}" if tokens != "0" else f"{batch}, 16 to 512"
        yield [model, case, f"{float(us):.0f}", rate, share, *cells]


def aims(ours, theirs, peak):
    """What docs/gpu.md aims at, and in how many of the cases it is reached."""
    small = {"eager": [2.0, 0, 0], "CUDA graph": [1.0, 0, 0]}
    full = [0, 0]
    for _, model, what, batch, tokens, us, _, gflop, _, _ in ours:
        us, batch, tokens = float(us), int(batch), int(tokens)
        if batch <= 64 and 0 < tokens <= 128:
            other = theirs.get((model, what, str(batch), str(tokens)), {})
            for name, aim in small.items():
                if name in other:
                    aim[1] += float(other[name]) / us >= aim[0]
                    aim[2] += 1
        if batch * tokens == 16384 and peak:
            full[0] += float(gflop) / peak[0] * 1e3 / us >= 0.6
            full[1] += 1
    lines = [
        f"{factor:.0f} times as fast as PyTorch's {name} for 1 to 64 texts of up to 128 tokens: {met} of {count} cases"
        for name, (factor, met, count) in small.items()
        if count
    ]
    if full[1]:
        lines.append(f"60 % of the matrix peak at 16384 tokens: {full[0]} of {full[1]} cases")
    return [f"Aims reached: {'; '.join(lines)}."] if lines else []


def report(ours, theirs):
    device = ours[0]
    peak = peaks(device[1])
    others, torch = {}, None
    for line in theirs:
        if line[0] == "torch":
            torch = line
            continue
        kind, model, what, batch, tokens, variant, us = line
        others.setdefault(kind, {}).setdefault((model, what, batch, tokens), {})[variant] = us
    text = [f"Measured on {device[1]} ({device[2]}, {device[3]} processors) by `make gpu-check`; every timed output agreed with `f64` at samples."]
    text.append(f"Beside it PyTorch {torch[1]}." if torch else "PyTorch was not at hand: nothing is compared with it.")
    text.append(
        f"Peaks by the data sheet: {peak[0]} TFLOP/s, {peak[1]} TB/s." if peak else "Its peaks are not known here."
    )
    text += aims([line for line in ours if line[0] == "encoder"], others.get("encoder", {}), peak)
    text += ["", "Median latency of a batch, asked and answered, and texts per second with six batches asked for at a time:", ""]
    kinds = {kind: [line for line in ours if line[0] == kind] for kind in ["kernel", "encoder"]}
    text += table(
        ["model", "texts x tokens", "us", "texts/s", "of the matrix peak", *(f"{name}, us" for name in VARIANTS)],
        encoder_lines(kinds["encoder"], others.get("encoder", {}), peak),
    )
    text += ["Kernels, many in a graph, operands in the caches where they fit:", ""]
    text += table(
        ["model", "kernel", "texts x tokens", "us", "TFLOP/s", "of the roofline", "bound", "PyTorch, us", "blocks"],
        kernel_lines(kinds["kernel"], others.get("kernel", {}), peak),
    )
    return "\n".join(text).rstrip()


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        document = file.read()
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        sys.exit(f"{path} does not hold the markers once")
    before, rest = document.split(BEGIN)
    between, after = rest.split(END)
    if sys.argv[2] == "--check":
        if not between.strip():
            sys.exit(f"{path} does not say whether anything was measured")
        return
    body = NONE if sys.argv[2] == "--none" else report(rows(sys.argv[2]), rows(sys.argv[3]) if sys.argv[3:] else [])
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{body}\n{END}{after}")


if __name__ == "__main__":
    main()
