"""Makes the seeds of the fuzz target model_graph: small graphs of every kind that encoders are exported as.

Needs onnx 1.23.2 and numpy:

    python fuzz/graphs.py

A seed is a byte, 0 for an embedding, 1 for labels of texts, 2 for labels of tokens, and the graph.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).parent / "corpus" / "model_graph"
VOCABULARY, HIDDEN, HEADS, LABELS = 64, 8, 2, 3
numbers = np.random.default_rng(7)


def floats(name, *shape):
    return numpy_helper.from_array(numbers.standard_normal(shape).astype(np.float32), name)


def whole(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def scalar(name, value):
    return numpy_helper.from_array(np.array(value, np.int64), name)


node = helper.make_node


def attention():
    """Self-attention whose scores are shaped by numbers taken from the text's shape."""
    constants = [
        floats("words", VOCABULARY, HIDDEN),
        floats("places", 16, HIDDEN),
        *[floats(f"w{part}", HIDDEN, HIDDEN) for part in "qkvo"],
        floats("gain", HIDDEN),
        floats("bias", HIDDEN),
        whole("first", 0),
        whole("batch", 1),
        whole("heads", HEADS),
        whole("rest", -1),
        whole("joined", 1, -1, HIDDEN),
        scalar("one", 1),
        scalar("nought", 0),
        numpy_helper.from_array(np.array((HIDDEN // HEADS) ** 0.5, np.float32), "root"),
    ]
    nodes = [
        node("Shape", ["input_ids"], ["shape"]),
        node("Gather", ["shape", "one"], ["length"], axis=0),
        node("Unsqueeze", ["length", "first"], ["lengths"]),
        node("Concat", ["batch", "lengths", "heads", "rest"], ["split"], axis=0),
        node("Range", ["nought", "length", "one"], ["positions"]),
        node("Gather", ["places", "positions"], ["placed"], axis=0),
        node("Gather", ["words", "input_ids"], ["worded"], axis=0),
        node("Add", ["worded", "placed"], ["x"]),
        node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["kept", "rest"], ["kept_rows"]),
        node("Mul", ["x", "kept_rows"], ["masked"]),
    ]
    for part in "qkv":
        nodes += [
            node("MatMul", ["masked", f"w{part}"], [f"{part}0"]),
            node("Reshape", [f"{part}0", "split"], [f"{part}1"]),
            node("Transpose", [f"{part}1"], [part], perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["scores0"]),
        node("Div", ["scores0", "root"], ["scores"]),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v"], ["mixed0"]),
        node("Transpose", ["mixed0"], ["mixed1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["mixed1", "joined"], ["mixed"]),
        node("MatMul", ["mixed", "wo"], ["out0"]),
        node("Add", ["out0", "x"], ["out1"]),
        node("LayerNormalization", ["out1", "gain", "bias"], ["states"], axis=-1, epsilon=1e-5),
    ]
    return nodes, constants


def older():
    """Opset 11: norms in pieces, products of int8 that are quantised as they go."""
    constants = [
        floats("words", VOCABULARY, HIDDEN),
        numpy_helper.from_array(numbers.integers(-128, 128, (HIDDEN, HIDDEN)).astype(np.int8), "w"),
        numpy_helper.from_array(np.array(0, np.int8), "w_zero"),
        numpy_helper.from_array(np.array(0.01, np.float32), "w_scale"),
        numpy_helper.from_array(np.array(2, np.float32), "two"),
        numpy_helper.from_array(np.array(1e-5, np.float32), "epsilon"),
    ]
    nodes = [
        node("Gather", ["words", "input_ids"], ["x"], axis=0),
        node("ReduceMean", ["x"], ["mean"], axes=[-1]),
        node("Sub", ["x", "mean"], ["centred"]),
        node("Pow", ["centred", "two"], ["squared"]),
        node("ReduceMean", ["squared"], ["variance"], axes=[-1]),
        node("Add", ["variance", "epsilon"], ["positive"]),
        node("Sqrt", ["positive"], ["deviation"]),
        node("Div", ["centred", "deviation"], ["normed"]),
        node("DynamicQuantizeLinear", ["normed"], ["small", "scale", "zero"]),
        node("MatMulInteger", ["small", "w", "zero", "w_zero"], ["product"]),
        node("Cast", ["product"], ["wide"], to=TensorProto.FLOAT),
        node("Mul", ["scale", "w_scale"], ["both"]),
        node("Mul", ["wide", "both"], ["scaled"]),
        node("Erf", ["scaled"], ["states"]),
    ]
    return nodes, constants


def four_bits():
    """Weights of four bits, and a mask that is expanded to a shape with -1 in it."""
    constants = [
        floats("words", VOCABULARY, 32),
        numpy_helper.from_array(numbers.integers(0, 256, (HIDDEN, 1, 16)).astype(np.uint8), "w"),
        floats("scales", HIDDEN),
        whole("one_minus", -1),
        whole("wanted", 1, -1, HIDDEN),
        whole("four", 3),
        floats("row", 1, 1, HIDDEN),
    ]
    one = numpy_helper.from_array(np.array([1], np.int64))
    nodes = [
        node("Gather", ["words", "input_ids"], ["x"], axis=0),
        node("MatMulNBits", ["x", "w", "scales"], ["y"], domain="com.microsoft", K=32, N=HIDDEN, bits=4, block_size=32),
        node("ConstantOfShape", ["four"], ["ones"], value=one),
        node("Equal", ["wanted", "one_minus"], ["open"]),
        node("Where", ["open", "ones", "wanted"], ["sure"]),
        node("Expand", ["row", "sure"], ["rows"]),
        node("Add", ["y", "rows"], ["states"]),
    ]
    return nodes, constants


def pooled(nodes, constants, first_row):
    """Labels of the text, by its first token or by the mean."""
    constants = [*constants, floats("head", LABELS, HIDDEN), floats("head_bias", LABELS), scalar("zeroth", 0)]
    nodes = list(nodes)
    if first_row:
        nodes.append(node("Gather", ["states", "zeroth"], ["row0"], axis=1))
    else:
        constants.append(whole("rows_axis", 1))
        nodes.append(node("ReduceSum", ["states", "rows_axis"], ["row0"], keepdims=0))
    nodes.append(node("Gemm", ["row0", "head", "head_bias"], ["logits"], transB=1))
    return nodes, constants


def classified(nodes, constants):
    """Labels of every token, in two halves that are put together again."""
    constants = [*constants, floats("head", HIDDEN, LABELS), whole("from", 0, 1), whole("to", 1, 99), whole("axis_1", 1)]
    constants += [whole("at_0", 0), whole("at_1", 1), whole("at_end", 1 << 40)]
    return [
        *nodes,
        node("MatMul", ["states", "head"], ["rows"]),
        node("Slice", ["rows", "at_0", "at_1", "axis_1"], ["begin"]),
        node("Slice", ["rows", "at_1", "at_end", "axis_1"], ["end"]),
        node("Concat", ["begin", "end"], ["logits"], axis=1),
    ], constants


def write(name, kind, made, opset, output, rank):
    nodes, constants = made
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in ["input_ids", "attention_mask"]
    ]
    shape = ["texts", "tokens", "width"] if rank == 3 else ["texts", "width"]
    graph = helper.make_graph(nodes, name, ids, [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)], constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (OUT / f"seed-{name}").write_bytes(bytes([kind]) + model.SerializeToString())


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write("states", 0, attention(), 17, "states", 3)
    write("text-labels", 1, pooled(*attention(), first_row=True), 17, "logits", 2)
    write("token-labels", 2, classified(*attention()), 17, "logits", 3)
    write("int8", 0, older(), 11, "states", 3)
    write("mean-labels", 1, pooled(*four_bits(), first_row=False), 17, "logits", 2)
    write("four-bits", 0, four_bits(), 17, "states", 3)


if __name__ == "__main__":
    main()
