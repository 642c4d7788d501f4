"""A decoder's weights: from a Hugging Face folder under any of its key names, or drawn from a seed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgeexport.errors import CheckpointError
from edgeexport.hosts.decoder.model import DecoderModel
from edgeexport.hosts.decoder.spec import DecoderSpec
from edgeexport.hosts.seeded import draw_weights

__all__ = ["decoder_with_weights", "published_key", "seeded_decoder", "state_of_folder", "weights_digest"]

_RENAMED = (
    (re.compile(r"^model\.language_model\."), "model."),  # transformers 5
    (re.compile(r"^language_model\.model\."), "model."),  # between
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^model\.visual\."), "visual."),
)
_UNUSED = ("rotary_emb.inv_freq",)


def published_key(key: str) -> str:
    """The name of the published checkpoints: ``model.layers.*``, ``visual.*``."""
    for pattern, replacement in _RENAMED:
        key = pattern.sub(replacement, key)
    return key


def state_of_folder(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder, float32, under their published names.

    Raises:
        CheckpointError: A file is damaged.
    """
    state: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118 a file, not a dict
                    if not key.endswith(_UNUSED):
                        state[published_key(key)] = opened.get_tensor(key).float()
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(str(file), f"damaged safetensors file ({error})", "copy it again") from None
    return state


def decoder_with_weights(spec: DecoderSpec, state: Mapping[str, Tensor], where: str) -> DecoderModel:
    """The model with these weights, in eval mode.

    Raises:
        CheckpointError: Keys or shapes do not fit.
    """
    model = DecoderModel(spec)
    own = model.state_dict()
    given = dict(state)
    if spec.text.tied:
        given.setdefault("lm_head.weight", given.get("model.embed_tokens.weight", torch.empty(0)))
    missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or unknown:
        found = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which the model has not"
        count = len(missing) + len(unknown) - 1
        raise CheckpointError(where, found + (f" and {count} more such keys" if count else ""), "check config.json")
    for key, tensor in own.items():
        if tensor.shape != given[key].shape:
            shapes = f"{list(given[key].shape)}, expected {list(tensor.shape)}"
            raise CheckpointError(where, f"{key} is {shapes}", "check config.json")
    model.load_state_dict(given)
    return model.eval()


def seeded_decoder(spec: DecoderSpec, seed: int) -> DecoderModel:
    """The model with weights drawn from ``seed``, each by its key alone; what it says means nothing."""
    model = DecoderModel(spec).eval()
    with torch.no_grad():
        draw_weights(model, seed, {})
        for name, module in model.named_modules():
            if name.endswith(("norm", "norm1", "norm2", "ln_q")) and hasattr(module, "weight"):
                module.weight.copy_(1 + 0.02 * torch.tanh(module.weight))
    return model


def weights_digest(folder: Path) -> str:
    """sha256 of a folder's weight files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
