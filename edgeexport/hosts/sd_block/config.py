"""A recipe's ``model = dict(type='sd_block', ...)``: one transformer block of a Stable-Diffusion U-Net.

Defaults are those of the first resolution of Stable Diffusion 1.x at 512x512 pixels: 64x64 latents, 320 channels in
8 heads, and a text of 77 tokens with 768 channels.
"""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import integer, mapping, sequence
from edgeexport.hosts.input_config import batch_of_shape
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.inputs.spec import InputSpec

__all__ = ["resolved_sd_block", "sd_block_from_config", "sd_block_input_from_config"]

_KEYS = ("context_tokens", "context_width", "embed_dims", "grid", "num_heads", "type")


def sd_block_from_config(value: object, place: Place) -> SdBlockSpec:
    """Validates ``model``.

    Raises:
        RecipeError: A key is unknown, a value has the wrong type or range, or heads do not divide the channels.
    """
    config = mapping(value, place, _KEYS)
    at = place.at("grid")
    rows, columns = (
        integer(side, at.at(position), minimum=1)
        for position, side in enumerate(sequence(config.get("grid", (64, 64)), at, 2))
    )
    embed_dims = integer(config.get("embed_dims", 320), place.at("embed_dims"), minimum=1)
    num_heads = integer(config.get("num_heads", 8), place.at("num_heads"), minimum=1)
    if embed_dims % num_heads:
        raise place.at("num_heads").error(num_heads, f"does not divide embed_dims = {embed_dims}")
    return SdBlockSpec(
        type="sd_block",
        grid=(rows, columns),
        embed_dims=embed_dims,
        num_heads=num_heads,
        context_tokens=integer(config.get("context_tokens", 77), place.at("context_tokens"), minimum=1),
        context_width=integer(config.get("context_width", 768), place.at("context_width"), minimum=1),
    )


def resolved_sd_block(spec: SdBlockSpec) -> dict[str, object]:
    """The ``model`` with every default written out."""
    return {
        "type": spec.type,
        "grid": list(spec.grid),
        "embed_dims": spec.embed_dims,
        "num_heads": spec.num_heads,
        "context_tokens": spec.context_tokens,
        "context_width": spec.context_width,
    }


def sd_block_input_from_config(value: object, place: Place, model: SdBlockSpec) -> InputSpec:
    """Validates ``input=dict(shape=(B, rows * columns, embed_dims))``; the text's shape follows from the model.

    Raises:
        RecipeError: Another shape than the model's, or preprocessing.
    """
    config = mapping(value, place, ("preprocess", "shape"))
    if config.get("preprocess") is not None:
        raise place.at("preprocess").error(config["preprocess"], "is for images, and features go in", "leave it out")
    rows, columns = model.grid
    remedy = "make them agree: the model's are model.grid and model.embed_dims"
    batch = batch_of_shape(config, place, (rows * columns, model.embed_dims), "(B, rows * columns, embed_dims)", remedy)
    context = (model.context_tokens, model.context_width)
    return InputSpec(batch, rows, columns, preprocess=None, channels=model.embed_dims, context=context)
