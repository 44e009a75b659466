"""Loads what `launch merge` and `launch export` wrote with transformers and PEFT, and compares their logits.

    python test/parity/model/checkPeft.py MERGED ADAPTER CHECKPOINT

CHECKPOINT is that of the run with LoRA, which transformers must refuse. It exits with 1 if anything differs by more than 1e-5 of the largest logit.
"""

import sys

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM

merged_path, adapter_path, checkpoint_path = sys.argv[1:]
merged = AutoModelForCausalLM.from_pretrained(merged_path).eval()
config = PeftConfig.from_pretrained(adapter_path)
adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(config.base_model_name_or_path), adapter_path).eval()
base = AutoModelForCausalLM.from_pretrained(config.base_model_name_or_path).eval()
tokens = torch.randint(0, merged.config.vocab_size, (4, min(64, merged.config.max_position_embeddings)), generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    logits, expected, unadapted = (model(tokens).logits for model in (merged, adapted, base))
error = ((logits - expected).abs().max() / expected.abs().max()).item()
change = ((unadapted - expected).abs().max() / expected.abs().max()).item()
print(f"merged against PEFT: {error:.1e}; the adapter changes logits by {change:.1e}")
try:
    AutoModelForCausalLM.from_pretrained(checkpoint_path)
    refused = False
except (ValueError, KeyError) as problem:
    refused = "lockstep" in str(problem)
print("transformers refuses the checkpoint" if refused else "transformers did not refuse the checkpoint")
sys.exit(0 if error <= 1e-5 and change > 1e-3 and refused else 1)
