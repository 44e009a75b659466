"""Makes the fixture of the first Transformer's blocks: PyTorch's nn.TransformerEncoderLayer with a causal mask, norms after each branch and
ReLU, between a token embedding with sinusoidal positions and a tied head. Logits, loss and every gradient, in float64.

    python3 test/parity/model/makeTransformerFixtures.py        # PyTorch 2.13 made the committed one

It writes fixtures/transformer.json, with the parameters under Lockstep's names.

B batch, T time, C channels, V vocabulary.
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

V, T, C, B = 17, 9, 12, 2
CONFIG = dict(vocabSize=V, blockSize=T, nLayer=2, nHead=3, nEmbd=C, nInner=20)
OURS = {
    "self_attn.in_proj_weight": "self_attn.qkv_proj.weight",
    "self_attn.in_proj_bias": "self_attn.qkv_proj.bias",
    "self_attn.out_proj.weight": "self_attn.o_proj.weight",
    "self_attn.out_proj.bias": "self_attn.o_proj.bias",
    "norm1.weight": "post_attention_layernorm.weight",
    "norm1.bias": "post_attention_layernorm.bias",
    "norm2.weight": "post_feedforward_layernorm.weight",
    "norm2.bias": "post_feedforward_layernorm.bias",
    "linear1.weight": "mlp.up_proj.weight",
    "linear1.bias": "mlp.up_proj.bias",
    "linear2.weight": "mlp.down_proj.weight",
    "linear2.bias": "mlp.down_proj.bias",
}


def positions():
    """The formula of the paper, with the sines before the cosines."""
    t = torch.arange(T, dtype=torch.float64)[:, None]
    frequencies = 10_000 ** (-2 * torch.arange(C // 2, dtype=torch.float64) / C)
    return torch.cat([torch.sin(t * frequencies), torch.cos(t * frequencies)], 1).float().double()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, C)
        options = dict(dim_feedforward=CONFIG["nInner"], dropout=0.0, activation="relu", batch_first=True, norm_first=False)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(C, CONFIG["nHead"], **options) for _ in range(CONFIG["nLayer"]))

    def forward(self, tokens):
        x = self.embedding(tokens) + positions()
        mask = torch.ones(T, T, dtype=torch.bool).triu(1)
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return x @ self.embedding.weight.T  # (B, T, V)


def ours(name):
    if name == "embedding.weight":
        return "model.embed_tokens.weight"
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{OURS[rest]}"


def values(tensor):
    return [float(f"{x:.9g}") for x in tensor.flatten().tolist()]


def main():
    torch.manual_seed(1)
    model = Model().train()  # evaluation has faster kernels of other precision
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(1 + 0.2 * noise if "norm" in name and name.endswith("weight") else 0.3 * noise)
    initial = {ours(name): values(parameter) for name, parameter in model.named_parameters()}
    model = model.double()
    tokens, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    logits = model(tokens)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    (loss / targets.numel()).backward()
    fixture = dict(
        torch=torch.__version__,
        config=CONFIG,
        tokens=tokens.flatten().tolist(),
        targets=targets.flatten().tolist(),
        initial=initial,
        lossSum=loss.item(),
        logits=values(logits),
        gradients={ours(name): values(parameter.grad) for name, parameter in model.named_parameters()},
    )
    (pathlib.Path(__file__).parent / "fixtures" / "transformer.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
