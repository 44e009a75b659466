"""Makes the fixtures of GRPO and PPO with PyTorch: the sums over a batch of rollouts, and every gradient of their mean loss.

    pip install torch trl                # 2.13 and 1.13 made the committed ones
    python test/parity/model/makePolicyFixtures.py

It writes fixtures/policy.json (tokens, numbers of the rollouts, sums, and where each gradient lies) and fixtures/policy.bin
(little-endian float32). The model is that of makeFixtures.py, with its initial parameters and a value head. The numbers of the rollouts
are near those of the model, so that some ratios and values are clipped and others are not. Everything is computed in float64 from
float32 numbers. The loss of GRPO and its gradients are those of TRL's own loss: the script fails if they are not.

B rollouts, T time.
"""

import collections
import json
import pathlib
import types

import torch
from makeFixtures import BASE, Gpt, Writer, integers
from trl.trainer.grpo_trainer import GRPOTrainer

FOLDER = pathlib.Path(__file__).parent / "fixtures"
KEYS = dict(clip=0.2, beta=0.3, valueClip=0.2, valueCoefficient=0.7)
# Tokens of the prompt and of the completion; a row has one token more than its inputs.
ROWS = [(3, 6), (1, 8), (4, 3), (2, 5)]


def load():
    file = json.loads((FOLDER / "gpt.json").read_text())
    numbers = torch.frombuffer(bytearray((FOLDER / "gpt.bin").read_bytes()), dtype=torch.float32)
    model = Gpt(BASE).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            at = file["initial"][name]
            values = numbers[at["offset"] : at["offset"] + at["length"]]
            parameter.copy_(values.double().view(parameter.shape))
    return model


def logprobs_of(model, tokens):
    """Of each next token: [B, T]."""
    return model(tokens[:, :-1]).log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]


def policy_loss(logprobs, rollouts, beta):
    """[B, T] each: the loss, the estimate k3, the ratio, and whether it is clipped."""
    clip, advantages = KEYS["clip"], rollouts["advantages"]
    ratio = torch.exp(logprobs - rollouts["logprobs"])
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    difference = rollouts["reference"] - logprobs
    k3 = torch.exp(difference) - difference - 1
    clipped = torch.where(advantages > 0, ratio > 1 + clip, (ratio < 1 - clip) & (advantages < 0))
    return -gain + beta * ratio * k3, k3, ratio, clipped


def value_loss(values, rollouts):
    old, returns, clip = rollouts["values"], rollouts["returns"], KEYS["valueClip"]
    limited = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.max((values - returns) ** 2, (limited - returns) ** 2)


def loss_by_trl(model, tokens, mask, rollouts):
    args = types.SimpleNamespace(use_bias_correction_kl=True, delta=None, steps_per_generation=1)
    metrics = {"train": collections.defaultdict(list)}
    accelerator = types.SimpleNamespace(num_processes=1, reduce=lambda x, reduction: x, gather=lambda x: x)
    trainer = types.SimpleNamespace(
        model=model.train(),
        args=args,
        accelerator=accelerator,
        beta=KEYS["beta"],
        epsilon_low=KEYS["clip"],
        epsilon_high=KEYS["clip"],
        loss_type="dapo",
        importance_sampling_level="token",
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=BASE["blockSize"],
        _metrics=metrics,
    )

    def logprobs_and_entropies(_, input_ids, *others, **more):
        logprobs = logprobs_of(model, input_ids)
        return logprobs, -logprobs.detach(), None

    trainer._get_per_token_logps_and_entropies = logprobs_and_entropies
    inputs = dict(
        prompt_ids=tokens[:, :1],
        prompt_mask=torch.ones_like(tokens[:, :1]),
        completion_ids=tokens[:, 1:],
        completion_mask=mask,
        advantages=rollouts["advantages"],
        old_per_token_logps=rollouts["logprobs"],
        ref_per_token_logps=rollouts["reference"],
        num_items_in_batch=mask.sum(),
    )
    return GRPOTrainer._compute_loss(trainer, model, inputs), metrics["train"]


def make_rows():
    """[B, T + 1] tokens, and [B, T] which targets belong to a completion."""
    tokens = torch.randint(BASE["vocabSize"], (len(ROWS), BASE["blockSize"] + 1))
    mask = torch.zeros(len(ROWS), BASE["blockSize"], dtype=torch.int64)
    for row, (prompt, completion) in enumerate(ROWS):
        mask[row, prompt - 1 : prompt - 1 + completion] = 1
    return tokens, mask


def gradients_of(parameters):
    return {name: p.grad.clone() for name, p in parameters if p.grad is not None}


def rollouts_near(logprobs, values, mask):
    """Rollouts of a policy whose log probabilities and values are near these: random, and 0 where the mask is."""
    near = lambda x, scale: ((x + scale * torch.randn(x.shape)) * mask).float().double()
    return dict(
        advantages=near(torch.zeros(mask.shape), 1),
        logprobs=near(logprobs, 0.3).clamp(max=0),
        reference=near(logprobs, 0.5).clamp(max=0),
        values=near(values, 0.3),
        returns=near(values, 0.5),
    )


def main():
    torch.manual_seed(4)
    tokens, mask = make_rows()
    model = load()
    head = torch.nn.Parameter((0.3 * torch.randn(1, BASE["nEmbd"])).float().double())
    parameters = [*model.named_parameters(), ("value.weight", head)]

    with torch.no_grad():
        logprobs = logprobs_of(model, tokens)
        values = (model.transformer(tokens[:, :-1]) @ head.T)[..., 0]
        rollouts = rollouts_near(logprobs, values, mask)
    count = mask.sum().item()
    total = lambda x: (x * mask).sum()
    writer = Writer()
    cases = {}
    for kind in ("grpo", "ppo"):
        for _, parameter in parameters:
            parameter.grad = None
        hidden = model.transformer(tokens[:, :-1])
        logprobs = (hidden @ model.transformer.wte.weight.T).log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
        policy, k3, ratio, clipped = policy_loss(logprobs, rollouts, KEYS["beta"] if kind == "grpo" else 0)
        of_values = value_loss((hidden @ head.T)[..., 0], rollouts)
        loss = total(policy) + (KEYS["valueCoefficient"] * total(of_values) if kind == "ppo" else 0)
        (loss / count).backward()
        sums = dict(
            weight=count,
            loss=loss.item(),
            kl=total(k3).item(),
            clipped=total(clipped).item(),
            ratio=total(ratio).item(),
            entropy=-total(logprobs).item(),
        )
        assert 0 < sums["clipped"] < count, "some ratios are clipped"
        if kind == "ppo":
            sums["valueLoss"] = total(of_values).item()
            clip, moved = KEYS["valueClip"], (hidden @ head.T)[..., 0] - rollouts["values"]
            assert 0 < total(moved.abs() > clip).item() < count, "some values are clipped"
        cases[kind] = dict(sums=sums, gradients=writer.add_all(gradients_of(parameters)))
        if kind == "grpo":
            gradients = gradients_of(parameters)
            model.zero_grad()
            trl, metrics = loss_by_trl(model, tokens, mask, rollouts)
            trl.backward()
            assert abs(trl.item() - sums["loss"] / count) < 1e-12, "the loss is TRL's"
            assert abs(metrics["clip_ratio/region_mean"][0] - sums["clipped"] / count) < 1e-6, "the clip fraction is TRL's"
            for name, gradient in gradients_of(model.named_parameters()).items():
                assert torch.allclose(gradient, gradients[name], rtol=1e-10, atol=1e-12), f"the gradient of {name} is TRL's"

    targets = torch.where(mask == 1, tokens[:, 1:], -torch.ones_like(tokens[:, 1:]))
    fixture = dict(
        torch=torch.__version__,
        keys=KEYS,
        rollouts=len(ROWS),
        tokens=integers(tokens[:, :-1]),
        targets=integers(targets),
        valueHead=integers(head.detach()),
        numbers={name: integers(numbers) for name, numbers in rollouts.items()},
        cases=cases,
    )
    (FOLDER / "policy.json").write_text(json.dumps(fixture) + "\n")
    (FOLDER / "policy.bin").write_bytes(writer.bytes)


if __name__ == "__main__":
    main()
