"""Makes the fixture of an encoder layer and a decoder layer with PyTorch: their result, and every gradient of a sum of it.

    pip install torch                    # 2.13 made the committed one
    python test/parity/model/makeLayerFixtures.py

It writes fixtures/layers.json (sizes, and where each array lies) and fixtures/layers.bin (little-endian float32). The layers are those of
the original Transformer (Vaswani et al., 2017): norms after the residual sums, ReLU. The sources are padded to one length. Everything is
computed in float64 from float32 numbers. The projection of queries in the attention to the source is saved apart from that of keys and values.

B samples, S source positions, T target positions, C channels.
"""

import json
import pathlib

import torch
from makeFixtures import Writer

FOLDER = pathlib.Path(__file__).parent / "fixtures"
B, S, T, C, HEADS, INNER = 2, 6, 5, 8, 2, 12
LENGTHS = [6, 3]


def main():
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    options = dict(dim_feedforward=INNER, dropout=0.0, activation="relu", batch_first=True, norm_first=False)
    layers = torch.nn.ModuleDict(
        dict(
            encoder=torch.nn.TransformerEncoderLayer(C, HEADS, **options),
            decoder=torch.nn.TransformerDecoderLayer(C, HEADS, **options),
        )
    ).train()
    with torch.no_grad():  # away from the usual starting point: no bias is 0, no norm's weight 1
        for parameter in layers.parameters():
            parameter.copy_((parameter + 0.2 * torch.randn_like(parameter)).float().double())
    inputs = {name: torch.randn(B, length, C).float().double().requires_grad_() for name, length in (("source", S), ("target", T))}
    dout = torch.randn(B, T, C).float().double()
    padding = torch.arange(S)[None] >= torch.tensor(LENGTHS)[:, None]
    future = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    memory = layers["encoder"](inputs["source"], src_key_padding_mask=padding)
    out = layers["decoder"](inputs["target"], memory, tgt_mask=future, memory_key_padding_mask=padding)
    (out * dout).sum().backward()

    writer = Writer()
    file = dict(torch=torch.__version__, sizes=dict(B=B, S=S, T=T, C=C, heads=HEADS, inner=INNER), lengths=LENGTHS)
    values, gradients = {}, {}
    for name, tensor in [*inputs.items(), *layers.named_parameters()]:
        for part, rows in parts_of(name):
            values[part], gradients[part] = tensor[rows], tensor.grad[rows]
    file["values"], file["gradients"] = writer.add_all(values), writer.add_all(gradients)
    file["dout"], file["out"] = writer.add(dout), writer.add(out)
    (FOLDER / "layers.json").write_text(json.dumps(file, indent=1) + "\n")
    (FOLDER / "layers.bin").write_bytes(writer.bytes)


def parts_of(name):
    if "multihead_attn.in_proj" not in name:
        return [(name, slice(None))]
    return [(name.replace("in_proj", "q_proj"), slice(0, C)), (name.replace("in_proj", "kv_proj"), slice(C, None))]


if __name__ == "__main__":
    main()
