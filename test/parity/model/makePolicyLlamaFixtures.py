"""Makes the fixture of PPO on a Llama with a value head: transformers' own LlamaForCausalLM, the sums over a batch of rollouts, and every
gradient of their mean loss.

    pip install torch trl transformers   # 2.13, 1.13 and 5.23 made the committed one
    python test/parity/model/makePolicyLlamaFixtures.py

It writes fixtures/policyLlama.json and fixtures/policyLlama.bin as makePolicyFixtures.py does, with the initial parameters under
Lockstep's names. Loss and rollouts are made as there.
"""

import json
import re

import torch
import transformers
from makeFixtures import Writer, integers
from makePolicyFixtures import FOLDER, KEYS, ROWS, gradients_of, make_rows, policy_loss, rollouts_near, value_loss
from transformers import LlamaConfig, LlamaForCausalLM

# tinyLlama of tinyModels.ts
CONFIG = LlamaConfig(
    vocab_size=29,
    max_position_embeddings=8,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    hidden_size=16,
    intermediate_size=20,
    rope_theta=100.0,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
    attn_implementation="eager",
)
MERGED = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}


def ours(tensors):
    """Under Lockstep's names: the rows of merged products follow one another."""
    parts = {}
    for name, tensor in tensors:
        merged = re.sub(r"\w+(?=\.weight$)", lambda found: MERGED.get(found[0], found[0]), name)
        parts.setdefault(merged, []).append(tensor.detach())
    return {name: torch.cat(each) for name, each in parts.items()}


def main():
    torch.manual_seed(5)
    model = LlamaForCausalLM(CONFIG)
    head = torch.nn.Parameter((0.3 * torch.randn(1, CONFIG.hidden_size)).float().double())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(1 + 0.2 * noise if "norm" in name else 0.3 * noise)
    model = model.double()
    parameters = [*model.named_parameters(), ("value.weight", head)]
    tokens, mask = make_rows()

    def run():
        """Log probabilities of each next token, and values: [B, T] each."""
        result = model(tokens[:, :-1], output_hidden_states=True)
        logprobs = result.logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
        return logprobs, (result.hidden_states[-1] @ head.T)[..., 0]

    with torch.no_grad():
        rollouts = rollouts_near(*run(), mask)
    count = mask.sum().item()
    total = lambda x: (x * mask).sum()
    logprobs, values = run()
    policy, k3, ratio, clipped = policy_loss(logprobs, rollouts, 0)
    of_values = value_loss(values, rollouts)
    loss = total(policy) + KEYS["valueCoefficient"] * total(of_values)
    (loss / count).backward()
    sums = dict(
        weight=count,
        loss=loss.item(),
        kl=total(k3).item(),
        clipped=total(clipped).item(),
        ratio=total(ratio).item(),
        entropy=-total(logprobs).item(),
        valueLoss=total(of_values).item(),
    )
    assert 0 < sums["clipped"] < count, "some ratios are clipped"
    assert 0 < total((values - rollouts["values"]).abs() > KEYS["valueClip"]).item() < count, "some values are clipped"
    writer = Writer()
    fixture = dict(
        torch=torch.__version__,
        transformers=transformers.__version__,
        keys=KEYS,
        rollouts=len(ROWS),
        tokens=integers(tokens[:, :-1]),
        targets=integers(torch.where(mask == 1, tokens[:, 1:], -torch.ones_like(tokens[:, 1:]))),
        numbers={name: integers(numbers) for name, numbers in rollouts.items()},
        initial=writer.add_all(ours(parameters)),
        cases=dict(ppo=dict(sums=sums, gradients=writer.add_all(ours(gradients_of(parameters).items())))),
    )
    (FOLDER / "policyLlama.json").write_text(json.dumps(fixture) + "\n")
    (FOLDER / "policyLlama.bin").write_bytes(writer.bytes)


if __name__ == "__main__":
    main()
