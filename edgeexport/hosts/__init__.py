"""Model families, a folder each: spec, config, the walk through its blocks, work, scopes."""

from __future__ import annotations

from collections.abc import Mapping

from edgeexport.hosts.decoder.host import LanguageModelHost
from edgeexport.hosts.host import Host
from edgeexport.hosts.onnx_file.host import OnnxFileHost
from edgeexport.hosts.sd_block.host import SdBlockHost
from edgeexport.hosts.segmenter.host import SegmenterHost
from edgeexport.hosts.segvit.host import SegVitHost
from edgeexport.hosts.timm_vit.host import TimmVitHost

__all__ = ["DECODE_HEADS", "FILES", "GRAPH_LISTS", "HOSTS", "NAMED", "host_of_model"]

HOSTS: dict[str, Host] = {
    "EncoderDecoderPrune": SegVitHost(),
    "EncoderDecoder": SegVitHost(),
    "Segmenter": SegmenterHost(),
    "timm": TimmVitHost(),
    "sd_block": SdBlockHost(),
    "onnx_file": OnnxFileHost(),
}
"""``type`` of a model's spec, and of ``model`` in a recipe -> its family."""

DECODE_HEADS: dict[str, Host] = {
    "SegmenterMaskTransformerHead": HOSTS["Segmenter"],
    "FCNHead": HOSTS["Segmenter"],
}
"""What tells mmsegmentation's 'EncoderDecoder' apart: ``type`` of its ``decode_head`` -> the family; others are SegViT's."""

NAMED: dict[str, Host] = {"timm": HOSTS["timm"]}
"""What stands ahead of a model's name in place of a recipe, ``timm:NAME`` -> the family that makes a recipe of it."""

GRAPH_LISTS: dict[str, LanguageModelHost] = {"decoder": LanguageModelHost()}
"""The same for families that are exported as several graphs, between which a cache goes."""


FILES: dict[str, Host] = {".onnx": HOSTS["onnx_file"]}
"""How a file's name ends that is given in place of a recipe -> the family that makes a recipe of it."""


def host_of_model(kind: str, model: Mapping[str, object]) -> Host:
    """The family of a recipe's ``model``, of which ``kind`` is a known type."""
    head = model.get("decode_head")
    if kind == "EncoderDecoder" and isinstance(head, Mapping):
        return DECODE_HEADS.get(str(head.get("type")), HOSTS[kind])
    return HOSTS[kind]
