"""A recipe's ``model`` for a Segmenter: mmsegmentation's `EncoderDecoder` with one of Segmenter's decoders.

Keys and defaults are those of mmsegmentation 1.x. Keys that matter to training alone are accepted and ignored.
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
    reject_unless,
)
from edgeexport.hosts.segmentation.backbone_config import backbone_from_config, layer_norm_eps, resolved_backbone
from edgeexport.hosts.segmentation.spec import BackboneSpec
from edgeexport.hosts.segmentation.test_mode import slide_from_config
from edgeexport.hosts.segmenter.spec import DecoderSpec, SegmenterSpec

__all__ = ["FAMILY", "LINEAR", "MASK_TRANSFORMER", "resolved_segmenter", "segmenter_from_config"]

FAMILY = "Segmenter"
MASK_TRANSFORMER = "SegmenterMaskTransformerHead"
LINEAR = "FCNHead"

_IGNORED = ("auxiliary_head", "data_preprocessor", "init_cfg", "pretrained", "train_cfg")
_READ = ("backbone", "decode_head", "neck", "test_cfg", "type")
_HEAD_IGNORED = (
    "attn_drop_rate",
    "conv_cfg",
    "drop_path_rate",
    "drop_rate",
    "dropout_ratio",
    "ignore_index",
    "init_cfg",
    "init_std",
    "loss_decode",
    "sampler",
)
_HEAD_READ = ("channels", "in_channels", "in_index", "input_transform", "num_classes", "out_channels", "type")
_OWN = {
    MASK_TRANSFORMER: ("act_cfg", "embed_dims", "mlp_ratio", "norm_cfg", "num_heads", "num_layers", "qkv_bias"),
    LINEAR: ("act_cfg", "kernel_size", "norm_cfg"),
}
# Key -> (supported values, what another value would ask for). Each changes the result.
_FIXED: dict[str, tuple[tuple[object, ...], str]] = {
    "align_corners": ((False,), "predictions are resized without aligned corners"),
    "threshold": ((None,), "binary segmentation by threshold"),
}
_FIXED_OWN: dict[str, dict[str, tuple[tuple[object, ...], str]]] = {
    MASK_TRANSFORMER: {"num_fcs": ((2,), "the feed-forward network has two layers")},
    LINEAR: {
        "concat_input": ((False,), "the linear decoder has no convolution whose input could be concatenated"),
        "dilation": ((1,), "the linear decoder has no convolution"),
        "num_convs": ((0,), "Segmenter's linear decoder has no convolution"),
    },
}


def segmenter_from_config(value: object, place: Place) -> SegmenterSpec:
    """Validates ``model``.

    Raises:
        RecipeError: A key is unknown, missing, has the wrong type or range, or asks for what is not supported.
    """
    config = mapping(value, place, (*_IGNORED, *_READ))
    for key, example in (("backbone", "VisionTransformer"), ("decode_head", MASK_TRANSFORMER)):
        if key not in config:
            raise place.missing(key, f"{key}=dict(type='{example}', ...)")
    reject_unless(config.get("neck"), place.at("neck"), (None,), "the decoder reads the backbone directly")
    backbone = backbone_from_config(config["backbone"], place.at("backbone"))
    if backbone.type != "VisionTransformer":
        at = place.at("backbone").at("type")
        raise at.error(backbone.type, "does not go with a Segmenter", "write type='VisionTransformer'")
    decoder = _decoder(config["decode_head"], place.at("decode_head"), backbone)
    return SegmenterSpec(FAMILY, backbone, decoder, slide_from_config(config.get("test_cfg"), place.at("test_cfg")))


def resolved_segmenter(value: dict[str, object], spec: SegmenterSpec) -> dict[str, object]:
    """The ``model`` as given, with the defaults of every key that the inference depends on written out."""
    backbone, head, decoder = value["backbone"], value["decode_head"], spec.decode_head
    assert isinstance(backbone, dict) and isinstance(head, dict)
    own: dict[str, object] = {"num_convs": 0, "concat_input": False, "in_index": head.get("in_index", -1)}
    if decoder.type == MASK_TRANSFORMER:
        norm = head.get("norm_cfg", {"type": "LN"})
        own = {
            "embed_dims": decoder.embed_dims,
            "num_layers": decoder.num_layers,
            "num_heads": decoder.num_heads,
            "mlp_ratio": head.get("mlp_ratio", 4),
            "qkv_bias": decoder.qkv_bias,
            "norm_cfg": {**norm, "eps": decoder.norm_eps},
            "in_index": head.get("in_index", -1),
        }
    return {**value, "backbone": resolved_backbone(backbone, spec.backbone), "decode_head": {**head, **own}}


def _decoder(value: object, place: Place, backbone: BackboneSpec) -> DecoderSpec:
    if not isinstance(value, dict) or "type" not in value:
        raise place.missing("type", f"type='{MASK_TRANSFORMER}' or type='{LINEAR}'")
    kind = choice(value["type"], place.at("type"), tuple(_OWN))
    fixed = {**_FIXED, **_FIXED_OWN[kind]}
    config = mapping(value, place, {*_HEAD_IGNORED, *_HEAD_READ, *_OWN[kind], *fixed})
    if kind == LINEAR and "num_convs" not in config:
        raise place.at("num_convs").error(
            2, "is mmsegmentation's default; Segmenter's linear decoder has no convolution", "write num_convs=0"
        )
    if kind == LINEAR and "concat_input" not in config:
        raise place.at("concat_input").error(
            True,
            "is mmsegmentation's default; the linear decoder has nothing to concatenate",
            "write concat_input=False",
        )
    for key, (supported, reason) in fixed.items():
        if key in config:
            reject_unless(config[key], place.at(key), supported, reason)
    in_channels = _required(config, place, "in_channels", f"in_channels={backbone.embed_dims}")
    if in_channels != backbone.embed_dims:
        problem = f"differs from the backbone's embed_dims = {backbone.embed_dims}"
        raise place.at("in_channels").error(in_channels, problem, "make them equal")
    num_classes = _required(config, place, "num_classes", "num_classes=150")
    only = (None, num_classes)
    reject_unless(config.get("out_channels"), place.at("out_channels"), only, "one output per class is predicted")
    reject_unless(config.get("input_transform"), place.at("input_transform"), (None,), "the decoder reads one stage")
    stages = len(backbone.out_indices)
    index = integer(config.get("in_index", -1), place.at("in_index"), minimum=-stages, maximum=stages - 1)
    stage = (backbone.out_indices[index] + 1,)
    if kind == LINEAR:
        channels = _required(config, place, "channels", f"channels={in_channels}")
        if channels != in_channels:
            problem = f"differs from in_channels = {in_channels}, and there is no convolution between"
            raise place.at("channels").error(channels, problem, "make them equal")
        return DecoderSpec(kind, in_channels, in_channels, 0, 1, 4.0, True, 1e-5, num_classes, stage)
    if "channels" in config:
        integer(config["channels"], place.at("channels"), minimum=1)
    act = mapping(config.get("act_cfg", {"type": "GELU"}), place.at("act_cfg"), ("type",))
    reject_unless(act.get("type"), place.at("act_cfg").at("type"), ("GELU",), "the feed-forward network uses GELU")
    width = _required(config, place, "embed_dims", f"embed_dims={in_channels}")
    num_heads = _required(config, place, "num_heads", "num_heads=3")
    if width % num_heads:
        raise place.at("num_heads").error(num_heads, f"does not divide embed_dims = {width}")
    mlp_ratio = number(config.get("mlp_ratio", 4), place.at("mlp_ratio"))
    if mlp_ratio <= 0 or (mlp_ratio * width) % 1:
        problem = f"times embed_dims = {width} must be a whole number of channels"
        raise place.at("mlp_ratio").error(config.get("mlp_ratio"), problem)
    if "num_layers" not in config:
        raise place.missing("num_layers", "num_layers=2")
    return DecoderSpec(
        type=kind,
        in_channels=in_channels,
        embed_dims=width,
        num_layers=integer(config["num_layers"], place.at("num_layers"), minimum=1, maximum=MOST_LAYERS),
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        qkv_bias=boolean(config.get("qkv_bias", True), place.at("qkv_bias")),
        norm_eps=layer_norm_eps(config.get("norm_cfg", {"type": "LN"}), place.at("norm_cfg")),
        num_classes=num_classes,
        stages=stage,
    )


def _required(config: dict[str, object], place: Place, key: str, example: str) -> int:
    if key not in config:
        raise place.missing(key, example)
    return integer(config[key], place.at(key), minimum=1)
