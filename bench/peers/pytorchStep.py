"""Training steps of the same GPT in PyTorch: forward, backward, clipping, AdamW. What `npm run bench -- training` compares with.

    python3 -m venv torch && torch/bin/pip install torch
    torch/bin/python bench/peers/pytorchStep.py [--layers 4 --heads 4 --width 128 --block 64 --batch 12 --vocab 65] [--threads 2]
    python3 bench/peers/pytorchStep.py --device cuda --precision bf16 --compile --steps 20 \\
        --layers 12 --heads 12 --width 768 --block 1024 --batch 64 --vocab 50304 --bias

AdamW is PyTorch's fused one. On a GPU only complete steps are timed, by the GPU's clock: timing phases would stop the GPU between them.
Prints JSON with the same names as `launch bench step --json`. The defaults are the sizes of configs/shakespeare-char.yaml.
With --serve it answers lines on standard input instead, as bench/training/pytorchPeer.ts asks them:

    ready VERSION           what it says first
    step THREADS            one training step
    ms MILLISECONDS         that it took

B batch, T time, C channels, NH heads, HS head size.
"""

import argparse
import json
import math
import statistics
import sys
import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn


class Norm(nn.Module):
    def __init__(self, width, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias)


class Block(nn.Module):
    def __init__(self, options):
        super().__init__()
        width, bias = options.width, options.bias
        self.heads = options.heads
        self.dropout = options.dropout
        self.norm1 = Norm(width, bias)
        self.norm2 = Norm(width, bias)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.down = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x):
        B, T, C = x.shape
        heads = (B, T, self.heads, C // self.heads)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(C, 2))
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, is_causal=True)  # (B, NH, T, HS)
        x = x + F.dropout(self.out(attended.transpose(1, 2).reshape(B, T, C)), self.dropout)
        inner = F.gelu(self.up(self.norm2(x)), approximate="tanh")
        return x + F.dropout(self.down(inner), self.dropout)


class Gpt(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.dropout = options.dropout
        self.tokens = nn.Embedding(options.vocab, options.width)
        self.positions = nn.Embedding(options.block, options.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.blocks = nn.ModuleList([Block(options) for _ in range(options.layers)])
        self.norm = Norm(options.width, options.bias)

    def forward(self, tokens, targets):
        x = F.dropout(self.tokens(tokens) + self.positions.weight, self.dropout)
        for block in self.blocks:
            x = block(x)
        logits = self.norm(x) @ self.tokens.weight.T
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Trainer:
    def __init__(self, options):
        torch.manual_seed(1)
        self.options = options
        model = Gpt(options).to(options.device)
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.1, fused=True
        )
        self.model = torch.compile(model) if options.compile else model

    def autocast(self):
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self.options.device, dtype=torch.bfloat16)

    def text(self):
        """Random tokens [B, T + 1]."""
        options = self.options
        return torch.randint(options.vocab, (options.batch, options.block + 1), device=options.device)

    def update(self):
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self):
        """The seconds of each phase, by the host's clock: on the CPU."""
        text = self.text()
        start = time.perf_counter()
        with self.autocast():
            loss = self.model(text[:, :-1], text[:, 1:])
        after_forward = time.perf_counter()
        loss.backward()
        after_backward = time.perf_counter()
        self.update()
        end = time.perf_counter()
        return dict(
            step=end - start,
            forward=after_forward - start,
            backward=after_backward - after_forward,
            optimizer=end - after_backward,
        )

    def device_steps(self, count):
        """The seconds of each of `count` steps that follow each other without a stop, by the GPU's clock."""
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        events[0].record()
        for event in events[1:]:
            text = self.text()
            with self.autocast():
                loss = self.model(text[:, :-1], text[:, 1:])
            loss.backward()
            self.update()
            event.record()
        torch.cuda.synchronize()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()}")
        return [dict(step=start.elapsed_time(end) / 1e3) for start, end in zip(events, events[1:])]

    def samples(self, count, warm_up=5):
        if self.options.device == "cuda":
            self.device_steps(warm_up)
            return self.device_steps(count)
        return [self.step() for _ in range(warm_up + count)][warm_up:]


def parse(arguments=None):
    parser = argparse.ArgumentParser()
    sizes = dict(layers=4, heads=4, width=128, block=64, batch=12, vocab=65, threads=0, steps=200)
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--bias", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--serve", action="store_true", help="answer lines on standard input; on the CPU only")
    options = parser.parse_args(arguments)
    if options.serve and options.device != "cpu":
        parser.error("--serve times steps by the host's clock: on the CPU only")
    return options


def serve(options):
    trainer = Trainer(options)
    print(f"ready {torch.__version__}", flush=True)
    for line in sys.stdin:
        _, threads = line.split()
        torch.set_num_threads(int(threads))
        print(f"ms {1e3 * trainer.step()['step']:.6f}", flush=True)


def measure(options):
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    trainer = Trainer(options)
    samples = trainer.samples(options.steps)
    parameters = sum(p.numel() for p in trainer.parameters)
    tokens = options.batch * options.block
    weights = parameters - options.block * options.width
    flops = 6 * tokens * (weights + options.layers * options.width * options.block)
    times = {name: [sample[name] for sample in samples] for name in samples[0]}
    median = statistics.median(times["step"])
    on = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    return dict(
        engine=f"PyTorch {torch.__version__}, {on}",
        precision=options.precision,
        compiled=options.compile,
        parameters=parameters,
        tokensPerStep=tokens,
        tokensPerSecond=tokens / median,
        gflops=flops / median / 1e9,
        results=[
            dict(name=name, medianMs=1e3 * statistics.median(values), minMs=1e3 * min(values))
            for name, values in times.items()
        ],
    )


def main():
    options = parse()
    if options.serve:
        serve(options)
    else:
        print(json.dumps(measure(options), indent=2))


if __name__ == "__main__":
    main()
