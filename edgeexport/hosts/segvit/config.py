"""A recipe's ``model``: the segmentor in mmsegmentation's form, as users of the published code have it."""

from __future__ import annotations

from dataclasses import replace

from edgeexport.config.place import Place
from edgeexport.config.values import choice, integer, mapping, reject_unless, sequence
from edgeexport.hosts.segmentation.backbone_config import backbone_from_config, resolved_backbone
from edgeexport.hosts.segmentation.test_mode import slide_from_config
from edgeexport.hosts.segvit.head_config import check_head_type, head_from_config
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec

__all__ = ["resolved_model", "segvit_from_config"]

_IGNORED = ("data_preprocessor", "init_cfg", "pretrained", "train_cfg")
_READ = ("auxiliary_head", "backbone", "decode_head", "neck", "test_cfg", "type")
# Segmentor -> (its backbone, its heads). The two segmentors call their parts differently, so parts do not mix.
_PARTS = {"EncoderDecoderPrune": ("ViT_prune", "PruneHead"), "EncoderDecoder": ("VisionTransformer", "ATMHead")}


def segvit_from_config(value: object, place: Place) -> SegVitSpec:
    """Validates ``model``. A golden ``config.json`` of the published code is such a value.

    Auxiliary heads of an `EncoderDecoder` take part in training only and are ignored.

    Raises:
        RecipeError: See `backbone_from_config` and `head_from_config`; or the parts do not belong together.
    """
    if not isinstance(value, dict) or "type" not in value:
        raise place.missing("type", "type='EncoderDecoderPrune' or type='EncoderDecoder'")
    kind = choice(value["type"], place.at("type"), tuple(_PARTS))
    config = mapping(value, place, (*_IGNORED, *_READ))
    for key in ("backbone", "decode_head"):
        if key not in config:
            raise place.missing(key, f"{key}=dict(type='{_PARTS[kind][key == 'decode_head']}', ...)")
    reject_unless(config.get("neck"), place.at("neck"), (None,), "the heads read the backbone directly")

    check_head_type(config["decode_head"], place.at("decode_head"))
    backbone = backbone_from_config(config["backbone"], place.at("backbone"))
    decode_head = head_from_config(config["decode_head"], place.at("decode_head"), backbone)
    for key, part, wanted in (
        ("backbone", backbone.type, _PARTS[kind][0]),
        ("decode_head", decode_head.type, _PARTS[kind][1]),
    ):
        if part != wanted:
            raise place.at(key).at("type").error(part, f"does not go with {kind}", f"write type='{wanted}'")
    auxiliary: tuple[HeadSpec, ...] = ()
    if kind == "EncoderDecoderPrune":
        _check_class_counts(config["backbone"], place, decode_head)
        if decode_head.stages[0] != backbone.out_indices[-1] + 1:
            raise (
                place.at("decode_head")
                .at("in_index")
                .error(
                    _dict(config["decode_head"]).get("in_index"),
                    "the final head reads the last of the backbone's out_indices",
                    "leave in_index out",
                )
            )
        auxiliary = _auxiliary_heads(config.get("auxiliary_head"), place.at("auxiliary_head"), backbone, decode_head)
        decode_head = replace(decode_head, threshold=None)  # nothing is pruned after the last head
    slide = slide_from_config(config.get("test_cfg"), place.at("test_cfg"))
    return SegVitSpec(kind, backbone, decode_head, auxiliary, slide)


def resolved_model(value: dict[str, object], spec: SegVitSpec) -> dict[str, object]:
    """The ``model`` as given, with the defaults of every key that the inference depends on written out."""
    resolved = dict(value)
    resolved["backbone"] = resolved_backbone(_dict(value["backbone"]), spec.backbone)
    resolved["decode_head"] = _resolved_head(_dict(value["decode_head"]), spec.decode_head)
    given_heads = value.get("auxiliary_head")
    if spec.auxiliary_heads and isinstance(given_heads, (list, tuple)):
        heads = zip(given_heads, spec.auxiliary_heads, strict=True)
        resolved["auxiliary_head"] = [_resolved_head(_dict(given), head) for given, head in heads]
    return resolved


def _resolved_head(given: dict[str, object], head: HeadSpec) -> dict[str, object]:
    if head.type == "PruneHead":
        own: dict[str, object] = {"layers_per_decoder": head.num_layers, "thresh": given.get("thresh", 1.0)}
    else:
        own = {"num_layers": head.num_layers, "embed_dims": head.width, "use_stages": len(head.stages)}
    return {**given, **own, "num_heads": head.num_heads, "in_index": given.get("in_index", -1)}


def _dict(value: object) -> dict[str, object]:
    """A part that validation has already found to be a dict."""
    assert isinstance(value, dict)
    return value


def _check_class_counts(backbone: object, place: Place, decode_head: HeadSpec) -> None:
    """ViT_prune repeats the class count, for the canvas that collects mask logits."""
    count = _dict(backbone).get("num_classes", decode_head.num_classes)
    at = place.at("backbone").at("num_classes")
    if integer(count, at, minimum=1) != decode_head.num_classes:
        raise at.error(count, f"differs from decode_head's num_classes = {decode_head.num_classes}", "make them equal")


def _auxiliary_heads(
    value: object, place: Place, backbone: BackboneSpec, decode_head: HeadSpec
) -> tuple[HeadSpec, ...]:
    """Heads in the config's order, which is the checkpoint's (``auxiliary_head.<i>``) and must be that of depth."""
    if value is None:
        return ()
    heads: list[HeadSpec] = []
    depth = 0
    for position, config in enumerate(sequence(value, place)):
        at = place.at(position)
        head = head_from_config(config, at, backbone)
        if head.type != "PruneHead":
            raise at.at("type").error(head.type, "does not go with EncoderDecoderPrune", "write type='PruneHead'")
        if head.num_classes != decode_head.num_classes:
            raise at.at("num_classes").error(
                head.num_classes, f"differs from decode_head's num_classes = {decode_head.num_classes}"
            )
        block, final = head.stages[0], decode_head.stages[0]
        if not depth < block < final:
            rule = (
                f"reads block {block}, but block {final} belongs to decode_head"
                if block >= final
                else f"reads block {block} after a head at block {depth}: heads go in order of depth, one a block"
            )
            raise at.at("in_index").error(_dict(config).get("in_index", -1), rule, _stage_list(backbone))
        depth = block
        heads.append(head)
    return tuple(heads)


def _stage_list(backbone: BackboneSpec) -> str:
    stages = [f"in_index={index} is block {block + 1}" for index, block in enumerate(backbone.out_indices)]
    return "backbone outputs: " + ", ".join(stages)
