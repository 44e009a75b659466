"""Makes the fixture of complete encoder–decoders: stacks of PyTorch's nn.TransformerEncoderLayer and nn.TransformerDecoderLayer between a scaled
embedding with sinusoidal positions and a head, over padded sources and targets. Logits, loss and every gradient.

    pip install torch                    # 2.13 made the committed one
    python test/parity/model/makeEncoderDecoderFixtures.py

It writes fixtures/encoderDecoder.json (configs, batches, and where each array lies) and fixtures/encoderDecoder.bin (little-endian float32), with
the parameters under Lockstep's names. Everything is computed in float64 from float32 numbers.

B samples, S source positions, T target positions, C channels, V vocabulary.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from makeFixtures import Writer
from torch import nn

FOLDER = pathlib.Path(__file__).parent / "fixtures"
V, C, BLOCK = 13, 8, 8
LENGTHS = [(7, 5), (3, 6), (1, 2)]
S, T = (max(lengths) for lengths in zip(*LENGTHS))
SHARED = dict(vocabSize=V, blockSize=BLOCK, nHead=2, nEmbd=C, nInner=12)
VARIANTS = dict(
    original=dict(nLayer=2, encoderLayers=2, normPlace="post", mlp="relu", tiedHead=True, scaleEmbedding=True),
    preNorm=dict(nLayer=1, encoderLayers=2, normPlace="pre", mlp="relu", tiedHead=False, scaleEmbedding=False),
)
OURS = {
    "self_attn.in_proj": "self_attn.qkv_proj",
    "self_attn.out_proj": "self_attn.out_proj",
    "multihead_attn.q_proj": "encoder_attn.q_proj",
    "multihead_attn.kv_proj": "encoder_attn.kv_proj",
    "multihead_attn.out_proj": "encoder_attn.out_proj",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm1": "self_attn_layer_norm",
}


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        pre = config["normPlace"] == "pre"
        options = dict(dim_feedforward=SHARED["nInner"], dropout=0.0, activation=config["mlp"], batch_first=True, norm_first=pre)
        self.shared = nn.Embedding(V, C)
        # Without `norm`, a stack ends as its last layer does: with a norm only after each branch.
        norm = lambda: nn.LayerNorm(C) if pre else None
        encoder, decoder = nn.TransformerEncoderLayer(C, 2, **options), nn.TransformerDecoderLayer(C, 2, **options)
        self.encoder = nn.TransformerEncoder(encoder, config["encoderLayers"], norm=norm(), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, config["nLayer"], norm=norm())
        self.head = None if config["tiedHead"] else nn.Linear(C, V, bias=False)

    def embed(self, tokens):
        scale = math.sqrt(C) if self.config["scaleEmbedding"] else 1
        return scale * self.shared(tokens) + positions()[: tokens.shape[1]]

    def forward(self, source, lengths, tokens):
        padding = torch.arange(source.shape[1])[None] >= lengths[:, None]
        future = torch.triu(torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool), 1)
        memory = self.encoder(self.embed(source), src_key_padding_mask=padding)
        x = self.decoder(self.embed(tokens), memory, tgt_mask=future, memory_key_padding_mask=padding)
        return x @ (self.shared if self.head is None else self.head).weight.T  # (B, T, V)


def positions():
    """The formula of the paper, with the sines before the cosines."""
    t = torch.arange(BLOCK, dtype=torch.float64)[:, None]
    frequencies = 10_000 ** (-2 * torch.arange(C // 2, dtype=torch.float64) / C)
    return torch.cat([torch.sin(t * frequencies), torch.cos(t * frequencies)], 1).float().double()


def ours(name):
    """Our name of a parameter."""
    if name in ("shared.weight", "head.weight"):
        return "model.shared.weight" if name == "shared.weight" else "lm_head.weight"
    stack, rest = name.split(".", 1)
    if rest.startswith("norm."):
        return f"model.{stack}.layer_norm.{rest.removeprefix('norm.')}"
    _, layer, rest = rest.split(".", 2)
    for theirs, own in OURS.items():
        rest = rest.replace(theirs, own)
    norms = {"encoder": {"norm2": "final_layer_norm"}, "decoder": {"norm2": "encoder_attn_layer_norm", "norm3": "final_layer_norm"}}
    for theirs, own in norms[stack].items():
        rest = rest.replace(theirs, own)
    rest = rest.replace("qkv_proj_", "qkv_proj.")
    return f"model.{stack}.layers.{layer}.{rest}"


def parts_of(name):
    """PyTorch has one product for queries, keys and values of a source."""
    if "multihead_attn.in_proj_" not in name:
        return [(name, slice(None))]
    return [(name.replace("in_proj_", "q_proj."), slice(0, C)), (name.replace("in_proj_", "kv_proj."), slice(C, None))]


def batch():
    """Random tokens; a target is the next token, and padding has none."""
    tokens, targets, source = torch.zeros(3, T, dtype=torch.long), torch.full((3, T), -1), torch.zeros(3, S, dtype=torch.long)
    for row, (source_length, target_length) in enumerate(LENGTHS):
        text = torch.randint(V, (target_length + 1,))
        tokens[row, :target_length], targets[row, :target_length] = text[:-1], text[1:]
        source[row, :source_length] = torch.randint(V, (source_length,))
    return tokens, targets, source


def make(writer, config):
    model = Model(config).train()  # evaluation has faster kernels of other precision
    with torch.no_grad():  # away from the usual starting point: no bias is 0, no norm's weight 1
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_((1 + 0.2 * noise if "norm" in name and name.endswith("weight") else 0.4 * noise).float().double())
    tokens, targets, source = batch()
    logits = model(source, torch.tensor([length for length, _ in LENGTHS]), tokens)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
    (loss / (targets >= 0).sum()).backward()
    initial, gradients = {}, {}
    for name, parameter in model.named_parameters():
        for part, rows in parts_of(name):
            initial[ours(part)], gradients[ours(part)] = parameter[rows], parameter.grad[rows]
    return dict(
        config={**SHARED, **config},
        tokens=tokens.flatten().tolist(),
        targets=targets.flatten().tolist(),
        source=source.flatten().tolist(),
        lossSum=loss.item(),
        logits=writer.add(logits),
        initial=writer.add_all(initial),
        gradients=writer.add_all(gradients),
    )


def main():
    torch.manual_seed(19)
    torch.set_default_dtype(torch.float64)
    writer = Writer()
    variants = {name: make(writer, config) for name, config in VARIANTS.items()}
    file = dict(torch=torch.__version__, lengths=LENGTHS, variants=variants)
    (FOLDER / "encoderDecoder.json").write_text(json.dumps(file, indent=1) + "\n")
    (FOLDER / "encoderDecoder.bin").write_bytes(writer.bytes)


if __name__ == "__main__":
    main()
