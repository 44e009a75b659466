"""Trains and encodes byte-level byte-pair encodings with Hugging Face's library. What `npm run bench -- tokenizer` compares with.

    python3 -m venv venv && venv/bin/pip install tokenizers
    npm run bench -- tokenizer --python venv/bin/python

It answers lines on standard input, as bench/tokenizer/tokenizerPeers.ts asks them, with tabs between the words; files of texts are JSON
arrays of strings:

    ready VERSION             what it says first
    train TEXTS.json SIZE     a vocabulary of SIZE tokens, on all cores
    ms MILLISECONDS SHA256    that it took, and of the lines of merges.txt
    encode FILE TEXTS.json    all texts with the tokenizer.json FILE, on one thread
    ms MILLISECONDS           that it took
    tokens FILE TEXTS.json    not timed
    tokens SHA256             of the tokens of all texts, in decimal with commas between
"""

import hashlib
import json
import os
import sys
import time

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def train(texts, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    start = time.perf_counter()
    tokenizer.train_from_iterator(texts, trainer)
    ms = 1000 * (time.perf_counter() - start)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    lines = "\n".join(merge if isinstance(merge, str) else " ".join(merge) for merge in merges)
    return ms, hashlib.sha256(lines.encode()).hexdigest()


def opened(file):
    tokenizer = Tokenizer.from_file(file)
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer, texts):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    start = time.perf_counter()
    tokenizer.encode_batch_fast(texts)
    return 1000 * (time.perf_counter() - start)


def tokens(tokenizer, texts):
    ids = [str(token) for text in texts for token in tokenizer.encode(text).ids]
    return hashlib.sha256(",".join(ids).encode()).hexdigest()


def read(file):
    with open(file, encoding="utf-8") as opened_file:
        return json.load(opened_file)


def main():
    print(f"ready {tokenizers.__version__}", flush=True)
    for line in sys.stdin:
        command, *arguments = line.rstrip("\n").split("\t")
        if command == "train":
            ms, digest = train(read(arguments[0]), int(arguments[1]))
            print(f"ms {ms} {digest}", flush=True)
        elif command == "encode":
            print(f"ms {encode(opened(arguments[0]), read(arguments[1]))}", flush=True)
        elif command == "tokens":
            print(f"tokens {tokens(opened(arguments[0]), read(arguments[1]))}", flush=True)


main()
