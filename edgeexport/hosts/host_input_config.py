"""``input`` of the models that fix their own size: a timm ViT, and a block of a diffusion model."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import integer, mapping, sequence
from edgeexport.hosts.input_config import preprocess_from_config
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.spec import InputSpec

__all__ = ["input_shape", "sd_block_input_from_config", "timm_input_from_config"]


def timm_input_from_config(value: object, place: Place, model: TimmVitSpec) -> InputSpec:
    """Validates ``input=dict(shape=(B, C, H, W), preprocess=...)``, with clips ``(B, C, T, H, W)``.

    Raises:
        RecipeError: Channels that no photograph gives, another shape than the model's, or preprocessing of what is no
            colour image.
    """
    config = mapping(value, place, ("preprocess", "shape"))
    channels = (1, 3) if model.frames is None else (3,)
    if model.in_channels not in channels:
        found = f"the model takes {'clips' if model.frames is not None else 'images'} of {model.in_channels} channels"
        problem = f"{found}, and builds are verified on photographs, which give 3" + (", or 1" if 1 in channels else "")
        raise place.error(value, problem, f"use model.in_chans={' or '.join(map(str, reversed(channels)))}")
    clip = () if model.frames is None else (model.frames,)
    names = "(B, C, T, H, W)" if clip else "(B, C, H, W)"
    batch = _batch(
        config,
        place,
        (model.in_channels, *clip, *model.img_size),
        names,
        "make them agree: the model's size is model.img_size"
        + (", its channels model.in_chans" if not clip else ", its channels model.in_chans, its length model.frames"),
    )
    preprocess = config.get("preprocess")
    if preprocess is not None and (model.in_channels != 3 or clip):
        found = f"clips of {model.frames} frames" if clip else f"{model.in_channels} channel(s)"
        raise place.at("preprocess").error(
            preprocess, f"is for colour images, and the model takes {found}", "leave it out: the input is float32"
        )
    return InputSpec(
        batch=batch,
        height=model.img_size[0],
        width=model.img_size[1],
        preprocess=None if preprocess is None else preprocess_from_config(preprocess, place.at("preprocess")),
        channels=model.in_channels,
        frames=model.frames,
    )


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
    batch = _batch(config, place, (rows * columns, model.embed_dims), "(B, rows * columns, embed_dims)", remedy)
    context = (model.context_tokens, model.context_width)
    return InputSpec(batch, rows, columns, preprocess=None, channels=model.embed_dims, context=context)


def input_shape(size: InputSpec) -> list[int]:
    """``input.shape`` as a recipe writes it: channels first, whatever the graph takes."""
    if size.context is not None or size.frames is not None:
        return list(size.shape)
    return [size.batch, size.channels, size.height, size.width]


def _batch(config: dict[str, object], place: Place, wanted: tuple[int, ...], names: str, remedy: str) -> int:
    """The batch of a ``shape`` whose other entries are ``wanted``."""
    shown = ", ".join(map(str, wanted))
    if "shape" not in config:
        raise place.missing("shape", f"shape=(1, {shown})")
    at = place.at("shape")
    entries = sequence(config["shape"], at)
    if len(entries) != 1 + len(wanted):
        raise at.error(config["shape"], f"expected {names} = (B, {shown}), found {len(entries)} values", remedy)
    batch, *found = (integer(entry, at.at(position), minimum=1) for position, entry in enumerate(entries))
    if tuple(found) != wanted:
        raise at.error(config["shape"], f"expected {names} = (B, {shown}), as the model is", remedy)
    return batch
