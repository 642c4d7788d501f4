"""timm's plain Vision Transformer as a host of token merging: found by name, built, and checked part by part.

Importing this module imports neither timm nor torch; its functions do. Nothing is fetched: hosts are built without
pretrained weights, here on the meta device, where they take no memory.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import warnings
from typing import TYPE_CHECKING, Any

from edgeexport.config.place import Place
from edgeexport.config.reading import INSTALL

if TYPE_CHECKING:
    from torch import nn

__all__ = ["POOLINGS", "built_host", "check_plain", "check_timm_name", "host_defaults"]

POOLINGS = ("token", "avg", "max", "avgmax", "map")  # timm's ways from tokens to logits that merging keeps defined
_MODULES = ("vision_transformer", "deit")  # where timm registers its plain ViTs
_CLOSE = 0.5  # share of letters, for a name to be suggested
_MISSPELT = 0.9  # for one that is refused itself: clearly meant


def check_timm_name(name: str, place: Place) -> None:
    """Checks that timm has a model of this name whose class is that of a plain ViT.

    A pretrained tag (``deit_small_patch16_224.fb_in1k``) is part of timm's name: it sets class count and pooling.

    Raises:
        RecipeError: Unknown, with the nearest plain ViT named; or a model of another kind.
    """
    timm = _timm(place)
    if ":" in name or "/" in name:
        raise place.error(
            name,
            "names a place to fetch a model from, and nothing is fetched",
            "write timm's own name, such as 'deit_small_patch16_224', and give the weights as checkpoint",
        )
    if not timm.is_model(name):
        raise place.error(name, "timm has no model of this name", _nearest_plain(name))
    architecture, _, tag = name.partition(".")
    try:
        timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        if tag:
            tagged = timm.list_models(f"{architecture}.*", pretrained=True)
            close = difflib.get_close_matches(name, tagged, n=1, cutoff=0.0)
            remedy = f"did you mean '{close[0]}'?" if close else f"write '{architecture}'"
            raise place.error(name, f"timm knows {architecture}, but no weights tag '{tag}' of it", remedy) from None
    module = timm.model_entrypoint(name).__module__.rpartition(".")[2]
    if module not in _MODULES and not module.startswith("vision_transformer"):
        raise _not_plain(place, name, f"it is of timm's family '{module}'")


def built_host(name: str | None, arguments: dict[str, Any], device: str = "meta") -> nn.Module:
    """The host that ``name`` and ``arguments`` of a `TimmVitSpec` describe, without pretrained weights, in eval mode.

    Raises:
        Exception: Whatever timm raises for arguments that do not fit together.
    """
    import timm
    import torch
    from timm.models.vision_transformer import VisionTransformer

    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.device(device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated names: timm maps them
            host = VisionTransformer(**arguments) if name is None else timm.create_model(name, False, **arguments)
    finally:
        logger.setLevel(level)
    return host.eval()


def host_defaults(place: Place) -> dict[str, object]:
    """Keyword arguments of timm's `VisionTransformer` with their defaults.

    Raises:
        RecipeError: timm is not installed.
    """
    _timm(place)
    from timm.models.vision_transformer import VisionTransformer

    parameters = inspect.signature(VisionTransformer.__init__).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key != "self"}


def check_plain(host: Any, shown: object, place: Place) -> None:
    """Checks that every part of a built host is the plain one, so that merging between attention and MLP is defined.

    Free choices: qk_norm, LayerScale, scale norms, register tokens, pre_norm, fc_norm, no_embed_class, pos_embed.

    Args:
        host: What `built_host` returned.
        shown: What the recipe calls it, for the message.
        place: Where that stands.

    Raises:
        RecipeError: Names the first part that is another one.
    """
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import Attention, Block, Mlp, PatchEmbed, VisionTransformer
    from torch import nn

    if type(host) not in (VisionTransformer, VisionTransformerDistilled):
        wanted = "timm's VisionTransformer or VisionTransformerDistilled"
        raise _not_plain(place, shown, f"its class is {type(host).__name__}, not {wanted}")
    embed = host.patch_embed
    if type(embed) is not PatchEmbed:
        raise _not_plain(place, shown, f"patch_embed is a {type(embed).__name__}, not a PatchEmbed")
    for switch, on in (("dynamic_img_size", host.dynamic_img_size), ("dynamic_img_pad", embed.dynamic_img_pad)):
        if on:
            problem = f"{switch} is on, and the graph's size is fixed"
            raise place.error(shown, problem, f"add {switch}=False to model: its weights stay the same")
    if not isinstance(host.patch_drop, nn.Identity):
        raise _not_plain(place, shown, "patch_drop drops patches at random")
    for index, block in enumerate(host.blocks):
        if type(block) is not Block:
            raise _not_plain(place, shown, f"blocks.{index} is a {type(block).__name__}, not a Block")
        attention = block.attn
        if type(attention) is not Attention:
            raise _not_plain(place, shown, f"blocks.{index}.attn is a {type(attention).__name__}, not an Attention")
        if getattr(attention, "gate", None) is not None:
            raise _not_plain(place, shown, f"blocks.{index}.attn is gated")
        if attention.num_heads * attention.head_dim != host.embed_dim:
            raise _not_plain(place, shown, f"blocks.{index}.attn has heads that do not add up to embed_dim")
        if type(block.mlp) is not Mlp:
            raise _not_plain(place, shown, f"blocks.{index}.mlp is a {type(block.mlp).__name__}, not an Mlp")
        for norm in ("norm1", "norm2"):
            kind = type(getattr(block, norm))
            if not issubclass(kind, nn.LayerNorm):
                raise _not_plain(place, shown, f"blocks.{index}.{norm} is a {kind.__name__}, not a LayerNorm")
    if host.global_pool not in POOLINGS:
        listed = ", ".join(repr(pooling) for pooling in POOLINGS)
        raise _not_plain(place, shown, f"global_pool is {host.global_pool!r}, not one of {listed}")


def _not_plain(place: Place, shown: object, part: str) -> Exception:
    return place.error(
        shown, f"is not a plain Vision Transformer: {part}", "use a plain ViT, such as 'vit_base_patch16_224'"
    )


def _nearest_plain(name: str) -> str:
    """The nearest plain ViT; a name close to no ViT gets the nearest of all, which is refused with its own reason."""
    import timm

    plain = [known for module in _MODULES for known in timm.list_models(module=module)]
    architecture = name.partition(".")[0]
    for known, cutoff in ((plain, _CLOSE), (timm.list_models(), _MISSPELT)):
        nearest, *others = difflib.get_close_matches(architecture, known, n=3, cutoff=cutoff) or [""]
        if nearest:
            return f"did you mean '{nearest}'?" + (f" (or {', '.join(map(repr, others))})" if others else "")
    return "timm.list_models(module='vision_transformer') lists plain ViTs"


def _timm(place: Place) -> Any:
    # Here and not at the top: the import takes seconds and brings torch, and other recipes do without it.
    try:
        import timm
    except ImportError as error:
        raise place.error("timm", f"a timm host needs timm ({error})", INSTALL) from None
    return timm
