"""The backbone of a recipe's ``model``: mmsegmentation's `VisionTransformer`, and DToP's `ViT_prune` built on it.

Keys and defaults are those of mmsegmentation 1.x. Keys that matter to training alone are accepted and ignored; keys
that change the inference are read, or refused where edgeexport does not compute what they ask for.
"""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import (
    MOST_LAYERS,
    boolean,
    choice,
    integer,
    mapping,
    number,
    pair,
    reject_unless,
    sequence,
)
from edgeexport.hosts.segmentation.spec import BackboneSpec

__all__ = ["BACKBONE_TYPES", "backbone_from_config", "layer_norm_eps", "resolved_backbone"]

BACKBONE_TYPES = ("VisionTransformer", "ViT_prune")

# Training, initialisation and memory use; dropout of any kind is off in inference.
_IGNORED = (
    "attn_drop_rate",
    "drop_path_rate",
    "drop_rate",
    "frozen_exclude",
    "init_cfg",
    "norm_eval",
    "pretrained",
    "with_cp",
)
_READ = (
    "act_cfg",
    "embed_dims",
    "final_norm",
    "img_size",
    "in_channels",
    "interpolate_mode",
    "mlp_ratio",
    "norm_cfg",
    "num_heads",
    "num_layers",
    "out_indices",
    "patch_bias",
    "patch_size",
    "qkv_bias",
    "type",
    "with_cls_token",
    "with_dist_token",
)
# Key -> (supported values, what another value would ask for). Each changes the result.
_FIXED: dict[str, tuple[tuple[object, ...], str]] = {
    "num_fcs": ((2,), "the feed-forward network has two layers"),
    "out_origin": ((False,), "the embedded input cannot be a backbone output"),
    "output_cls_token": ((False,), "the heads read patch tokens only"),
    # Both pad only where the patch size does not divide the image, which is refused anyway.
    "patch_pad": (("corner", "same", 0), "images are a multiple of the patch size, without padding"),
    "patch_norm": ((False,), "there is no norm in the patch embedding"),
    "pre_norm": ((False,), "there is no norm before the first block"),
}
# ViT_prune takes the head's class count, for its canvas, and a training switch.
_PRUNE_ONLY = ("freeze", "num_classes")

_LAYER_NORM_EPS = 1e-5  # torch.nn.LayerNorm's, which mmcv's norm_cfg=dict(type='LN') leaves as it is


def backbone_from_config(value: object, place: Place) -> BackboneSpec:
    """Validates ``model.backbone``.

    Raises:
        RecipeError: A key is unknown, has the wrong type or range, or asks for what is not supported.
    """
    kind = _type_of(value, place)
    known = {*_IGNORED, *_READ, *_FIXED, *(_PRUNE_ONLY if kind == "ViT_prune" else ())}
    config = mapping(value, place, known)
    for key, (supported, reason) in _FIXED.items():
        if key in config:
            reject_unless(config[key], place.at(key), supported, reason)
    _check_activation(config.get("act_cfg", {"type": "GELU"}), place.at("act_cfg"))

    num_layers = integer(config.get("num_layers", 12), place.at("num_layers"), minimum=1, maximum=MOST_LAYERS)
    embed_dims = integer(config.get("embed_dims", 768), place.at("embed_dims"), minimum=1)
    num_heads = integer(config.get("num_heads", 12), place.at("num_heads"), minimum=1)
    if embed_dims % num_heads:
        raise place.at("num_heads").error(num_heads, f"does not divide embed_dims = {embed_dims}")
    mlp_ratio = number(config.get("mlp_ratio", 4), place.at("mlp_ratio"))
    if mlp_ratio <= 0 or (mlp_ratio * embed_dims) % 1:
        raise place.at("mlp_ratio").error(
            config.get("mlp_ratio"), f"times embed_dims = {embed_dims} must be a whole number of channels"
        )
    patch_size = integer(config.get("patch_size", 16), place.at("patch_size"), minimum=1)
    img_size = pair(config.get("img_size", 224), place.at("img_size"))
    if min(img_size) < patch_size:
        raise place.at("img_size").error(config.get("img_size", 224), f"is smaller than one patch of {patch_size}")
    final_norm = boolean(config.get("final_norm", False), place.at("final_norm"))
    with_cls_token = boolean(config.get("with_cls_token", True), place.at("with_cls_token"))
    if kind == "ViT_prune":
        # The published ViT_prune runs its final head before this norm, so that the norm reaches no prediction.
        reject_unless(final_norm, place.at("final_norm"), (False,), "ViT_prune's heads read tokens before any norm")
        if with_cls_token:
            given = "" if "with_cls_token" in config else " (the default)"
            raise place.at("with_cls_token").error(
                True, f"unsupported{given}: DToP runs without a class token", "write with_cls_token=False"
            )
    with_dist_token = boolean(config.get("with_dist_token", False), place.at("with_dist_token"))
    if with_dist_token and not with_cls_token:
        problem = "a distillation token stands behind a class token, and there is none"
        raise place.at("with_dist_token").error(True, problem, "write with_cls_token=True, or leave it out")
    return BackboneSpec(
        type=kind,
        img_size=img_size,
        patch_size=patch_size,
        in_channels=integer(config.get("in_channels", 3), place.at("in_channels"), minimum=3, maximum=3),
        embed_dims=embed_dims,
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        qkv_bias=boolean(config.get("qkv_bias", True), place.at("qkv_bias")),
        # mmseg 1.x's VisionTransformer embeds without a bias; the version that DToP's code carries has one.
        patch_bias=boolean(config.get("patch_bias", kind == "ViT_prune"), place.at("patch_bias")),
        norm_eps=layer_norm_eps(config.get("norm_cfg", {"type": "LN"}), place.at("norm_cfg")),
        final_norm=final_norm,
        with_cls_token=with_cls_token,
        interpolate_mode=choice(
            config.get("interpolate_mode", "bicubic"), place.at("interpolate_mode"), ("bicubic", "bilinear")
        ),
        out_indices=_out_indices(config.get("out_indices", -1), num_layers, place.at("out_indices")),
        with_dist_token=with_dist_token,
    )


def resolved_backbone(given: dict[str, object], backbone: BackboneSpec) -> dict[str, object]:
    """``model.backbone`` as given, with the defaults of every key that the inference depends on written out."""
    norm = given.get("norm_cfg", {"type": "LN"})
    assert isinstance(norm, dict)
    return {
        **given,
        "img_size": list(backbone.img_size),
        "patch_size": backbone.patch_size,
        "in_channels": backbone.in_channels,
        "embed_dims": backbone.embed_dims,
        "num_layers": backbone.num_layers,
        "num_heads": backbone.num_heads,
        "mlp_ratio": given.get("mlp_ratio", 4),
        "qkv_bias": backbone.qkv_bias,
        "patch_bias": backbone.patch_bias,
        "norm_cfg": {**norm, "eps": backbone.norm_eps},
        "final_norm": backbone.final_norm,
        "with_cls_token": backbone.with_cls_token,
        "interpolate_mode": backbone.interpolate_mode,
        "out_indices": list(backbone.out_indices),
        **({"with_dist_token": True} if backbone.with_dist_token else {}),
    }


def layer_norm_eps(value: object, place: Place) -> float:
    """The eps of ``norm_cfg=dict(type='LN', ...)``.

    Raises:
        RecipeError: Another norm, or no positive eps.
    """
    config = mapping(value, place, ("type", "eps", "requires_grad"))
    reject_unless(config.get("type"), place.at("type"), ("LN",), "the blocks use LayerNorm")
    eps = number(config.get("eps", _LAYER_NORM_EPS), place.at("eps"))
    if eps <= 0:
        raise place.at("eps").error(eps, "must be positive")
    return eps


def _type_of(value: object, place: Place) -> str:
    if not isinstance(value, dict) or "type" not in value:
        raise place.missing("type", "type='ViT_prune' or type='VisionTransformer'")
    return choice(value["type"], place.at("type"), BACKBONE_TYPES)


def _check_activation(value: object, place: Place) -> None:
    config = mapping(value, place, ("type",))
    reject_unless(config.get("type"), place.at("type"), ("GELU",), "the feed-forward network uses GELU")


def _out_indices(value: object, num_layers: int, place: Place) -> tuple[int, ...]:
    """0-based blocks whose outputs the heads can read, ascending; -1 alone is the last block, as in mmseg."""
    last = num_layers - 1
    if not isinstance(value, (list, tuple)):
        block = integer(value, place, minimum=-1, maximum=last)
        return (last if block == -1 else block,)
    entries = sequence(value, place)
    if not entries:
        raise place.error(value, "expected at least one block", f"write out_indices=[{last}]")
    blocks = [integer(block, place.at(i), minimum=0, maximum=last) for i, block in enumerate(entries)]
    if sorted(set(blocks)) != blocks:
        raise place.error(value, "must be ascending, without repetition: mmseg returns the outputs in that order")
    return tuple(blocks)
