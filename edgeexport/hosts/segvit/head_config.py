"""The heads of a recipe's ``model``: DToP's `PruneHead` and SegViT's `ATMHead`.

Keys and defaults are those of the published heads and of mmsegmentation's `BaseDecodeHead` beneath them. ``img_size``
is checked and not used: predictions are resized to the input's own size, which need not be square.
"""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import MOST_LAYERS, choice, integer, mapping, number, pair, reject_unless, sequence
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec

__all__ = ["HEAD_TYPES", "check_head_type", "head_from_config"]

# BaseDecodeHead: training, and the convolution that both heads remove.
_IGNORED_BASE = (
    "act_cfg",
    "conv_cfg",
    "dropout_ratio",
    "ignore_index",
    "init_cfg",
    "loss_decode",
    "norm_cfg",
    "sampler",
)
_READ_BASE = (
    "channels",
    "img_size",
    "in_channels",
    "in_index",
    "input_transform",
    "num_classes",
    "out_channels",
    "type",
)
_IGNORED = {"PruneHead": (), "ATMHead": ("CE_loss", "crop_train", "shrink_ratio")}
_READ = {
    "PruneHead": ("layers_per_decoder", "num_heads", "thresh"),
    "ATMHead": ("embed_dims", "num_heads", "num_layers", "use_stages"),
}
# Key -> (supported values, what another value would ask for). Each changes the result.
_FIXED_BASE: dict[str, tuple[tuple[object, ...], str]] = {
    "align_corners": ((False,), "predictions are resized without aligned corners"),
    "threshold": ((None,), "binary segmentation by threshold"),
}
_FIXED = {
    "PruneHead": _FIXED_BASE,
    "ATMHead": {**_FIXED_BASE, "use_proj": ((True,), "every stage is projected to the head's width")},
}
HEAD_TYPES = tuple(_READ)
# SegViT's shrunk variant: a backbone that queries fewer tokens between its blocks, and the head that reads both resolutions.
_SHRUNK_HEADS = ("TPNATMHead", "TPNATMROLLHead")


def check_head_type(value: object, place: Place) -> None:
    """Refuses heads of SegViT's shrunk variant by name, ahead of the backbone that goes with them. Raises: RecipeError."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in _SHRUNK_HEADS:
        raise place.at("type").error(
            kind,
            "unsupported: the head of SegViT's shrunk variant, whose backbone (vit_shrink) halves the grid between its blocks",
            "use a config with VisionTransformer and ATMHead; tokens are reduced by reduction=dict(cts=..., tome=...) here",
        )


def head_from_config(value: object, place: Place, backbone: BackboneSpec) -> HeadSpec:
    """Validates ``model.decode_head`` or one ``model.auxiliary_head``.

    Raises:
        RecipeError: A key is unknown, missing, has the wrong type or range, does not fit the backbone, or asks for what
            is not supported.
    """
    if not isinstance(value, dict) or "type" not in value:
        raise place.missing("type", "type='PruneHead' or type='ATMHead'")
    kind = choice(value["type"], place.at("type"), HEAD_TYPES)
    known = {*_IGNORED_BASE, *_READ_BASE, *_IGNORED[kind], *_READ[kind], *_FIXED[kind]}
    config = mapping(value, place, known)
    for key, (supported, reason) in _FIXED[kind].items():
        if key in config:
            reject_unless(config[key], place.at(key), supported, reason)
    if "img_size" in config:
        pair(config["img_size"], place.at("img_size"))

    in_channels = _required(config, place, "in_channels", f"in_channels={backbone.embed_dims}")
    if in_channels != backbone.embed_dims:
        raise place.at("in_channels").error(
            in_channels, f"differs from the backbone's embed_dims = {backbone.embed_dims}", "make them equal"
        )
    num_classes = _required(config, place, "num_classes", "num_classes=150")
    reject_unless(
        config.get("out_channels"), place.at("out_channels"), (None, num_classes), "one output per class is predicted"
    )
    width, num_layers, num_heads, threshold = _decoder(config, place, kind)
    if width % num_heads:
        raise place.at("num_heads").error(num_heads, f"does not divide the head's width of {width} channels")
    return HeadSpec(
        type=kind,
        in_channels=in_channels,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_classes=num_classes,
        stages=_prune_stage(config, place, backbone) if kind == "PruneHead" else _atm_stages(config, place, backbone),
        threshold=threshold,
    )


def _decoder(config: dict[str, object], place: Place, kind: str) -> tuple[int, int, int, float | None]:
    """Width, layers per decoder, attention heads and threshold, with the published heads' defaults."""
    if kind == "PruneHead":
        threshold = number(config.get("thresh", 1.0), place.at("thresh"))
        if not 0 <= threshold <= 1:
            raise place.at("thresh").error(threshold, "out of range: a confidence lies between 0 and 1")
        width = _required(config, place, "channels", "channels=384")
        layers, default_heads = "layers_per_decoder", 6
        num_layers = integer(config.get(layers, 2), place.at(layers), 1, MOST_LAYERS)
    else:
        threshold = None
        width = integer(config.get("embed_dims", 768), place.at("embed_dims"), minimum=1)
        default_heads = 8
        num_layers = integer(config.get("num_layers", 3), place.at("num_layers"), 1, MOST_LAYERS)
        if "channels" in config:
            integer(config["channels"], place.at("channels"), minimum=1)
    return width, num_layers, integer(config.get("num_heads", default_heads), place.at("num_heads"), 1), threshold


def _required(config: dict[str, object], place: Place, key: str, example: str) -> int:
    if key not in config:
        raise place.missing(key, example)
    return integer(config[key], place.at(key), minimum=1)


def _prune_stage(config: dict[str, object], place: Place, backbone: BackboneSpec) -> tuple[int]:
    """The 1-based block that a PruneHead reads: ``out_indices[in_index] + 1``."""
    reject_unless(config.get("input_transform"), place.at("input_transform"), (None,), "the head reads one stage")
    stages = len(backbone.out_indices)
    index = integer(config.get("in_index", -1), place.at("in_index"), minimum=-stages, maximum=stages - 1)
    return (backbone.out_indices[index] + 1,)


def _atm_stages(config: dict[str, object], place: Place, backbone: BackboneSpec) -> tuple[int, ...]:
    """The 1-based blocks that an ATMHead reads, deepest first.

    The published head takes the first ``use_stages`` backbone outputs, whatever ``in_index`` says.
    """
    stages = len(backbone.out_indices)
    used = integer(config.get("use_stages", 3), place.at("use_stages"), minimum=1)
    if used > stages:
        raise place.at("use_stages").error(
            used, f"the backbone has {stages} output{'s'[: stages > 1]}", f"write use_stages={stages}"
        )
    index = config.get("in_index", -1)
    if isinstance(index, (list, tuple)):
        positions = [integer(entry, place.at("in_index").at(i)) for i, entry in enumerate(sequence(index, place))]
        wanted: object = list(range(used))
        fits = [position % stages for position in positions] == wanted
    else:
        wanted, fits = -1, index == -1
    if not fits:
        raise place.at("in_index").error(
            index, f"ATMHead reads the first use_stages = {used} backbone outputs", f"write in_index={wanted}"
        )
    transform = (None, "multiple_select") if isinstance(index, (list, tuple)) else (None,)
    reject_unless(config.get("input_transform"), place.at("input_transform"), transform, "stages are read as they are")
    return tuple(block + 1 for block in reversed(backbone.out_indices[:used]))
