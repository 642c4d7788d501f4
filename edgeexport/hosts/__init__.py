"""Model families, a folder each: spec, config, the walk through its blocks, work, scopes."""

from __future__ import annotations

from edgeexport.hosts.decoder.host import LanguageModelHost
from edgeexport.hosts.host import Host
from edgeexport.hosts.sd_block.host import SdBlockHost
from edgeexport.hosts.segvit.host import SegVitHost
from edgeexport.hosts.timm_vit.host import TimmVitHost

__all__ = ["GRAPH_LISTS", "HOSTS", "NAMED"]

HOSTS: dict[str, Host] = {
    "EncoderDecoderPrune": SegVitHost(),
    "EncoderDecoder": SegVitHost(),
    "timm": TimmVitHost(),
    "sd_block": SdBlockHost(),
}
"""``model['type']`` of a recipe -> its family."""

NAMED: dict[str, Host] = {"timm": HOSTS["timm"]}
"""What stands ahead of a model's name in place of a recipe, ``timm:NAME`` -> the family that makes a recipe of it."""

GRAPH_LISTS: dict[str, LanguageModelHost] = {"decoder": LanguageModelHost()}
"""The same for families that are exported as several graphs, between which a cache goes."""
