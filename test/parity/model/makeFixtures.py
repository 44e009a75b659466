"""Makes the fixtures of the model's parity tests with PyTorch: logits, losses, every gradient, and ten AdamW steps.

    apt-get install python3-torch        # Debian's 1.13 made the committed ones
    /usr/bin/python3 test/parity/model/makeFixtures.py

It writes fixtures/gpt.json (sizes, tokens, scalars, and where each array lies) and fixtures/gpt.bin (little-endian float32).
Everything is computed in float64 from float32 parameters, so that what a test measures is the engine's error alone.

B batch, T time, C channels, NH heads, HS head size, V vocabulary.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

BASE = dict(vocabSize=29, blockSize=8, nLayer=2, nHead=2, nEmbd=16, dropout=0, bias=True, activation="gelu", tiedHead=True)
VARIANTS = {
    "gpt2": {},
    "noBias": dict(bias=False),
    "relu": dict(activation="relu"),
    "untiedHead": dict(tiedHead=False),
    "ignoredTargets": {},
}
BATCH_SIZE = 4
# The keys' biases have no gradient, since the softmax ignores what all keys share: AdamW would turn the 1e-9 that rounding makes
# of it into steps of the size of the learning rate, if eps were not far above that.
OPTIMIZER = dict(beta1=0.9, beta2=0.95, eps=1e-5, weightDecay=0.1, gradClip=1.5)
SCHEDULE = dict(kind="cosine", learningRate=1e-2, minLearningRate=1e-3, warmupSteps=3, decaySteps=8)
STEPS = 10


class Projection(nn.Module):
    """x @ weight + bias with the weight as [inputs, outputs]."""

    def __init__(self, inputs, outputs, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x):
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class Norm(nn.Module):
    def __init__(self, channels, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        C, bias = config["nEmbd"], config["bias"]
        self.heads = config["nHead"]
        self.c_attn = Projection(C, 3 * C, bias)
        self.c_proj = Projection(C, C, bias)

    def forward(self, x):
        B, T, C = x.shape
        split = self.c_attn(x).view(B, T, 3, self.heads, C // self.heads)
        q, k, v = (split[:, :, part].transpose(1, 2) for part in range(3))  # (B, NH, T, HS)
        scores = q @ k.transpose(2, 3) / math.sqrt(C // self.heads)  # (B, NH, T, T)
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.c_proj((weights @ v).transpose(1, 2).reshape(B, T, C))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        C, bias = config["nEmbd"], config["bias"]
        self.relu = config["activation"] == "relu"
        self.c_fc = Projection(C, 4 * C, bias)
        self.c_proj = Projection(4 * C, C, bias)

    def forward(self, x):
        inner = self.c_fc(x)
        return self.c_proj(F.relu(inner) if self.relu else F.gelu(inner, approximate="tanh"))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = Norm(config["nEmbd"], config["bias"])
        self.attn = Attention(config)
        self.ln_2 = Norm(config["nEmbd"], config["bias"])
        self.mlp = Mlp(config)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Trunk(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config["vocabSize"], config["nEmbd"])
        self.wpe = nn.Embedding(config["blockSize"], config["nEmbd"])
        self.h = nn.ModuleList([Layer(config) for _ in range(config["nLayer"])])
        self.ln_f = Norm(config["nEmbd"], config["bias"])

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))  # (B, T, C)
        for layer in self.h:
            x = layer(x)
        return self.ln_f(x)


class Gpt(nn.Module):
    """Parameter names come out as Hugging Face's GPT2LMHeadModel saves them."""

    def __init__(self, config):
        super().__init__()
        self.transformer = Trunk(config)
        if not config["tiedHead"]:
            self.lm_head = nn.Linear(config["nEmbd"], config["vocabSize"], bias=False)
        self.tied = config["tiedHead"]

    def forward(self, tokens):
        head = self.transformer.wte.weight if self.tied else self.lm_head.weight
        return self.transformer(tokens) @ head.T  # (B, T, V)


class Writer:
    """Appends arrays to one file and remembers where they are."""

    def __init__(self):
        self.bytes = bytearray()

    def add(self, tensor):
        values = tensor.detach().to(torch.float32).contiguous().flatten()
        offset = len(self.bytes) // 4
        self.bytes += values.numpy().tobytes()
        return dict(offset=offset, length=values.numel())

    def add_all(self, tensors):
        return {name: self.add(tensor) for name, tensor in tensors.items()}


def make_model(config, initial):
    model = Gpt(config).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(initial[name])
    return model


def initial_values():
    """Away from the usual starting point, so that no bias is 0, no norm's weight 1, and every term counts."""
    values = {}
    for name, parameter in Gpt({**BASE, "tiedHead": False}).named_parameters():
        noise = torch.randn(parameter.shape)
        if "ln_" in name and name.endswith("weight"):
            value = 1 + 0.2 * noise
        else:
            value = (0.1 if name.endswith("bias") else 0.2) * noise
        values[name] = value.float()
    return values


def random_batch():
    shape = (BATCH_SIZE, BASE["blockSize"] + 1)
    text = torch.randint(BASE["vocabSize"], shape)
    return text[:, :-1], text[:, 1:]


def loss_sum(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")


def integers(tensor):
    return tensor.flatten().tolist()


def make_variant(writer, initial, name, options):
    config = {**BASE, **options}
    model = make_model(config, initial)
    tokens, targets = random_batch()
    if name == "ignoredTargets":
        targets = torch.where(torch.rand(targets.shape) < 0.4, torch.full_like(targets, -1), targets)
    logits = model(tokens)
    total = loss_sum(logits, targets)
    (total / (targets >= 0).sum()).backward()
    return dict(
        config=config,
        tokens=integers(tokens),
        targets=integers(targets),
        lossSum=total.item(),
        logits=writer.add(logits),
        gradients=writer.add_all({name: p.grad for name, p in model.named_parameters()}),
    )


def learning_rate(step):
    top, low, warmup, decay = (SCHEDULE[k] for k in ("learningRate", "minLearningRate", "warmupSteps", "decaySteps"))
    if step < warmup:
        return top * (step + 1) / (warmup + 1)
    fraction = min((step - warmup) / (decay - warmup), 1)
    return low + (top - low) * (1 + math.cos(math.pi * fraction)) / 2


def make_training(writer, initial):
    model = make_model(BASE, initial)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [dict(params=matrices, weight_decay=OPTIMIZER["weightDecay"]), dict(params=vectors, weight_decay=0.0)],
        betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]),
        eps=OPTIMIZER["eps"],
    )
    steps = []
    for step in range(STEPS):
        tokens, targets = random_batch()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        loss = loss_sum(model(tokens), targets) / targets.numel()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["gradClip"])
        optimizer.step()
        scalars = dict(learningRate=learning_rate(step), loss=loss.item(), gradNorm=norm.item())
        steps.append(dict(tokens=integers(tokens), targets=integers(targets), **scalars))
    final = writer.add_all(dict(model.named_parameters()))
    return dict(config=BASE, optimizer=OPTIMIZER, schedule=SCHEDULE, steps=steps, final=final)


def main():
    torch.manual_seed(1)
    writer = Writer()
    initial = initial_values()
    fixtures = dict(
        torch=torch.__version__,
        batchSize=BATCH_SIZE,
        initial=writer.add_all(initial),
        variants={name: make_variant(writer, initial, name, options) for name, options in VARIANTS.items()},
        training=make_training(writer, initial),
    )
    norms = [step["gradNorm"] for step in fixtures["training"]["steps"]]
    assert min(norms) < OPTIMIZER["gradClip"] < max(norms), f"clipping should matter in some steps only: {norms}"
    folder = pathlib.Path(__file__).parent / "fixtures"
    folder.mkdir(exist_ok=True)
    (folder / "gpt.json").write_text(json.dumps(fixtures) + "\n")
    (folder / "gpt.bin").write_bytes(writer.bytes)


if __name__ == "__main__":
    main()
