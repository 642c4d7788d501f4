"""A recipe's ``model = dict(type='timm', ...)``: a plain Vision Transformer of timm, for images, spectrograms or clips.

With ``name`` the keyword arguments change timm's model of that name; without it they are those of timm's
`VisionTransformer` itself. ``frames`` and ``tubelet`` are edgeexport's own: a clip of ``frames`` frames, whose patches
are ``tubelet`` frames deep; so is ``antialias``, how position embeddings of another image size are resampled.
"""

from __future__ import annotations

import difflib
from typing import Any

from edgeexport.config.place import Place
from edgeexport.config.values import MOST_LAYERS, boolean, choice, integer, number, pair, string
from edgeexport.hosts.timm_vit.branches import attention_branches, mlp_branches
from edgeexport.hosts.timm_vit.plain import POOLINGS, built_host, check_plain, check_timm_name, host_defaults, own_size
from edgeexport.hosts.timm_vit.spec import TimmVitSpec

__all__ = ["resolved_timm_model", "timm_from_config"]

_OWN = ("antialias", "frames", "name", "tubelet", "type")
# Dropout is off in inference, and weights come from a checkpoint or the recipe's seed.
_IGNORED = (
    "attn_drop_rate",
    "drop_path_rate",
    "drop_rate",
    "fix_init",
    "pos_drop_rate",
    "proj_drop_rate",
    "weight_init",
)
_WEIGHTS = "weights come from the recipe's checkpoint or seed, and nothing is fetched"
_PARTS = "the host's blocks and layers are timm's plain ones"
_PLACEMENT = "edgeexport decides where and how the host is built"
# Some of timm's models turn these on by themselves; a recipe may turn them off, which changes no weight.
_FIXED_SIZE = ("dynamic_img_pad", "dynamic_img_size")
# Key -> why only leaving it out (or False, None, 0) is possible.
_REFUSED = {
    "attn_layer": _PARTS,
    "block_fn": _PARTS,
    "cache_dir": _WEIGHTS,
    "checkpoint_path": _WEIGHTS,
    "device": _PLACEMENT,
    "dtype": _PLACEMENT,
    "dynamic_img_pad": "the graph has one input size",
    "dynamic_img_size": "the graph has one input size",
    "embed_layer": _PARTS,
    "features_only": "features are asked for with output='features', or 'feature_map'",
    "mlp_layer": _PARTS,
    "patch_drop_rate": "no patch may be dropped at random",
    "pretrained": _WEIGHTS,
    "pretrained_cfg": _WEIGHTS,
    "pretrained_cfg_overlay": _WEIGHTS,
}
_COUNTS = ("depth", "embed_dim", "in_chans", "num_classes", "num_heads")
_SWITCHES = (
    "class_token",
    "fc_norm",
    "final_norm",
    "no_embed_class",
    "pool_include_prefix",
    "pre_norm",
    "proj_bias",
    "qk_norm",
    "qkv_bias",
    "scale_attn_norm",
    "scale_mlp_norm",
)
_LAYERS = ("act_layer", "embed_norm_layer", "norm_layer")  # timm's names of layers
_DEFAULT_TUBELET = 2  # frames, as in video ViTs with patches of 2x16x16


def timm_from_config(value: object, place: Place) -> TimmVitSpec:
    """Validates ``model``; the host is built on the meta device to read its structure.

    ``arguments`` of the result name at least the image size, channels, classes and pooling; without ``name`` every
    plain default of `VisionTransformer` is written out, so that another version of timm builds the same host.

    Raises:
        RecipeError: An unknown name or key (the nearest is named), a wrong type, sizes that do not fit, or a host that
            is not a plain ViT.
    """
    assert isinstance(value, dict)
    name = None
    if value.get("name") is not None:
        name = string(value["name"], place.at("name"))
        check_timm_name(name, place.at("name"))
    defaults = host_defaults(place.at("type"), name)
    _check_keys(value, place, defaults)
    arguments = {
        key: _argument(key, entry, place.at(key))
        for key, entry in value.items()
        if key not in _OWN and key not in _IGNORED and entry is not None and (key not in _REFUSED or key in _FIXED_SIZE)
    }
    if name is None:
        arguments = {**_plain_defaults(defaults), **arguments}
    shown, at = (name, place.at("name")) if name is not None else ("timm", place.at("type"))
    try:
        host: Any = built_host(name, arguments)
        if (
            getattr(host, "dynamic_img_size", False) and "dynamic_img_size" not in value
        ):  # by its name: weights stay the same
            arguments["dynamic_img_size"] = False
            host = built_host(name, arguments)
    except Exception as error:  # timm checks its arguments by whatever fails first
        reason = " ".join(str(error).split()) or "no reason given"
        raise at.error(
            shown, f"timm cannot build this host: {type(error).__name__}: {reason}", "correct its arguments"
        ) from None
    check_plain(host, shown, at)
    return _spec(value, place, name, arguments, host)


def resolved_timm_model(value: dict[str, object], spec: TimmVitSpec) -> dict[str, object]:
    """The ``model`` as given, with every argument that the spec holds written out."""
    resolved = {**value, **spec.arguments}
    if spec.frames is not None:
        resolved["tubelet"] = spec.tubelet
    return resolved


def _check_keys(value: dict, place: Place, defaults: dict[str, object]) -> None:
    known = {*_OWN, *_IGNORED, *_REFUSED, *defaults}
    for key, entry in value.items():
        if key not in known:
            wanted = [*(known - {*_REFUSED, *_IGNORED})]
            close = difflib.get_close_matches(str(key), wanted, n=1, cutoff=0.5)
            kind = "Eva" if "use_rot_pos_emb" in defaults else "VisionTransformer"
            remedy = f"did you mean '{close[0]}'?" if close else f"keys are the keyword arguments of {kind}"
            raise place.at(key).error(entry, f"unknown key {key!r}: timm's {kind} has no such one", remedy)
        if key in _REFUSED and entry:
            raise place.at(key).error(entry, f"unsupported: {_REFUSED[key]}", f"leave {key} out")


def _argument(key: str, entry: object, place: Place) -> object:
    """One keyword argument, with the type that timm expects but does not check."""
    if key in _COUNTS:
        return integer(entry, place, int(key != "num_classes"), MOST_LAYERS if key == "depth" else None)
    if key == "reg_tokens":
        return integer(entry, place, minimum=0)
    if key in _SWITCHES or key in _FIXED_SIZE:
        return boolean(entry, place)
    if key == "img_size":
        return pair(entry, place)
    if key == "patch_size":
        height, width = pair(entry, place)
        if height != width:
            raise place.error(entry, f"unsupported: patches are square, found {height}x{width}", "give one number")
        return height
    if key in ("init_values", "mlp_ratio"):
        ratio = number(entry, place)
        if ratio <= 0:
            raise place.error(entry, "must be positive")
        return ratio
    if key == "global_pool":
        return choice(entry, place, POOLINGS)
    if key == "pos_embed":
        return choice(entry, place, ("learn", "none", ""))
    return string(entry, place) if key in _LAYERS else entry


def _plain_defaults(defaults: dict[str, object]) -> dict[str, object]:
    plain = {
        key: entry
        for key, entry in defaults.items()
        if key not in _IGNORED and key not in _REFUSED and isinstance(entry, (bool, int, float, str))
    }
    side = plain["img_size"]
    return {**plain, "img_size": (side, side)}


def _spec(value: dict, place: Place, name: str | None, arguments: dict[str, object], host: Any) -> TimmVitSpec:
    from timm.models.deit import VisionTransformerDistilled
    from torch import nn

    img_size, patch = tuple(host.patch_embed.img_size), host.patch_embed.patch_size
    if patch[0] != patch[1]:
        raise place.at("patch_size").error(patch, f"unsupported: patches are square, found {patch[0]}x{patch[1]}")
    own = name is not None and img_size == own_size(name)  # timm's may leave a border out
    for side_name, side in (("height", img_size[0]), ("width", img_size[1])):
        if side % patch[0] and not own:
            below = side - side % patch[0]
            nearest = f"{below} or {below + patch[0]}" if below else str(patch[0])
            raise place.at("img_size").error(
                img_size, f"the {side_name} {side} is not divisible by the patch size {patch[0]}", f"use {nearest}"
            )
    frames, tubelet = _clip(value, place)
    if frames is not None and not isinstance(host.patch_embed.norm, nn.Identity):
        raise place.at("frames").error(
            frames, "unsupported: clips are embedded without a norm", "leave embed_norm_layer out"
        )
    grid = tuple(host.patch_embed.grid_size)
    attentions, mlps = attention_branches(host.blocks[0]), mlp_branches(host.blocks[0])
    attention = attentions[0].layer
    shared = getattr(attention, "num_kv_heads", attention.num_heads)
    if any(getattr(block.attn, "num_kv_heads", shared) != shared for block in host.blocks if hasattr(block, "attn")):
        problem = "unsupported: its blocks share keys among different numbers of heads"
        raise place.at("num_kv_heads").error(shared, problem, "use a model whose blocks are alike")
    settled = {
        "img_size": img_size,
        "in_chans": host.in_chans if hasattr(host, "in_chans") else host.patch_embed.proj.in_channels,
        "num_classes": host.num_classes,
        "global_pool": host.global_pool,
    }
    return TimmVitSpec(
        type="timm",
        name=name,
        arguments={**arguments, **settled},
        img_size=img_size,
        patch_size=patch[0],
        in_channels=host.patch_embed.proj.in_channels,
        frames=frames,
        tubelet=tubelet,
        grid=grid if frames is None else (frames // tubelet, *grid),
        embed_dims=host.embed_dim,
        num_layers=len(host.blocks),
        num_heads=attention.num_heads,
        mlp_hidden=_hidden(mlps[0].layer),
        num_classes=host.num_classes,
        num_prefix=host.num_prefix_tokens,
        class_token=host.cls_token is not None,
        distilled=isinstance(host, VisionTransformerDistilled),
        global_pool=host.global_pool,
        final_norm=not isinstance(host.norm, nn.Identity),
        rotary=getattr(host, "rope", None) is not None,
        kv_dims=shared * attention.head_dim,
        parallel=len(attentions),
        antialias=boolean(value.get("antialias", True), place.at("antialias")),
    )


def _hidden(mlp: Any) -> int:
    """Channels of a plain MLP with as many multiply-accumulates: a gated one has a second product into its channels."""
    into = mlp.fc1.out_features if hasattr(mlp, "fc1") else mlp.fc1_g.out_features + mlp.fc1_x.out_features
    return (into + mlp.fc2.in_features) // 2


def _clip(value: dict, place: Place) -> tuple[int | None, int]:
    """Frames of a clip and the depth of its patches; (None, 1) for images."""
    if value.get("frames") is None:
        if value.get("tubelet") is not None:
            raise place.at("tubelet").error(value["tubelet"], "means nothing without frames", "add frames=16")
        return None, 1
    frames = integer(value["frames"], place.at("frames"), minimum=1)
    given = value.get("tubelet")
    tubelet = integer(_DEFAULT_TUBELET if given is None else given, place.at("tubelet"), minimum=1)
    if frames % tubelet:
        fitting = [str(depth) for depth in range(1, frames + 1) if frames % depth == 0]
        raise place.at("tubelet").error(
            tubelet, f"does not divide frames = {frames}", f"use one of {', '.join(fitting)}"
        )
    return frames, tubelet
