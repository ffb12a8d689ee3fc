#!/usr/bin/env python3
"""What PyTorch takes for what gpu_check measures: cuBLAS products, scaled_dot_product_attention, and whole encoders run
eagerly, by torch.compile, and either as a CUDA graph, in 16 bits.

torch_baseline.py OUT [--cpu-smoke]   writes lines: kind, model, what, batch, tokens, variant, us
--cpu-smoke runs two small shapes on the CPU, to see that the script works: its times mean nothing.
"""

import statistics
import sys
import time

import torch
import torch._dynamo
import torch.nn.functional as F

SMOKE = "--cpu-smoke" in sys.argv
DEVICE = "cpu" if SMOKE else "cuda"
# As in examples/gpu_check/main.rs.
SHAPES = {
    "MiniLM-L6": dict(layers=6, hidden=384, inner=1536, heads=12, vocabulary=30522, modern=False),
    "ModernBERT-base": dict(layers=22, hidden=768, inner=1152, heads=12, vocabulary=50368, modern=True),
}
BATCHES = [(1, 16), (1, 64), (1, 128), (1, 512), (8, 16), (8, 64), (8, 512), (64, 16), (64, 128), (256, 16), (256, 64), (32, 512)]
LAUNCHES = 1 if SMOKE else 20
if SMOKE:
    SHAPES = {name: {**shape, "layers": 2, "vocabulary": 100} for name, shape in SHAPES.items()}
    BATCHES = [(1, 16), (2, 70)]


def wait():
    if not SMOKE:
        torch.cuda.synchronize()


def repeated(call, span=0.1):
    """Median of five measurements, in microseconds for each call."""
    for _ in range(3):
        call()
    wait()
    start = time.perf_counter()
    call()
    wait()
    count = 1 if SMOKE else max(1, min(10000, int(span / 5 / (time.perf_counter() - start))))
    samples = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        samples.append((time.perf_counter() - start) / count)
    return statistics.median(samples) * 1e6


def latency(call):
    """Median of single calls, each waited for, in microseconds."""
    for _ in range(3):
        call()
    wait()
    times, start = [], time.perf_counter()
    while not times or (not SMOKE and time.perf_counter() - start < 0.5):
        begin = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def graphed(call):
    """The call as a CUDA graph, captured after it has run on a stream of its own."""
    if SMOKE:
        return call
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def many(call):
    def run():
        for _ in range(LAUNCHES):
            call()

    return run


def window_mask(tokens, reach, device):
    at = torch.arange(tokens, device=device)
    return (at[None, :] - at[:, None]).abs() <= reach


class Encoder(torch.nn.Module):
    """The same arithmetic as gpu_check's encoders, on texts padded to the longest."""

    def __init__(self, shape, dtype):
        super().__init__()
        self.shape, self.dtype = shape, dtype
        h, inner, modern = shape["hidden"], shape["inner"], shape["modern"]

        def random(*size):
            return torch.nn.Parameter(torch.randn(*size, device=DEVICE, dtype=dtype) / h**0.5, requires_grad=False)

        self.words = random(shape["vocabulary"], h)
        self.places = None if modern else random(512, h)
        self.layers = torch.nn.ParameterList()
        for _ in range(shape["layers"]):
            for rows, columns in [(3 * h, h), (h, h), (2 * inner if modern else inner, h), (h, inner)]:
                self.layers.append(random(rows, columns))
                self.layers.append(random(rows))
        self.gain = random(h)
        angles = torch.arange(512, device=DEVICE)[:, None] * 10000.0 ** (
            -2.0 * torch.arange(h // shape["heads"] // 2, device=DEVICE) / (h // shape["heads"])
        )
        self.register_buffer("cos", torch.cat([angles.cos()] * 2, 1).to(dtype))
        self.register_buffer("sin", torch.cat([angles.sin()] * 2, 1).to(dtype))

    def norm(self, x):
        return F.layer_norm(x, (self.shape["hidden"],), self.gain, None if self.shape["modern"] else self.gain, 1e-5)

    def rotate(self, x, tokens):
        low, high = x.chunk(2, -1)
        return x * self.cos[:tokens] + torch.cat([-high, low], -1) * self.sin[:tokens]

    def forward(self, ids, mask, near):
        shape = self.shape
        texts, tokens = ids.shape
        h, heads, modern = shape["hidden"], shape["heads"], shape["modern"]
        x = F.embedding(ids, self.words)
        if not modern:
            x = x + self.places[:tokens]
        x = self.norm(x)
        for layer in range(shape["layers"]):
            w = self.layers[8 * layer : 8 * layer + 8]
            bias = [None] * 4 if modern else w[1::2]
            normed = self.norm(x) if modern and layer else x
            q, k, v = F.linear(normed, w[0], bias[0]).view(texts, tokens, 3, heads, h // heads).permute(2, 0, 3, 1, 4)
            if modern:
                q, k = self.rotate(q, tokens), self.rotate(k, tokens)
            seen = near if modern and layer % 3 else mask
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            x = x + F.linear(mixed.transpose(1, 2).reshape(texts, tokens, h), w[2], bias[1])
            if not modern:
                x = self.norm(x)
            up = F.linear(self.norm(x) if modern else x, w[4], bias[2])
            if modern:
                gate, up = up.chunk(2, -1)
                up = F.gelu(gate) * up
            else:
                up = F.gelu(up)
            x = x + F.linear(up, w[6], bias[3])
            if not modern:
                x = self.norm(x)
        if modern:
            x = self.norm(x)
        return F.normalize(x.float().mean(1), dim=-1)


def kernels(name, shape, dtype, emit):
    h, inner, heads, modern = shape["hidden"], shape["inner"], shape["heads"], shape["modern"]
    for batch, tokens in BATCHES:
        m = batch * tokens
        sizes = {"qkv": (3 * h, h), "output": (h, h), "up": (2 * inner if modern else inner, h), "down": (h, inner)}
        for what, (n, k) in sizes.items():
            a = torch.randn(m, k, device=DEVICE, dtype=dtype)
            w = torch.randn(n, k, device=DEVICE, dtype=dtype)
            bias = torch.randn(n, device=DEVICE, dtype=dtype)
            # The product with its bias alone: cuBLAS has neither the gate nor the residual in its epilogue.
            micros = repeated(graphed(many(lambda: F.linear(a, w, bias)))) / LAUNCHES
            emit("kernel", name, what, batch, tokens, "cuBLAS", micros)
        q, k, v = (torch.randn(batch, heads, tokens, h // heads, device=DEVICE, dtype=dtype) for _ in range(3))
        micros = repeated(graphed(many(lambda: F.scaled_dot_product_attention(q, k, v)))) / LAUNCHES
        emit("kernel", name, "attention", batch, tokens, "SDPA", micros)
        if modern:
            near = window_mask(tokens, 64, DEVICE)
            micros = repeated(graphed(many(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=near)))) / LAUNCHES
            emit("kernel", name, "attention, window 64", batch, tokens, "SDPA", micros)
        x = torch.randn(m, h, device=DEVICE, dtype=dtype)
        gain = torch.randn(h, device=DEVICE, dtype=dtype)
        micros = repeated(graphed(many(lambda: F.layer_norm(x + x, (h,), gain)))) / LAUNCHES
        emit("kernel", name, "LayerNorm", batch, tokens, "sum and norm", micros)


def encoders(name, shape, dtype, emit):
    model = Encoder(shape, dtype).eval()
    # Compiled for each shape of its own: PyTorch's best, not the one for all sizes that it would turn to.
    compiled = torch.compile(model, dynamic=False)
    lengths = [(what, [tokens] * batch, tokens) for batch, tokens in BATCHES for what in ["encoder"]]
    lengths.append(("mixed lengths", [16 * (nth + 1) for nth in range(2 if SMOKE else 32)], 0))
    for what, texts, tokens in lengths:
        longest = max(texts)
        ids = torch.randint(shape["vocabulary"], (len(texts), longest), device=DEVICE)
        real = torch.tensor(texts, device=DEVICE)[:, None] > torch.arange(longest, device=DEVICE)
        padded = longest != min(texts)
        # Without padding attention needs no mask, and PyTorch may take its fastest way.
        mask = real[:, None, None, :] if padded else None
        near = window_mask(longest, 64, DEVICE)
        near = near & real[:, None, None, :] if padded else near
        for variant, call in [("eager", model), ("compile", compiled), ("CUDA graph", model), ("compiled graph", compiled)]:
            run = lambda call=call: call(ids, mask, near)
            if "graph" in variant:
                run = graphed(run)
            emit("encoder", name, what, len(texts), tokens, variant, latency(run))


def main():
    lines = []

    def emit(*fields):
        lines.append("\t".join(f"{field:.2f}" if isinstance(field, float) else str(field) for field in fields))

    if not SMOKE and not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU")
    torch._dynamo.config.recompile_limit = 1000
    device = "CPU" if SMOKE else torch.cuda.get_device_name()
    lines.append(f"torch\t{torch.__version__}\t{device}")
    with torch.inference_mode():
        for name, shape in SHAPES.items():
            dtype = torch.bfloat16 if shape["modern"] else torch.float16
            kernels(name, shape, dtype, emit)
            encoders(name, shape, dtype, emit)
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
