"""Sampling of Hugging Face's transformers: python makeSamplingFixtures.py (torch 2.13, transformers 5) writes fixtures/sampling.json.

The processors and their order are those that transformers makes of a GenerationConfig. `cases` are probabilities of the next token; `texts` are
greedy continuations by a table of logits, a bigram model, whose every step sees all tokens before it.
"""
import json
import pathlib

import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

VOCAB = 24
MODEL = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=8, n_embd=4, n_layer=1, n_head=1))


def processors_of(ids, **options):
    config = GenerationConfig(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options})
    return MODEL._get_logits_processor(generation_config=config, input_ids_seq_length=len(ids), device="cpu")


def logits_of(seed, scale):
    """Short numbers, exact in float32."""
    return (torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)) * scale * 1024).round().float() / 1024


def rounded(values):
    return [float(f"{value:.9g}") for value in values.tolist()]


def case(seed, ids, scale=2.0, **options):
    logits = logits_of(seed, scale)
    processors = processors_of(ids, do_sample=True, **options)
    scores = processors(torch.tensor([ids]), logits.clone()[None])
    names = [type(each).__name__ for each in processors]
    probabilities = torch.softmax(scores[0].double(), dim=-1)
    return {"logits": rounded(logits), "ids": ids, "options": options, "processors": names, "probabilities": rounded(probabilities)}


TABLE = torch.stack([logits_of(100 + row, 1.5) for row in range(VOCAB)])


def text(prompt, count, penalty):
    ids = list(prompt)
    processors = processors_of(ids, do_sample=False, repetition_penalty=penalty)
    for _ in range(count):
        scores = processors(torch.tensor([ids]), TABLE[ids[-1]][None].clone())
        ids.append(int(scores[0].argmax()))
    return {"prompt": prompt, "penalty": penalty, "tokens": ids[len(prompt) :]}


cases = [
    case(1, [3], min_p=0.05),
    case(2, [3], min_p=0.5, temperature=0.7),
    case(3, [3], min_p=1.0),
    case(4, [3], min_p=0.1, top_k=6, top_p=0.9, temperature=1.6),
    case(5, [0, 5, 5, 9, 23], repetition_penalty=1.3),
    case(6, [0, 5, 5, 9, 23], repetition_penalty=0.7),
    case(7, list(range(0, VOCAB, 2)), repetition_penalty=2.5, min_p=0.08, top_k=12, top_p=0.95, temperature=1.2),
]
texts = [text([4, 7], 14, 1.0), text([4, 7], 14, 2.0), text([4, 7], 14, 5.0), text([12, 2, 1, 4, 5, 6, 7], 10, 5.0)]
out = pathlib.Path(__file__).parent / "fixtures" / "sampling.json"
out.write_text(json.dumps({"table": [rounded(row) for row in TABLE], "cases": cases, "texts": texts}) + "\n")
for each in cases:
    print(each["processors"], sum(p > 0 for p in each["probabilities"]))
for each in texts:
    print(each["penalty"], each["tokens"])
