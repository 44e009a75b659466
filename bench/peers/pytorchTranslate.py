"""The same encoder-decoder in PyTorch, from the same weights and batches. What `npm run bench -- translate` compares with.

    python3 -m venv torch && torch/bin/pip install torch numpy
    npm run bench -- translate --python torch/bin/python

It computes Lockstep's model with its defaults (sinusoidal positions, post-norm, ReLU, a tied head) from parameters with Lockstep's names. It
answers each line on standard input, a JSON object, by one line:

    ready VERSION                                             what it says first
    {"learningRate": 1e-4, ...batch}                          loss 1.234, the mean over the targets before the update
    {"evaluate": true, ...batch}                              sum 123.4, over the targets
    {"maxTokens": 64, "source": [...], "lengths": [...]}      [[...]], the most likely tokens of each target, without the end

A batch has tokens and targets [B, T], source [B, S] and lengths [B]; a target of -1 is masked.

B batch, T positions of the target, S of the source, C channels, NH heads, HS head size, V vocabulary.
"""

import argparse
import json
import math
import sys

import numpy
import torch
import torch.nn.functional as F

def load(path, specs):
    """The parameters by name, from float32 numbers one after another."""
    numbers = torch.from_numpy(numpy.fromfile(path, dtype="<f4"))
    parameters, at = {}, 0
    for spec in specs:
        size = math.prod(spec["shape"])
        parameters[spec["name"]] = numbers[at : at + size].clone().reshape(spec["shape"])
        parameters[spec["name"]].requires_grad_(spec["trained"])
        at += size
    return parameters


class Translator:
    def __init__(self, parameters, config):
        self.p = parameters
        self.config = config

    def linear(self, x, name):
        return F.linear(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def norm(self, x, name):
        weight, bias = self.p[f"{name}.weight"], self.p[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.config["normEps"])

    def attend(self, q, k, v, mask):
        heads = self.config["nHead"]
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, NH, T, HS)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)

    def self_attention(self, x, name, mask):
        q, k, v = self.linear(x, f"{name}.self_attn.qkv_proj").chunk(3, dim=-1)
        y = self.linear(self.attend(q, k, v, mask), f"{name}.self_attn.out_proj")
        return self.norm(x + y, f"{name}.self_attn_layer_norm")

    def feed_forward(self, x, name):
        y = self.linear(F.relu(self.linear(x, f"{name}.fc1")), f"{name}.fc2")
        return self.norm(x + y, f"{name}.final_layer_norm")

    def embed(self, tokens, stack):
        x = F.embedding(tokens, self.p["model.shared.weight"]) * math.sqrt(self.config["nEmbd"])
        return x + self.p[f"model.{stack}.embed_positions.weight"][: tokens.shape[1]]

    def encode(self, source, lengths):
        keys = torch.arange(source.shape[1])[None, :] < lengths[:, None]
        mask = keys[:, None, None, :]  # (B, 1, 1, S)
        x = self.embed(source, "encoder")
        for layer in range(self.config["encoderLayers"]):
            name = f"model.encoder.layers.{layer}"
            x = self.feed_forward(self.self_attention(x, name, mask), name)
        return x, mask

    def decode(self, tokens, memory, mask):
        time = tokens.shape[1]
        causal = torch.ones(time, time, dtype=torch.bool).tril()
        x = self.embed(tokens, "decoder")
        for layer in range(self.config["nLayer"]):
            name = f"model.decoder.layers.{layer}"
            x = self.self_attention(x, name, causal)
            k, v = self.linear(memory, f"{name}.encoder_attn.kv_proj").chunk(2, dim=-1)
            y = self.attend(self.linear(x, f"{name}.encoder_attn.q_proj"), k, v, mask)
            x = self.norm(x + self.linear(y, f"{name}.encoder_attn.out_proj"), f"{name}.encoder_attn_layer_norm")
            x = self.feed_forward(x, name)
        return x

    def logits(self, x):
        return F.linear(x, self.p["model.shared.weight"])

    def loss_sum(self, batch):
        source, lengths = torch.tensor(batch["source"]), torch.tensor(batch["lengths"])
        memory, mask = self.encode(source, lengths)
        x = self.decode(torch.tensor(batch["tokens"]), memory, mask)
        targets = torch.tensor(batch["targets"]).flatten()
        isTarget = targets >= 0
        logits = self.logits(x.flatten(0, 1)[isTarget])
        return F.cross_entropy(logits, targets[isTarget], reduction="sum"), int(isTarget.sum())

    @torch.no_grad()
    def translate(self, source, lengths, begin, end, limit):
        memory, mask = self.encode(torch.tensor(source), torch.tensor(lengths))
        tokens = torch.full((len(source), 1), begin)
        ended = torch.zeros(len(source), dtype=torch.bool)
        for _ in range(limit):
            x = self.decode(tokens, memory, mask)[:, -1]
            chosen = self.logits(x).argmax(-1).masked_fill(ended, end)
            tokens = torch.cat([tokens, chosen[:, None]], 1)
            ended |= chosen == end
            if ended.all():
                break
        rows = tokens[:, 1:].tolist()
        return [row[: row.index(end)] if end in row else row for row in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", required=True, help="File of float32 numbers")
    parser.add_argument("--job", required=True, help="JSON file: specs, config, optimizer, begin, end, threads")
    options = parser.parse_args()
    with open(options.job) as file:
        job = json.load(file)
    if job["threads"] > 0:
        torch.set_num_threads(job["threads"])
    parameters = load(options.parameters, job["specs"])
    trained = [(spec, parameters[spec["name"]]) for spec in job["specs"] if spec["trained"]]
    given = job["optimizer"]
    optimizer = torch.optim.AdamW(
        [
            dict(params=[p for spec, p in trained if spec["decay"]], weight_decay=given["weightDecay"]),
            dict(params=[p for spec, p in trained if not spec["decay"]], weight_decay=0.0),
        ],
        betas=(given["beta1"], given["beta2"]),
        eps=given["eps"],
    )
    model = Translator(parameters, job["config"])
    print(f"ready {torch.__version__}", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "maxTokens" in request:
            ends = job["begin"], job["end"], request["maxTokens"]
            print(json.dumps(model.translate(request["source"], request["lengths"], *ends)), flush=True)
            continue
        if "evaluate" in request:
            with torch.no_grad():
                print(f"sum {model.loss_sum(request)[0].item():.6f}", flush=True)
            continue
        for group in optimizer.param_groups:
            group["lr"] = request["learningRate"]
        total, count = model.loss_sum(request)
        loss = total / count
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if given["gradClip"] > 0:
            torch.nn.utils.clip_grad_norm_([p for _, p in trained], given["gradClip"])
        optimizer.step()
        print(f"loss {loss.item():.9f}", flush=True)


if __name__ == "__main__":
    main()
