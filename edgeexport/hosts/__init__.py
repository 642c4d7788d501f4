"""Model families, a folder each: spec, config, the walk through its blocks, work, scopes."""

from __future__ import annotations

from edgeexport.hosts.host import Host
from edgeexport.hosts.sd_block.host import SdBlockHost
from edgeexport.hosts.segvit.host import SegVitHost
from edgeexport.hosts.timm_vit.host import TimmVitHost

__all__ = ["HOSTS"]

HOSTS: dict[str, Host] = {
    "EncoderDecoderPrune": SegVitHost(),
    "EncoderDecoder": SegVitHost(),
    "timm": TimmVitHost(),
    "sd_block": SdBlockHost(),
}
"""``model['type']`` of a recipe -> its family."""
