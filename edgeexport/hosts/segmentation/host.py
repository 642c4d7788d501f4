"""What families of segmenters answer alike: a plain Vision Transformer beneath a head that predicts a class for every patch.

Their specs have ``backbone``, a `BackboneSpec`, and ``decode_head`` with ``num_classes``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from edgeexport.config.labels import palette_from_config
from edgeexport.config.place import Place
from edgeexport.cost.macs import BlockMacs
from edgeexport.hosts.checkpoint_file import Checkpoint
from edgeexport.hosts.host import Host, TailSpec, vit_macs
from edgeexport.hosts.segmentation.input_config import input_from_config, tail_from_config
from edgeexport.hosts.segmentation.patch_bias import state_with_patch_bias
from edgeexport.hosts.segmentation.test_mode import checked_slide, window_grid
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BranchTokens
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["SegmentationHost"]


class SegmentationHost(Host):
    """See `Host`."""

    outputs: ClassVar[tuple[str, ...]] = ("class_map", "scores")
    counts_prefix: ClassVar[bool] = False

    @abstractmethod
    def why_no_fast_tail(self, spec: Any) -> str:
        """Why a class map cannot be made from scores per patch; empty where it can."""

    def patch_size(self, spec: Any) -> int:
        """Of the backbone."""
        return int(spec.backbone.patch_size)

    def input_from_config(self, value: object, place: Place, spec: Any, sides: tuple[int, str]) -> InputSpec:
        """See `input_from_config`; where windows slide, it is them that have to be of whole patches."""
        if spec.slide is None:
            return input_from_config(value, place, *sides)
        size = input_from_config(value, place, 1, "1")
        checked_slide(spec.slide, Place(place.file).at("model").at("test_cfg"), size, *sides)
        return size

    def sized(self, spec: Any, size: InputSpec) -> Any:
        """Without windows where one is the whole image."""
        return replace(spec, slide=None) if window_grid(spec.slide, size) is None else spec

    def tail_from_config(self, value: object, place: Place, spec: Any) -> TailSpec:
        """See `tail_from_config`."""
        why = (
            "windows are averaged at the image's resolution" if spec.slide is not None else self.why_no_fast_tail(spec)
        )
        return tail_from_config(value, place, spec.decode_head.num_classes, why)

    def palette_from_config(
        self, config: Mapping[str, object], place: Place, spec: Any
    ) -> tuple[tuple[tuple[int, int, int], ...], object]:
        """Given, or that of the data set which ``classes`` names, or generated."""
        classes, given = config.get("classes"), config.get("palette")
        colours = palette_from_config(given, place.at("palette"), spec.decode_head.num_classes, classes)
        return colours, config.get("palette", classes if isinstance(classes, str) else None)

    def extra_outputs(self, spec: Any, output: str, tail: TailSpec) -> tuple[str, ...]:
        """``uncertified_pixels``: pixels whose class the fast tail cannot prove."""
        return ("uncertified_pixels",) if output == "class_map" and tail.form == "fast" else ()

    def adapted(
        self, model: nn.Module, spec: Any, checkpoint: Checkpoint, source: str
    ) -> tuple[dict[str, Tensor], str]:
        """With or without the patch embedding's bias; see `state_with_patch_bias`."""
        return state_with_patch_bias(model, checkpoint.state)

    def geometry(self, spec: Any, facts: HostFacts) -> dict[str, object]:
        """Grid, class token, and the windows where there are several."""
        slid = {} if facts.windows == 1 else {"windows": {"count": facts.windows, "size": list(spec.slide.crop)}}
        return {**super().geometry(spec, facts), **slid}

    def block_macs(self, spec: Any, branches: Sequence[BranchTokens]) -> BlockMacs:
        """A pre-norm ViT block."""
        backbone = spec.backbone
        return vit_macs(branches, backbone.embed_dims, int(backbone.mlp_ratio * backbone.embed_dims))
