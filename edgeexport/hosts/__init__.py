"""Model families, a folder each: spec, config, the walk through its blocks, work, scopes."""

from __future__ import annotations

from edgeexport.hosts.host import Host
from edgeexport.hosts.onnx_file.host import OnnxFileHost
from edgeexport.hosts.sd_block.host import SdBlockHost
from edgeexport.hosts.segvit.host import SegVitHost
from edgeexport.hosts.timm_vit.host import TimmVitHost

__all__ = ["FILES", "HOSTS", "NAMED"]

HOSTS: dict[str, Host] = {
    "EncoderDecoderPrune": SegVitHost(),
    "EncoderDecoder": SegVitHost(),
    "timm": TimmVitHost(),
    "sd_block": SdBlockHost(),
    "onnx_file": OnnxFileHost(),
}
"""``model['type']`` of a recipe -> its family."""

NAMED: dict[str, Host] = {"timm": HOSTS["timm"]}
"""What stands ahead of a model's name in place of a recipe, ``timm:NAME`` -> the family that makes a recipe of it."""

FILES: dict[str, Host] = {".onnx": HOSTS["onnx_file"]}
"""How a file's name ends that is given in place of a recipe -> the family that makes a recipe of it."""
