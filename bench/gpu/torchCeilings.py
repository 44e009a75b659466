"""What the GPU reaches at best, through PyTorch's libraries: python3 bench/gpu/torchCeilings.py RESULTS.jsonl

Copy bandwidth, bf16 and float32 products, the twelve products of a GPT-2 124M layer with the head's three, and attention. Operands are
random: products of zeros are faster. Times are the GPU's, the median of several after some that warm up.

N tokens, C = 768 channels, V = 50,304 tokens of the padded vocabulary.
"""

import statistics
import sys

import torch
import torch.nn.functional as F
from records import Records


def milliseconds(run, repeats=10, warm_up=3):
    for _ in range(warm_up):
        run()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


def random(*shape, dtype=torch.bfloat16):
    return torch.randn(shape, device="cuda", dtype=torch.float32).to(dtype)


def copy(records):
    source = torch.empty(2**30, device="cuda", dtype=torch.float32).normal_()
    target = torch.empty_like(source)
    ms = milliseconds(lambda: target.copy_(source))
    records.write("device copy", 2 * source.numel() * 4 / ms / 1e9, "TB/s read and written")


def square(records, dtype, n, name):
    a, b = random(n, n, dtype=dtype), random(n, n, dtype=dtype)
    out = torch.empty_like(a)
    ms = milliseconds(lambda: torch.mm(a, b, out=out))
    records.write(f"{name} product {n}^3", 2 * n**3 / ms / 1e9, "TFLOP/s")


def product(records, name, m, n, k, layout):
    """out [m, n] = a [m, k] x b [k, n]; a letter T says that the operand lies transposed in memory."""
    a = random(k, m).T if layout[0] == "T" else random(m, k)
    b = random(n, k).T if layout[1] == "T" else random(k, n)
    out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    ms = milliseconds(lambda: torch.mm(a, b, out=out))
    records.write(f"{name} {layout} {m}x{n}x{k}", 2 * m * n * k / ms / 1e9, "TFLOP/s", ms=ms)
    return ms, 2 * m * n * k


def layer_products(records, tokens=65536, width=768, vocab=50304):
    layers = [("qkv", width, 3 * width), ("proj", width, width), ("fc", width, 4 * width), ("fc2", 4 * width, width)]
    total_ms, total_flops = 0.0, 0.0
    for name, inputs, outputs in layers:
        for ms, flops in (
            product(records, f"{name} out", tokens, outputs, inputs, "NT"),
            product(records, f"{name} dX", tokens, inputs, outputs, "NN"),
            product(records, f"{name} dW", outputs, inputs, tokens, "TN"),
        ):
            total_ms, total_flops = total_ms + ms, total_flops + flops
    records.write("twelve products of a layer", total_flops / total_ms / 1e9, "TFLOP/s", ms=total_ms)
    rows = 8192
    product(records, "head logits", rows, vocab, width, "NT")
    product(records, "head dX", rows, width, vocab, "NN")
    product(records, "head dW", vocab, width, rows, "TN")


def attention(records, batch=64, heads=12, time=1024, size=64):
    q, k, v = (random(batch, heads, time, size).requires_grad_() for _ in range(3))
    product_flops = 2 * batch * heads * time * time * size / 2  # one causal product
    forward_ms = milliseconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    records.write("attention forward", 2 * product_flops / forward_ms / 1e9, "TFLOP/s, causal half", ms=forward_ms)
    gradient = random(batch, heads, time, size)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    backward_ms = milliseconds(lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True))
    records.write("attention backward", 5 * product_flops / backward_ms / 1e9, "TFLOP/s, causal half", ms=backward_ms)


def main():
    records = Records("ceilings", sys.argv[1])
    if not torch.cuda.is_available():
        records.fail("ceilings", "PyTorch sees no CUDA device")
        sys.exit(1)
    properties = torch.cuda.get_device_properties(0)
    records.write("PyTorch", torch.__version__, "", cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    records.write("multiprocessors", properties.multi_processor_count)
    records.write("L2 cache", properties.L2_cache_size / 2**20, "MiB")
    copy(records)
    square(records, torch.bfloat16, 8192, "bf16")
    square(records, torch.float32, 8192, "float32")
    layer_products(records)
    attention(records)


main()
