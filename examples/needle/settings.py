"""The model, as a Hugging Face config, and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexport.config.place import Place
from edgeexport.hosts.decoder.config import decoder_from_config
from edgeexport.hosts.decoder.spec import DecoderSpec
from examples.needle.tasks import GRID, LENGTH
from examples.needle.words import IDS, VOCABULARY

__all__ = ["CONFIG", "MODEL_FOLDER", "needle_spec"]

MODEL_FOLDER = Path(__file__).resolve().parent / "model"

CONFIG: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [4, 4, 4]},
    "tie_word_embeddings": False,
    "image_token_id": IDS["<image>"],
    "vision_start_token_id": IDS["<picture>"],
    "vision_end_token_id": IDS["</picture>"],
    "eos_token_id": IDS["<end>"],
    "vision_config": {
        "hidden_size": 48,
        "intermediate_size": 96,
        "depth": 1,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 56,
        "fullatt_block_indexes": [0],
        "out_hidden_size": 96,
    },
}


def needle_spec(batch: int = 1) -> DecoderSpec:
    """For ``batch`` prompts, whose pictures go through the tower together."""
    sizes = [(GRID[0] * 14, GRID[1] * 14)] * 3
    given = {"prompt": LENGTH, "new_tokens": 4, "images": sizes}
    spec = decoder_from_config({"type": "decoder", "config": CONFIG}, given, Place("examples/needle"), MODEL_FOLDER)
    return DecoderSpec(**{**spec.__dict__, "grids": spec.grids * batch})
