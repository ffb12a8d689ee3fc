"""How far two runtimes are apart on a graph that quantises as it goes, and why.

    graphs.py BENCH FOLDER [TEXTS]

BENCH is the `encode` benchmark's binary, FOLDER holds `model.onnx`, `config.json` and `tokenizer.json` of an encoder
that pools by the first token (bge-small). Compared, over texts of many lengths, by cosine:

- the same graph with its integer products replaced by those of 32-bit floats with the very same weights: here and in
  onnxruntime. What differs is arithmetic alone;
- the graph as it is, here and in onnxruntime;
- onnxruntime with itself, after the table of words was changed by less than a millionth of each number: how much the
  graph makes of the last bits of a float, whoever runs it;
- the graph and its twin of floats, both in onnxruntime: what quantisation costs.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tokenizers import Tokenizer

from compare import Pintle, sentences, session


def floats(graph):
    """Replaces integer products by those of floats: x (W - zero point) instead of quantised x, scale apart."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantised = {node.output[0]: node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"}
    one = numpy_helper.from_array(np.float32(1.0), "one")
    nodes, added = [], {"one": one}
    scales = {node.output[1]: "one" for node in quantised.values()}
    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            continue
        if node.op_type == "MatMulInteger":
            weight = known[node.input[1]].astype(np.float32) - known[node.input[3]].astype(np.float32)
            name = node.input[1] + "_floats"
            added[name] = numpy_helper.from_array(weight, name)
            x = quantised[node.input[0]].input[0]
            node = helper.make_node("MatMul", [x, name], list(node.output), name=node.name)
        node.input[:] = [scales.get(name, name) for name in node.input]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*model.graph.initializer, *added.values()] if tensor.name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    return model


def nudged(graph, rng):
    """The same graph with scales of its table of words that differ in their last bits."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in model.graph.initializer:
        if "LayerNorm" in tensor.name and tensor.name.startswith("embeddings") and tensor.name.endswith("weight"):
            values = numpy_helper.to_array(tensor)
            values = values * (1 + rng.uniform(-5e-7, 5e-7, values.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
            return model
    raise SystemExit("the graph has no norm behind its table of words")


def embed(model, ids):
    names = [entry.name for entry in model.get_inputs()]
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    states = model.run(None, {name: feed[name] for name in names})[0]
    vector = states[0, 0] if states.ndim == 3 else states[0]
    return vector / np.linalg.norm(vector)


def main():
    bench, folder, count = sys.argv[1], Path(sys.argv[2]), int((sys.argv[3:] or ["100"])[0])
    graph = onnx.load(folder / "model.onnx")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    with tempfile.TemporaryDirectory() as scratch:
        places = {}
        for name, model in (("int8", graph), ("floats", floats(graph)), ("nudged", nudged(graph, np.random.default_rng(1)))):
            place = places[name] = Path(scratch, name)
            place.mkdir()
            onnx.save(model, place / "model.onnx")
            for file in ("config.json", "tokenizer.json"):
                shutil.copy(folder / file, place / file)
            (place / "1_Pooling").mkdir()
            (place / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
        theirs = {name: session(place / "model.onnx") for name, place in places.items()}
        ours = {name: Pintle(bench, places[name]) for name in ("int8", "floats")}
        cosines = {}
        for text in sentences(count):
            ids = np.array([tokenizer.encode(text).ids], np.int64)
            listed = ",".join(map(str, ids[0]))
            of = {f"ORT {name}": embed(model, ids) for name, model in theirs.items()}
            for name, process in ours.items():
                of[f"rten {name}"] = np.array(process.ask(f"embed f32 {listed}"), np.float32)
            pairs = (("rten floats", "ORT floats"), ("rten int8", "ORT int8"), ("ORT nudged", "ORT int8"),
                     ("ORT int8", "ORT floats"), ("rten int8", "ORT floats"))  # fmt: skip
            for pair in pairs:
                cosines.setdefault(pair, []).append((float(of[pair[0]] @ of[pair[1]]), np.abs(of[pair[0]] - of[pair[1]]).max()))
    for (first, second), values in cosines.items():
        near = sorted(cosine for cosine, _ in values)
        print(f"{first:>11} and {second:<10} over {len(near)} texts: cosine least {near[0]:.6f}  1st percentile "
              f"{near[len(near) // 100]:.6f}  median {near[len(near) // 2]:.6f}; largest difference "
              f"{max(difference for _, difference in values):.1e}")


if __name__ == "__main__":
    main()
