"""Training steps of GPT-2 124M in PyTorch on one GPU: python3 bench/gpu/torchPeer.py RESULTS.jsonl SECONDS

bf16 autocast, flash attention, fused AdamW, clipping, T = 1024; B, torch.compile and the padding of the vocabulary vary. The most
important first: what has not begun after SECONDS is left out and said to be.
"""

import gc
import pathlib
import sys
import time

import torch
from records import Records

sys.path.append(str(pathlib.Path(__file__).parents[1] / "peers"))
import pytorchStep  # noqa: E402

GPT2 = "--layers 12 --heads 12 --width 768 --block 1024 --bias --device cuda --precision bf16 --steps 20"
# 6 N + 6 L C T floating-point operations a token, with N all 124,439,808 parameters of the vocabulary that is not padded.
GFLOP_A_TOKEN = (6 * 124_439_808 + 6 * 12 * 768 * 1024) / 1e9
# Dense bf16 by the data sheet, both H100 SXM and H200.
PEAK_TFLOPS = 989.4

CASES = [
    (64, 50304, True),
    (64, 50257, True),
    (32, 50304, True),
    (16, 50304, True),
    (64, 50304, False),
    (32, 50304, False),
    (16, 50304, False),
    (32, 50257, False),
    (32, 50257, True),
    (16, 50257, True),
]


def release():
    gc.collect()
    torch._dynamo.reset()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def measure(records, batch, vocab, compiled):
    name = f"B {batch} V {vocab} {'compile' if compiled else 'eager'}"
    arguments = f"{GPT2} --batch {batch} --vocab {vocab}".split() + (["--compile"] if compiled else [])
    start = time.monotonic()
    try:
        result = pytorchStep.measure(pytorchStep.parse(arguments))
    except Exception as error:  # out of memory, or no compiler: the next case may fit
        records.fail(name, f"{type(error).__name__}: {error}")
    else:
        rate = result["tokensPerSecond"]
        step = result["results"][0]
        records.write(
            name,
            rate,
            "tokens/s",
            mfu=rate * GFLOP_A_TOKEN / 1e3 / PEAK_TFLOPS,
            ms=step["medianMs"],
            minMs=step["minMs"],
            memoryGb=torch.cuda.max_memory_allocated() / 1e9,
            secondsWithWarmUp=time.monotonic() - start,
        )
    release()


def main():
    records = Records("peer", sys.argv[1])
    deadline = time.monotonic() + float(sys.argv[2])
    if not torch.cuda.is_available():
        records.fail("peer", "PyTorch sees no CUDA device")
        sys.exit(1)
    for case in CASES:
        if time.monotonic() > deadline:
            records.fail(f"B {case[0]} V {case[1]} {'compile' if case[2] else 'eager'}", "not begun: out of time")
        else:
            measure(records, *case)


main()
