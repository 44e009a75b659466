"""One training step of the same GPT in PyTorch, for comparison with `launch bench step`: forward, backward, clipping, AdamW.

    apt-get install python3-torch libopenblas0-pthread     # without OpenBLAS, Debian's PyTorch is ten times slower
    /usr/bin/python3 bench/peers/pytorchStep.py [--layers 4 --heads 4 --width 128 --block 64 --batch 12 --vocab 65] [--threads 2]

Prints JSON with the same names as `launch bench step --json`. The defaults are the sizes of configs/shakespeare-char.yaml.

B batch, T time, C channels, NH heads, HS head size.
"""

import argparse
import json
import math
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.Parameter(torch.ones(width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x, future):
        B, T, C = x.shape
        heads = (B, T, self.heads, C // self.heads)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.qkv(F.layer_norm(x, (C,), self.norm1)).split(C, 2))
        scores = (q @ k.transpose(2, 3)) / math.sqrt(C // self.heads)  # (B, NH, T, T)
        attended = scores.masked_fill(future, -math.inf).softmax(-1) @ v  # (B, NH, T, HS)
        x = x + self.out(attended.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(F.layer_norm(x, (C,), self.norm2)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.tokens = nn.Embedding(options.vocab, options.width)
        self.positions = nn.Embedding(options.block, options.width)
        self.blocks = nn.ModuleList([Block(options.width, options.heads) for _ in range(options.layers)])
        self.norm = nn.Parameter(torch.ones(options.width))
        self.register_buffer("future", torch.ones(options.block, options.block, dtype=torch.bool).triu(1))

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions.weight
        for block in self.blocks:
            x = block(x, self.future)
        logits = F.layer_norm(x, self.norm.shape, self.norm) @ self.tokens.weight.T
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def parse():
    parser = argparse.ArgumentParser()
    sizes = dict(layers=4, heads=4, width=128, block=64, batch=12, vocab=65, threads=0, steps=200)
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def main():
    options = parse()
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = Gpt(options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.1)
    times = dict(step=[], forward=[], backward=[], optimizer=[])
    for step in range(options.steps + 5):
        text = torch.randint(options.vocab, (options.batch, options.block + 1))
        start = time.perf_counter()
        loss = model(text[:, :-1], text[:, 1:])
        after_forward = time.perf_counter()
        loss.backward()
        after_backward = time.perf_counter()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        end = time.perf_counter()
        if step < 5:
            continue
        times["step"].append(end - start)
        times["forward"].append(after_forward - start)
        times["backward"].append(after_backward - after_forward)
        times["optimizer"].append(end - after_backward)
    tokens = options.batch * options.block
    weights = sum(p.numel() for p in model.parameters()) - options.block * options.width
    flops = 6 * tokens * (weights + options.layers * options.width * options.block)
    median = statistics.median(times["step"])
    report = dict(
        engine=f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads",
        parameters=sum(p.numel() for p in model.parameters()),
        tokensPerStep=tokens,
        tokensPerSecond=tokens / median,
        gflops=flops / median / 1e9,
        results=[
            dict(name=name, medianMs=1e3 * statistics.median(values), minMs=1e3 * min(values))
            for name, values in times.items()
        ],
    )
    print(json.dumps(report, indent=2))


main()
