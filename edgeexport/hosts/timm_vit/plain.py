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

__all__ = ["POOLINGS", "built_host", "check_plain", "check_timm_name", "host_defaults", "own_size"]

POOLINGS = ("token", "avg", "max", "avgmax", "map")  # timm's ways from tokens to logits that merging keeps defined
_MODULES = ("vision_transformer", "deit", "eva")  # where timm registers its plain ViTs
_NO_PLACES = "its attention weighs tokens by how they lie to each other, and a merged token lies nowhere"
_STAGES = "it works in windows or in stages of fewer tokens"
# timm's family -> what keeps token merging from being defined.
_WHY_NOT = {
    "beit": _NO_PLACES,
    "vision_transformer_relpos": _NO_PLACES,
    "vision_transformer_sam": _STAGES,
    "vision_transformer_hybrid": "its patches come out of a convolutional network",
    "naflexvit": "its patches differ in number from image to image",
    "cait": "the class token joins late, and attention mixes its heads before and after the softmax",
    "xcit": "its attention is between channels, not between tokens",
    "convit": _NO_PLACES,
    "deepseek_vit": "its blocks are not timm's plain ones",
    **dict.fromkeys(("hiera", "mvitv2", "swin_transformer", "swin_transformer_v2", "vitamin"), _STAGES),
}
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
        inner = name.rpartition("/")[2]
        own = inner if timm.is_model(inner) else "deit_small_patch16_224"
        raise place.error(
            name,
            "names a place to fetch a model from, and nothing is fetched",
            f"write timm's own name, such as {own!r}, and give the weights as checkpoint",
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
    if module not in _MODULES and (module in _WHY_NOT or not module.startswith("vision_transformer")):
        reason = f": {_WHY_NOT[module]}" if module in _WHY_NOT else ""
        raise _not_plain(place, name, f"it is of timm's family '{module}'{reason}")


def own_size(name: str) -> tuple[int, ...]:
    """(Height, width) of the images that timm's model of this name is for."""
    import timm

    found = timm.models.get_pretrained_cfg(name)
    assert found is not None
    return tuple(found.input_size[1:])


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


def host_defaults(place: Place, name: str | None = None) -> dict[str, object]:
    """Keyword arguments of the class that timm makes ``name`` of, `VisionTransformer` without one, with their defaults.

    Raises:
        RecipeError: timm is not installed.
    """
    timm = _timm(place)
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    rotary = name is not None and timm.model_entrypoint(name).__module__.endswith(".eva")
    parameters = inspect.signature((Eva if rotary else VisionTransformer).__init__).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key != "self"}


def check_plain(host: Any, shown: object, place: Place) -> None:
    """Checks that every part of a built host is one of timm's plain ones, so that merging between attention and MLP is defined.

    Free choices: qk_norm, LayerScale, scale norms, register tokens, pre_norm, fc_norm, no_embed_class, pos_embed, gated MLPs,
    norms ahead of a branch or behind it, several branches side by side; of `Eva` rotary positions, shared keys and values.

    Args:
        host: What `built_host` returned.
        shown: What the recipe calls it, for the message.
        place: Where that stands.

    Raises:
        RecipeError: Names the first part that is another one.
    """
    from timm.layers import PatchEmbed, RotaryEmbeddingCat, RotaryEmbeddingDinoV3
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    if type(host) not in (VisionTransformer, VisionTransformerDistilled, Eva):
        wanted = "timm's VisionTransformer, VisionTransformerDistilled or Eva"
        raise _not_plain(place, shown, f"its class is {type(host).__name__}, not {wanted}")
    embed = host.patch_embed
    if type(embed) is not PatchEmbed:
        raise _not_plain(place, shown, f"patch_embed is a {type(embed).__name__}, not a PatchEmbed")
    for switch, on in (("dynamic_img_size", host.dynamic_img_size), ("dynamic_img_pad", embed.dynamic_img_pad)):
        if on:
            problem = f"{switch} is on, and the graph's size is fixed"
            raise place.error(shown, problem, f"add {switch}=False to model: its weights stay the same")
    if host.patch_drop is not None and not isinstance(host.patch_drop, nn.Identity):
        raise _not_plain(place, shown, "patch_drop drops patches at random")
    rope = getattr(host, "rope", None)
    if rope is not None and type(rope) not in (RotaryEmbeddingCat, RotaryEmbeddingDinoV3):
        raise _not_plain(place, shown, f"rope is a {type(rope).__name__}, whose angles every block has of its own")
    for index, block in enumerate(host.blocks):
        if part := _other_part(block, host.embed_dim):
            raise _not_plain(place, shown, f"blocks.{index}{part}")
    if host.global_pool not in POOLINGS:
        listed = ", ".join(repr(pooling) for pooling in POOLINGS)
        raise _not_plain(place, shown, f"global_pool is {host.global_pool!r}, not one of {listed}")


def _other_part(block: Any, width: int) -> str:
    """The first part of a block that is not a plain one, and why; empty where all are."""
    from timm.layers import Attention, AttentionRope, GluMlp, Mlp, RmsNorm, SwiGLU
    from timm.models.eva import EvaAttention, EvaBlock, EvaBlockPostNorm
    from timm.models.vision_transformer import Block, ParallelThingsBlock, ResPostBlock
    from torch import nn

    from edgeexport.hosts.timm_vit.branches import attention_branches, mlp_branches

    if type(block).__name__.endswith("ParallelScalingBlock"):
        return f" is a {type(block).__name__}: attention and MLP act on the same tokens, with no place between them to merge"
    if type(block) not in (Block, ResPostBlock, ParallelThingsBlock, EvaBlock, EvaBlockPostNorm):
        return f" is a {type(block).__name__}, not a Block"
    kinds = (nn.LayerNorm, RmsNorm, nn.Identity)
    for norm, attention, _ in attention_branches(block):
        if type(attention) not in (Attention, EvaAttention, AttentionRope):
            return f".attn is a {type(attention).__name__}, not an Attention"
        if getattr(attention, "gate", None) is not None:
            return ".attn is gated"
        if attention.num_heads * attention.head_dim != width:
            return ".attn has heads that do not add up to embed_dim"
        if not isinstance(norm, kinds):
            return f".norm1 is a {type(norm).__name__}, not a LayerNorm"
    for norm, mlp, _ in mlp_branches(block):
        if type(mlp) not in (Mlp, GluMlp, SwiGLU):
            return f".mlp is a {type(mlp).__name__}, not an Mlp, GluMlp or SwiGLU"
        if not isinstance(norm, kinds):
            return f".norm2 is a {type(norm).__name__}, not a LayerNorm"
    return ""


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
