"""Makes the fixtures of LoRA with Hugging Face's transformers and PEFT: a tiny GPT-2, two adapters of it as PEFT saves them, and what
PEFT computes with them, in float64: logits, the loss, and the gradients of A and B.

    pip install torch transformers peft
    python test/parity/model/makePeftFixtures.py

It writes fixtures/peft/base (a GPT2LMHeadModel), fixtures/peft/lm and fixtures/peft/classes (adapters), and fixtures/peft/expected.json.
"""

import json
import pathlib
import shutil

import torch
import torch.nn.functional as F
from peft import LoraConfig, TaskType, get_peft_model
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

FOLDER = pathlib.Path(__file__).parent / "fixtures" / "peft"
SIZES = dict(vocab_size=29, n_positions=8, n_layer=2, n_head=2, n_embd=16)
LABELS = ["ham", "spam", "unsure"]
ADAPTERS = {
    "lm": dict(task_type=TaskType.CAUSAL_LM, r=3, lora_alpha=8, target_modules=["c_attn", "mlp.c_proj"]),
    "classes": dict(task_type=TaskType.SEQ_CLS, r=4, lora_alpha=6, target_modules=["c_attn", "c_proj", "c_fc"]),
}
BATCH_SIZE = 3


def randomise(model, seed, is_new):
    """PEFT's B is zero and would hide A; the sizes of these values make every term count."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if is_new(name):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.data = (noise * 0.3).to(parameter.dtype)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    config = GPT2Config(**SIZES, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0, bos_token_id=28, eos_token_id=28, pad_token_id=28)
    base = GPT2LMHeadModel(config)
    randomise(base, 1, lambda name: True)
    base.save_pretrained(FOLDER / "base")
    (FOLDER / "base" / "generation_config.json").unlink(missing_ok=True)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 28, (BATCH_SIZE, SIZES["n_positions"]), generator=generator)
    targets = torch.randint(0, 28, (BATCH_SIZE, SIZES["n_positions"]), generator=generator)
    classes = torch.randint(0, len(LABELS), (BATCH_SIZE,), generator=generator)
    expected = dict(tokens=tokens.flatten().tolist(), targets=targets.flatten().tolist(), classes=classes.tolist(), adapters={})
    for name, options in ADAPTERS.items():
        if name == "lm":
            model = GPT2LMHeadModel.from_pretrained(FOLDER / "base")
        else:
            model = GPT2ForSequenceClassification.from_pretrained(
                FOLDER / "base", num_labels=len(LABELS), id2label=dict(enumerate(LABELS)), label2id={label: i for i, label in enumerate(LABELS)}
            )
        peft = get_peft_model(model, LoraConfig(**options, lora_dropout=0.0, bias="none", fan_in_fan_out=True))
        randomise(peft, 3, lambda each: "lora_" in each or "modules_to_save" in each)
        peft.save_pretrained(FOLDER / name)
        (FOLDER / name / "README.md").unlink()
        written = json.loads((FOLDER / name / "adapter_config.json").read_text())
        written["base_model_name_or_path"] = "../base"  # wherever this folder is
        (FOLDER / name / "adapter_config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
        peft = peft.double()
        if name == "lm":
            logits = peft(tokens).logits  # (B, T, V)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        else:
            logits = peft(tokens).logits  # (B, K): of the last token, since none is the padding token
            loss = F.cross_entropy(logits, classes, reduction="sum")
        loss.backward()
        gradients = {
            each.replace("base_model.model.", "").replace(".default", "").replace("modules_to_save.", ""): parameter.grad.flatten().tolist()
            for each, parameter in peft.named_parameters()
            if parameter.grad is not None
        }
        expected["adapters"][name] = dict(
            logits=logits.flatten().tolist(),
            loss=loss.item(),
            gradients={each: [float(f"{value:.9g}") for value in values] for each, values in gradients.items()},
            trained=sum(parameter.numel() for parameter in peft.parameters() if parameter.requires_grad),
        )
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n")


main()
