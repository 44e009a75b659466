"""The loss of each training step in PyTorch, from the same weights and batches. What `npm run bench -- curve` compares with.

    python3 -m venv torch && torch/bin/pip install torch transformers
    npm run bench -- curve --python torch/bin/python

The model is transformers' GPT2LMHeadModel or GPT2ForSequenceClassification, as the config.json of the folder --model says. It answers each
line on standard input, a JSON object, with the mean loss over the targets of the batch before its update:

    ready VERSION                                               what it says first
    {"learningRate": 1e-4, "tokens": [[...]], "targets": [[...]]}   one step; a target of -1 is masked
    loss 1.234

B batch, T time, K outputs of the head.
"""

import argparse
import json
import sys

import torch
import torch.nn.functional as F
import transformers


def load(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    config.resid_pdrop = config.attn_pdrop = config.embd_pdrop = 0.0
    kind = getattr(transformers, config.architectures[0])
    return kind.from_pretrained(folder, config=config, attn_implementation="eager").float().train()


def logits_of(model, tokens):
    """The logits [B, T, K] at every position, of either head."""
    hidden = model.transformer(tokens).last_hidden_state
    return (model.lm_head if hasattr(model, "lm_head") else model.score)(hidden)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--optimizer", required=True, help="JSON: beta1, beta2, eps, weightDecay, gradClip")
    options = parser.parse_args()
    given = json.loads(options.optimizer)
    torch.manual_seed(1)
    model = load(options.model)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            dict(params=[p for p in parameters if p.dim() >= 2], weight_decay=given["weightDecay"]),
            dict(params=[p for p in parameters if p.dim() < 2], weight_decay=0.0),
        ],
        betas=(given["beta1"], given["beta2"]),
        eps=given["eps"],
    )
    print(f"ready {torch.__version__}", flush=True)
    for line in sys.stdin:
        step = json.loads(line)
        for group in optimizer.param_groups:
            group["lr"] = step["learningRate"]
        tokens = torch.tensor(step["tokens"])
        targets = torch.tensor(step["targets"]).flatten()
        logits = logits_of(model, tokens).flatten(0, 1)
        loss = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum") / (targets >= 0).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if given["gradClip"] > 0:
            torch.nn.utils.clip_grad_norm_(parameters, given["gradClip"])
        optimizer.step()
        print(f"loss {loss.item():.9f}", flush=True)


if __name__ == "__main__":
    main()
