"""Makes the checkpoint in modernbert_yarn/ and its golden embeddings.

Needs torch 2.15.0, transformers 5.23.0 and safetensors 0.8.0; run it in an environment of its own:

    python classifier/tests/golden/yarn.py

One set of random weights, kept as binary16, under three configurations:

    config.json       YaRN for layers that look everywhere (rope_parameters, as transformers 5 writes them)
    config_both.json  YaRN for both kinds of layers (rope_scaling, as transformers 4 writes it)
    without YaRN      config.json with rope_type "default": shows that the goldens depend on YaRN

Texts are several times longer than original_max_position_embeddings. An embedding is the mean of the last states,
made of length one.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import ModernBertConfig, ModernBertModel

FOLDER = Path(__file__).parent / "modernbert_yarn"
SHAPE = {
    "architectures": ["ModernBertModel"],
    "model_type": "modernbert",
    "vocab_size": 64,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "local_attention": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "cls_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
}
LAYERS = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
YARN = {"factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 4.0}
PER_KIND = {
    "layer_types": LAYERS,
    "rope_parameters": {
        "full_attention": {"rope_type": "yarn", "rope_theta": 10000.0, **YARN},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
}
BOTH = {
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 20000.0,
    "local_rope_theta": 1000.0,
    "rope_scaling": {"rope_type": "yarn", **YARN},
}


def plain(config):
    parameters = {
        kind: {"rope_type": "default", "rope_theta": said["rope_theta"]}
        for kind, said in config["rope_parameters"].items()
    }
    return {**config, "rope_parameters": parameters}


def embeddings(config, weights, ids, mask):
    read = ModernBertConfig.from_dict(json.loads(json.dumps(config)))
    read._attn_implementation = "eager"
    print(read.layer_types, read.rope_parameters)
    model = ModernBertModel(read).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    kept = mask[..., None]
    mean = (states * kept).sum(1) / kept.sum(1)
    return torch.nn.functional.normalize(mean).contiguous()


def main():
    torch.manual_seed(20)
    torch.set_num_threads(1)
    per_kind, both = {**SHAPE, **PER_KIND}, {**SHAPE, **BOTH}
    made = ModernBertModel(ModernBertConfig.from_dict(per_kind)).state_dict()
    halves = {name: tensor.half().contiguous() for name, tensor in made.items()}
    weights = {name: tensor.float() for name, tensor in halves.items()}
    ids = torch.randint(3, 64, (3, 240))
    mask = torch.zeros(3, 240, dtype=torch.long)
    for row, length in enumerate([240, 101, 30]):
        mask[row, :length] = 1
        ids[row, length:] = 0
    FOLDER.mkdir(exist_ok=True)
    save_file(halves, FOLDER / "model.safetensors")
    tensors = {"input_ids": ids, "attention_mask": mask}
    for name, config in [("per_kind", per_kind), ("both", both), ("plain", plain(per_kind))]:
        tensors[name] = embeddings(config, weights, ids, mask)
        print(name, (tensors[name] * tensors["per_kind"]).sum(1).tolist())
    save_file(tensors, FOLDER / "golden.safetensors")
    for name, config in [("config.json", per_kind), ("config_both.json", both)]:
        (FOLDER / name).write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
