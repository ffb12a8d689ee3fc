#!/usr/bin/env python3
"""Predicts from published peaks how long an encoder's kernels take on an MI300X. Nothing here is measured.

Each launch takes the longest of: its products at the matrix peak of the compute units that have a block; what it reads
from shared memory; what its compute units take in from the caches; its first reads and its writes at the bandwidth of
HBM. To that comes a fixed cost per launch in a graph. Left out, so that true times are longer: latency of dependent
loads, uneven blocks, clock drops, bank conflicts, address arithmetic.

predict.py            prints the tables of docs/gpu.md
predict.py --check F  fails unless F contains them
"""

import sys
from dataclasses import dataclass

# AMD Instinct MI300X data sheet: compute units, engine clock, dense fp16 matrix rate, HBM bandwidth.
UNITS = 304
CLOCK = 2.1e9
MATRIX = 1307.4e12
MATRIX_I8 = 2614.9e12
HBM = 5.3e12
# CDNA 3 white paper: bytes per clock and compute unit from shared memory, and from the vector cache.
SHARED_PER_CLOCK = 128
VECTOR_PER_CLOCK = 64
# What one node of a graph costs; a user's measurement on gfx1100 (ROCm/rocm-systems 10834), no figure for MI300X is known.
NODE = 3.9e-6

TILES = {"fat": 128, "mid": 64}
QUERY_TILE, KEY_TILE = 64, 64


@dataclass
class Launch:
    flops: float = 0.0
    shared: float = 0.0
    vector: float = 0.0
    memory: float = 0.0
    blocks: int = 1
    peak: float = MATRIX

    def time(self):
        share = min(self.blocks, UNITS) / UNITS
        bounds = {
            "matrix": self.flops / (self.peak * share),
            "shared": self.shared / (SHARED_PER_CLOCK * CLOCK * UNITS * share),
            "cache": self.vector / (VECTOR_PER_CLOCK * CLOCK * UNITS * share),
            "HBM": self.memory / HBM,
        }
        bound = max(bounds, key=bounds.get)
        return bounds[bound], bound


def ceil(a, b):
    return -(-a // b)


def gemm(m, n, k, columns=None):
    memory = 2 * (m * k + n * k + m * (columns or n))
    for name, side in TILES.items():
        blocks = ceil(m, side) * ceil(n, side)
        if blocks >= UNITS:
            # A wave reads its half of either tile; both tiles are written once.
            staged = blocks * ceil(k, 32) * 2 * side * 64
            return Launch(2.0 * m * n * k, 3 * staged, staged, memory, blocks), name
    blocks = ceil(m, 16) * ceil(n, 32)
    return Launch(2.0 * m * n * k, 0, blocks * 48 * k * 2, memory, blocks), "skinny"


def gemm_i8(m, n, k, columns=None):
    """As `gemm` with int8 operands, which come from the caches unstaged: each wave of a mid block reads 32 rows of both."""
    memory = m * k + n * k + 4 * (m + n) + 2 * m * (columns or n)
    blocks = ceil(m, 64) * ceil(n, 64)
    if blocks >= UNITS:
        return Launch(2.0 * m * n * k, 0, blocks * 4 * 64 * k, memory, blocks, MATRIX_I8), "mid"
    blocks = ceil(m, 16) * ceil(n, 32)
    return Launch(2.0 * m * n * k, 0, blocks * 48 * k, memory, blocks, MATRIX_I8), "skinny"


def quantize(m, k):
    return Launch(memory=m * k * 3 + 4 * m, vector=m * k * 2, blocks=ceil(m, 4))


def attention(lengths, heads, d, window):
    work = Launch(blocks=0)
    for length in lengths:
        for query in range(0, length, QUERY_TILE):
            first = max(0, query - window) // KEY_TILE * KEY_TILE if window else 0
            last = min(length, query + QUERY_TILE + window) if window else length
            tiles = ceil(last - first, KEY_TILE) * heads
            work.blocks += heads
            work.flops += tiles * 4.0 * QUERY_TILE * KEY_TILE * d
            # Keys and values: staged once, read by each of the four waves.
            work.shared += tiles * 5 * 2 * KEY_TILE * d * 2
            work.vector += tiles * 2 * KEY_TILE * d * 2
    work.memory = sum(lengths) * heads * d * 2 * 4
    return work


def rows(m, hidden, passes):
    return Launch(memory=m * hidden * 2 * passes, vector=m * hidden * 2 * passes, blocks=ceil(m, 4))


def encoder(model, lengths):
    """(launch, what it is) for every kernel of a forward pass."""
    h, inner, heads, d = model["hidden"], model["inner"], model["heads"], model["hidden"] // model["heads"]
    m = sum(lengths)
    yield rows(m, h, 2), "rows"
    for layer in range(model["layers"]):
        gated = model["gated"]
        window = model["window"] if layer % model["global_every"] else 0
        if gated and layer:
            yield rows(m, h, 2), "rows"
        yield gemm(m, 3 * h, h)
        yield attention(lengths, heads, d, window), "attention"
        yield gemm(m, h, h)
        yield rows(m, h, 2), "rows"
        yield gemm(m, 2 * inner, h, inner) if gated else gemm(m, inner, h)
        yield gemm(m, h, inner)
        if not gated:
            yield rows(m, h, 2), "rows"
    if model["gated"]:
        yield rows(m, h, 2), "rows"
    yield rows(m, h, 1), "rows"
    yield Launch(blocks=len(lengths)), "head"


MODELS = {
    "MiniLM-L6": dict(layers=6, hidden=384, inner=1536, heads=12, gated=False, window=0, global_every=1),
    "ModernBERT-base": dict(layers=22, hidden=768, inner=1152, heads=12, gated=True, window=64, global_every=3),
}
BATCHES = [(1, 16), (1, 64), (1, 512), (8, 64), (64, 64), (64, 128), (256, 64), (32, 512)]


def table(model):
    lines = [
        "| batch x tokens | launches | GFLOP | kernels, us | launches, us | sum, us | of the matrix peak | GEMM tiles |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for batch, tokens in BATCHES:
        launches = list(encoder(model, [tokens] * batch))
        busy = sum(launch.time()[0] for launch, _ in launches)
        flops = sum(launch.flops for launch, _ in launches)
        fixed = NODE * len(launches)
        kinds = sorted({kind for _, kind in launches} & {"skinny", *TILES})
        lines.append(
            f"| {batch} x {tokens} | {len(launches)} | {flops / 1e9:.1f} | {busy * 1e6:.0f} | {fixed * 1e6:.0f} "
            f"| {(busy + fixed) * 1e6:.0f} | {100 * flops / MATRIX / (busy + fixed):.1f} % | {', '.join(kinds)} |"
        )
    return lines


def shapes():
    """What bounds each kind of kernel in three batches of ModernBERT-base."""
    lines = ["| kernel of ModernBERT-base | 1 x 64 | 64 x 64 | 32 x 512 |", "|---|---|---|---|"]
    model = MODELS["ModernBERT-base"]
    h, inner = model["hidden"], model["inner"]
    kinds = {
        "qkv GEMM": lambda lengths: gemm(sum(lengths), 3 * h, h)[0],
        "attention, all": lambda lengths: attention(lengths, 12, 64, 0),
        "attention, window 64": lambda lengths: attention(lengths, 12, 64, 64),
        "output GEMM": lambda lengths: gemm(sum(lengths), h, h)[0],
        "gate and up GEMM": lambda lengths: gemm(sum(lengths), 2 * inner, h, inner)[0],
        "down GEMM": lambda lengths: gemm(sum(lengths), h, inner)[0],
        "qkv GEMM, int8": lambda lengths: gemm_i8(sum(lengths), 3 * h, h)[0],
        "gate and up GEMM, int8": lambda lengths: gemm_i8(sum(lengths), 2 * inner, h, inner)[0],
        "quantising either's input": lambda lengths: quantize(sum(lengths), h),
        "LayerNorm": lambda lengths: rows(sum(lengths), h, 2),
    }
    for name, make in kinds.items():
        cells = []
        for batch, tokens in [(1, 64), (64, 64), (32, 512)]:
            seconds, bound = make([tokens] * batch).time()
            cells.append(f"{seconds * 1e6:.1f} us, {bound}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def report():
    text = []
    for name, model in MODELS.items():
        text += [f"Predicted for {name}, not measured:", "", *table(model), ""]
    return "\n".join([*text, *shapes()])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        if report() not in open(sys.argv[2], encoding="utf-8").read():
            sys.exit(f"{sys.argv[2]} does not hold what predict.py prints")
        print("the predictions in the document are what the model gives")
    else:
        print(report())
