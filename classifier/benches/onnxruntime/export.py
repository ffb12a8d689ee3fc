"""Writes a BERT folder as an ONNX graph, and the same quantised to int8 per channel.

    export.py FOLDER OUT         OUT/f32.onnx and OUT/int8.onnx
    export.py FOLDER FILE.onnx   the first alone, with its classification head if it has one (golden files of tests)

The graph is built from the weights directly, as PyTorch's exporter lays it out; PyTorch is not needed. `compare.py`
checks its outputs against those of the reference before it times anything.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


class Graph:
    """Nodes and constants, with fresh names."""

    def __init__(self):
        self.nodes = []
        self.constants = {}

    def constant(self, value, name=None):
        name = name or f"constant_{len(self.constants)}"
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(self, kind, inputs, **attributes):
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def export(folder, path):
    config = json.loads((folder / "config.json").read_text())
    weights = {name.removeprefix("bert."): value for name, value in load_file(folder / "model.safetensors").items()}
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width, epsilon = hidden // heads, config["layer_norm_eps"]
    graph = Graph()
    integers = lambda *values: graph.constant(np.array(values, np.int64))

    def linear(x, name):
        # Weights are transposed beforehand, so that quantisation meets MatMul with a constant right side.
        product = graph.add("MatMul", [x, graph.constant(weights[f"{name}.weight"].T, f"{name}.weight")])
        return graph.add("Add", [product, graph.constant(weights[f"{name}.bias"], f"{name}.bias")])

    def norm(x, name):
        gain = graph.constant(weights[f"{name}.weight"], f"{name}.weight")
        bias = graph.constant(weights[f"{name}.bias"], f"{name}.bias")
        return graph.add("LayerNormalization", [x, gain, bias], axis=-1, epsilon=epsilon)

    words = graph.constant(weights["embeddings.word_embeddings.weight"], "words")
    places = graph.constant(
        weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0],
        "places",
    )
    x = graph.add("Gather", [words, "input_ids"])
    shape = graph.add("Shape", ["input_ids"])
    length = graph.add("Gather", [shape, integers(1)])
    place = graph.add("Slice", [places, integers(0), length, integers(0)])
    x = norm(graph.add("Add", [x, place]), "embeddings.LayerNorm")
    # 1 for tokens, 0 for padding, as what is added to scores.
    mask = graph.add("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    mask = graph.add("Sub", [graph.constant(np.float32(1.0)), mask])
    mask = graph.add("Mul", [mask, graph.constant(np.float32(-3.4e38))])
    mask = graph.add("Unsqueeze", [mask, integers(1, 2)])
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"

        def split(part):
            y = linear(x, f"{at}.attention.self.{part}")
            y = graph.add("Reshape", [y, integers(0, 0, heads, width)])
            return graph.add("Transpose", [y], perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3])

        scores = graph.add("MatMul", [split("query"), split("key")])
        scores = graph.add("Div", [scores, graph.constant(np.float32(width**0.5))])
        shares = graph.add("Softmax", [graph.add("Add", [scores, mask])], axis=-1)
        mixed = graph.add("MatMul", [shares, split("value")])
        mixed = graph.add("Transpose", [mixed], perm=[0, 2, 1, 3])
        mixed = graph.add("Reshape", [mixed, integers(0, 0, hidden)])
        x = norm(
            graph.add("Add", [linear(mixed, f"{at}.attention.output.dense"), x]), f"{at}.attention.output.LayerNorm"
        )
        inner = graph.add("Gelu", [linear(x, f"{at}.intermediate.dense")])
        x = norm(graph.add("Add", [linear(inner, f"{at}.output.dense"), x]), f"{at}.output.LayerNorm")
    graph.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"], name="last"))
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["texts", "tokens", hidden])]
    if "classifier.weight" in weights:
        shape = ["texts", "tokens"]
        if config["architectures"] == ["BertForSequenceClassification"]:
            first = graph.add("Gather", [x, integers(0)], axis=1)
            x = graph.add("Tanh", [linear(graph.add("Squeeze", [first, integers(1)]), "pooler.dense")])
            shape = ["texts"]
        graph.nodes.append(helper.make_node("Identity", [linear(x, "classifier")], ["logits"], name="logits_last"))
        labels = len(weights["classifier.bias"])
        outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*shape, labels]))
    ids = [helper.make_tensor_value_info(n, TensorProto.INT64, ["texts", "tokens"]) for n in ("input_ids", "attention_mask")]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "encoder", ids, outputs, list(graph.constants.values())),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    if out.suffix == ".onnx":
        export(folder, out)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out.mkdir(parents=True, exist_ok=True)
    export(folder, out / "f32.onnx")
    quantize_dynamic(
        out / "f32.onnx",
        out / "int8.onnx",
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=False,
        extra_options={"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True},
    )


if __name__ == "__main__":
    main()
