"""Makes the fixture of LoRA on a Llama with Hugging Face's transformers and PEFT: a tiny LlamaForCausalLM, an adapter of it as PEFT saves it,
and its logits, in float64. The layers that Lockstep merges (q_proj, k_proj and v_proj; gate_proj and up_proj) share their A.

    pip install torch transformers peft
    python test/parity/model/makePeftLlamaFixtures.py

It writes fixtures/peftLlama/base, fixtures/peftLlama/lm and fixtures/peftLlama/expected.json.
"""

import json
import pathlib
import shutil

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

FOLDER = pathlib.Path(__file__).parent / "fixtures" / "peftLlama"
SIZES = dict(vocab_size=29, max_position_embeddings=8, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, hidden_size=16, intermediate_size=20)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]
SHARED = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}


def randomise(model, seed, is_new):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if is_new(name):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    base = LlamaForCausalLM(LlamaConfig(**SIZES, rope_theta=100.0, rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=28, eos_token_id=28))
    randomise(base, 1, lambda name: True)
    base.save_pretrained(FOLDER / "base")
    (FOLDER / "base" / "generation_config.json").unlink(missing_ok=True)
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=3, lora_alpha=8, target_modules=TARGETS, lora_dropout=0.0, bias="none")
    peft = get_peft_model(base, config)
    randomise(peft, 3, lambda name: "lora_" in name)
    factors = dict(peft.named_parameters())
    for name, parameter in factors.items():
        for module, source in SHARED.items():
            if f"{module}.lora_A" in name:
                parameter.data = factors[name.replace(module, source)].data.clone()
    peft.save_pretrained(FOLDER / "lm")
    (FOLDER / "lm" / "README.md").unlink()
    written = json.loads((FOLDER / "lm" / "adapter_config.json").read_text())
    written["base_model_name_or_path"] = "../base"  # wherever this folder is
    (FOLDER / "lm" / "adapter_config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    tokens = torch.randint(0, 28, (3, 8), generator=torch.Generator().manual_seed(2))
    logits = peft.double()(tokens).logits
    expected = dict(tokens=tokens.flatten().tolist(), logits=[float(f"{value:.9g}") for value in logits.flatten().tolist()])
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n")


main()
