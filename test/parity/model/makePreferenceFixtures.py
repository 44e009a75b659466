"""Makes the fixture of DPO with PyTorch: the sums over a batch of pairs, and every gradient of their mean loss.

    pip install torch trl                # 2.13 and 1.13 made the committed one
    python test/parity/model/makePreferenceFixtures.py

It writes fixtures/dpo.json (tokens, reference, sums, and where each gradient lies) and fixtures/dpo.bin (little-endian float32). The
model is that of makeFixtures.py, with its initial parameters. The reference has the same parameters times 0.9. Everything is computed
in float64 from float32 numbers. The loss and its gradients are those of TRL's own DPO loss: the script fails if they are not.

B pairs, T time.
"""

import collections
import json
import pathlib
import types

import torch
import torch.nn.functional as F
from makeFixtures import BASE, Gpt, Writer, integers
from trl.trainer.dpo_trainer import DPOTrainer

FOLDER = pathlib.Path(__file__).parent / "fixtures"
BETA = 0.5
# Tokens of the prompt, of the chosen answer, and of the rejected one; a row has one token more than its inputs.
PAIRS = [(3, 6, 4), (1, 2, 8), (4, 1, 5)]


def load(scale):
    file = json.loads((FOLDER / "gpt.json").read_text())
    numbers = torch.frombuffer(bytearray((FOLDER / "gpt.bin").read_bytes()), dtype=torch.float32)
    model = Gpt(BASE).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            at = file["initial"][name]
            values = numbers[at["offset"] : at["offset"] + at["length"]]
            parameter.copy_(scale * values.double().view(parameter.shape))
    return model


def make_rows():
    """[2B, T + 1] tokens, all chosen rows before all rejected ones as TRL has them, and which of them belong to an answer."""
    length = BASE["blockSize"] + 1
    tokens, masks = [], []
    prompts = [torch.randint(BASE["vocabSize"], (prompt,)) for prompt, _, _ in PAIRS]
    for side in (1, 2):
        for prompt, sizes in zip(prompts, PAIRS):
            text = torch.cat([prompt, torch.randint(BASE["vocabSize"], (sizes[side],))])
            padding = length - len(text)
            tokens.append(F.pad(text, (0, padding)))
            masks.append(torch.tensor([0] * len(prompt) + [1] * sizes[side] + [0] * padding))
    return torch.stack(tokens), torch.stack(masks)


def logprobs(model, tokens, mask):
    """Of the answer of each row: [2B]."""
    each = model(tokens[:, :-1]).log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    return (each * mask[:, 1:]).sum(1)


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def loss_by_trl(model, tokens, mask, reference):
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, **_):
            return types.SimpleNamespace(logits=self.inner(input_ids[:, : BASE["blockSize"]]))

    # The last token is only a target, and the model takes one token less: a row of logits more is cut off by the loss.
    def padded(input_ids, **others):
        out = wrapped(input_ids, **others)
        return types.SimpleNamespace(logits=F.pad(out.logits, (0, 0, 0, 1)))

    wrapped = Wrapped().train()
    accelerator = types.SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = types.SimpleNamespace(
        model=wrapped,
        accelerator=accelerator,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=BETA,
        use_weighting=False,
        _metrics={"train": collections.defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    chosen, rejected = reference.chunk(2)
    inputs = dict(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        completion_mask=mask,
        ref_chosen_logps=chosen,
        ref_rejected_logps=rejected,
    )
    return DPOTrainer._compute_loss(trainer, padded, inputs, False)


def by_turns(rows):
    return torch.stack(rows.chunk(2), 1).flatten(0, 1)


def main():
    torch.manual_seed(2)
    tokens, mask = make_rows()
    with torch.no_grad():
        reference = logprobs(load(0.9), tokens, mask).float().double()
    model = load(1)
    chosen, rejected = logprobs(model, tokens, mask).chunk(2)
    margin = BETA * (chosen - rejected - (reference.chunk(2)[0] - reference.chunk(2)[1]))
    losses = -F.logsigmoid(margin)
    losses.mean().backward()
    gradients = gradients_of(model)

    model.zero_grad()
    trl = loss_by_trl(model, tokens, mask, reference)
    trl.backward()
    assert abs(trl.item() - losses.mean().item()) < 1e-12, "the loss is TRL's"
    for name, gradient in gradients_of(model).items():
        assert torch.allclose(gradient, gradients[name], rtol=1e-10, atol=1e-12), f"the gradient of {name} is TRL's"
    assert 0 < (margin > 0).sum() < len(margin), "both orders should occur"

    targets = torch.where(mask[:, 1:] == 1, tokens[:, 1:], -torch.ones_like(tokens[:, 1:]))
    inputs = by_turns(tokens[:, :-1])
    writer = Writer()
    fixture = dict(
        torch=torch.__version__,
        beta=BETA,
        pairs=len(PAIRS),
        tokens=integers(inputs),
        targets=integers(by_turns(targets)),
        reference=integers(by_turns(reference)),
        sums=dict(
            weight=len(PAIRS),
            loss=losses.sum().item(),
            accuracy=(margin > 0).sum().item(),
            margin=margin.sum().item(),
            chosenLogprob=chosen.sum().item(),
            rejectedLogprob=rejected.sum().item(),
        ),
        gradients=writer.add_all(gradients),
    )
    (FOLDER / "dpo.json").write_text(json.dumps(fixture) + "\n")
    (FOLDER / "dpo.bin").write_bytes(writer.bytes)


if __name__ == "__main__":
    main()
