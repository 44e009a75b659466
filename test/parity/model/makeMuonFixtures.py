"""Updates of torch.optim.Muon and torch.optim.AdamW on tiny models: python makeMuonFixtures.py (torch 2.13) writes fixtures/muon.json.

Muon of PyTorch iterates in bfloat16. `exact` is its own code in float64, with that conversion left out; `default` is what it does by
itself on float32 parameters.
"""
import json
import pathlib
from unittest import mock

import numpy as np
import torch

UPDATES = 20
MUON = dict(lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw")
ADAMW = dict(lr=0.02, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-8)


def numbers(seed, size):
    """As in muon.test.ts: integers that are mixed, in [-1, 1), exact in float32 after rounding."""
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(size, dtype=np.uint64) * np.uint64(0x9E3779B1) + np.uint64(seed * 0x85EBCA77 & 0xFFFFFFFF)) & mask
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & mask
    h ^= h >> np.uint64(15)
    return (h.astype(np.float64) / 2**31 - 1).astype(np.float32)


# Weights of one block: name, shape, the axis of outputs, the outputs of each merged matrix. A vector is updated by AdamW, without decay.
MODELS = {
    "gpt2": [
        ("transformer.h.0.attn.c_attn.weight", [8, 24], 1, [8, 8, 8]),
        ("transformer.h.0.attn.c_proj.weight", [8, 8], 1, [8]),
        ("transformer.h.0.mlp.c_fc.weight", [8, 32], 1, [32]),
        ("transformer.h.0.mlp.c_proj.weight", [32, 8], 1, [8]),
        ("transformer.h.0.ln_2.weight", [8], None, None),
    ],
    "transformer": [
        ("model.layers.0.self_attn.qkv_proj.weight", [16, 8], 0, [8, 4, 4]),
        ("model.layers.0.self_attn.o_proj.weight", [8, 8], 0, [8]),
        ("model.layers.0.mlp.gate_up_proj.weight", [24, 8], 0, [12, 12]),
        ("model.layers.0.mlp.down_proj.weight", [8, 12], 0, [8]),
        ("model.layers.0.input_layernorm.weight", [8], None, None),
    ],
}


def matrices(value, axis, lengths):
    """As torch.nn.Linear stores them: [outputs, inputs]."""
    parts = np.split(value, np.cumsum(lengths)[:-1], axis)
    return [part.T if axis == 1 else part for part in parts]


def run(model, updates, dtype):
    """The weights of the model after some updates."""
    weights, results = [], {}
    for index, (name, shape, axis, lengths) in enumerate(MODELS[model]):
        size = int(np.prod(shape))
        of = lambda step: numbers(1000 * (index + 1) + step, size).reshape(shape)
        split = (lambda value: [value]) if axis is None else (lambda value: matrices(value, axis, lengths))
        params = [torch.nn.Parameter(torch.tensor(part.copy(), dtype=dtype)) for part in split(of(0))]
        optimizer = torch.optim.AdamW(params, **ADAMW) if axis is None else torch.optim.Muon(params, **MUON)
        for step in range(1, updates + 1):
            for param, grad in zip(params, split(of(step) * np.float32(0.01))):
                param.grad = torch.tensor(grad.copy(), dtype=dtype)
            optimizer.step()
        parts = [param.detach().numpy() for param in params]
        joined = parts[0] if axis is None else np.concatenate([part.T if axis == 1 else part for part in parts], axis)
        results[name] = [float(f"{x:.10g}") for x in joined.reshape(-1)]
    return results


def fixture(model):
    with mock.patch.object(torch.Tensor, "bfloat16", lambda self: self.clone()):
        exact = {str(updates): run(model, updates, torch.float64) for updates in (1, UPDATES)}
    return {"exact": exact, "default": run(model, 1, torch.float32)}


if __name__ == "__main__":
    path = pathlib.Path(__file__).parent / "fixtures" / "muon.json"
    path.write_text(json.dumps({model: fixture(model) for model in MODELS}) + "\n")
