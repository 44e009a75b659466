"""Makes the fixture of a tiny MarianMT with random weights, by Hugging Face: what greedy and beam search generate from sources of several lengths.

    pip install torch transformers       # 2.13 and 5.x made the committed one
    python test/parity/model/makeMarianFixtures.py

It writes fixtures/marian.json (config, sources, results, and where each array lies) and fixtures/marian.bin (little-endian float32), with Hugging
Face's names. Greedy search is beam search with one beam; every search stops at the end token or after MAX_TOKENS tokens.
"""

import json
import pathlib

import torch
import transformers
from makeFixtures import Writer

FOLDER = pathlib.Path(__file__).parent / "fixtures"
V, C = 17, 16
END, BEGIN = 0, 16
MAX_TOKENS = 10
SEARCHES = [dict(beams=1, lengthPenalty=1.0), dict(beams=3, lengthPenalty=1.0), dict(beams=4, lengthPenalty=0.6), dict(beams=2, lengthPenalty=0.0)]


def make_model():
    config = transformers.MarianConfig(
        vocab_size=V, d_model=C, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=12, activation_function="relu", scale_embedding=True,
        dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, pad_token_id=BEGIN, eos_token_id=END,
        decoder_start_token_id=BEGIN, forced_eos_token_id=None,
    )  # fmt: skip
    model = transformers.MarianMTModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" in name:
                continue
            noise = torch.randn_like(parameter)
            # Strong branches and a weak embedding: otherwise a token would predict itself.
            deviation = 0.2 if "shared" in name else 0.2 if "layer_norm" in name or "bias" in name else 0.9
            parameter.copy_((1 if "layer_norm.weight" in name else 0) + deviation * noise)
    return model


def generate(model, source, beams, length_penalty):
    out = model.generate(
        torch.tensor([source]), num_beams=beams, length_penalty=length_penalty, early_stopping=False, do_sample=False,
        num_return_sequences=beams, max_new_tokens=MAX_TOKENS, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    sequences = [sequence.tolist()[1:] for sequence in out.sequences]
    cut = [tokens[: tokens.index(END) + 1] if END in tokens else tokens for tokens in sequences]
    return dict(tokens=cut, scores=out.sequences_scores.tolist() if beams > 1 else None)


def main():
    torch.manual_seed(26)
    model = make_model()
    assert model.final_logits_bias.abs().max() == 0
    sources = [torch.randint(1, V - 1, (length,)).tolist() + [END] for length in (1, 4, 7, 11, 2, 5)]
    writer = Writer()
    weights = writer.add_all(dict(model.named_parameters()))
    searches = [
        dict(**search, results=[generate(model, source, search["beams"], search["lengthPenalty"]) for source in sources])
        for search in SEARCHES
    ]
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    file = dict(
        transformers=transformers.__version__, torch=torch.__version__, vocabSize=V, begin=BEGIN, end=END,
        maxTokens=MAX_TOKENS, sources=sources, searches=searches, shapes=shapes, weights=weights,
    )  # fmt: skip
    (FOLDER / "marian.json").write_text(json.dumps(file, indent=1) + "\n")
    (FOLDER / "marian.bin").write_bytes(writer.bytes)


if __name__ == "__main__":
    main()
