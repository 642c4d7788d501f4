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
from edgeexport.cost.macs import BlockMacs, layer_norm_macs, patch_embedding_macs
from edgeexport.hosts.checkpoint_file import Checkpoint
from edgeexport.hosts.host import Host, TailSpec, vit_macs
from edgeexport.hosts.segmentation.input_config import input_from_config, tail_from_config
from edgeexport.hosts.segmentation.patch_bias import state_with_patch_bias
from edgeexport.hosts.segmentation.test_mode import checked_slide, window_grid, window_input
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BlockTokens, BranchTokens
from edgeexport.tokens.host_facts import Exit, HostFacts

__all__ = ["SegmentationHost", "encoder_macs", "segmenter_facts"]


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


def segmenter_facts(
    name: str, title: str, spec: Any, size: InputSpec, *, exits: tuple[Exit, ...] = (), why_no_exits: tuple[str, str]
) -> HostFacts:
    """What methods may know of a segmenter: of a window, where windows slide over the image.

    Args:
        name, title: See `HostFacts`.
        spec: Of the model.
        size: The input.
        exits: Where tokens may leave.
        why_no_exits: Why DToP cannot be had, and what to do; empty words where it can.
    """
    backbone = spec.backbone
    seen, windows = window_input(spec.slide, size), window_grid(spec.slide, size)
    return HostFacts(
        name=name,
        title=title,
        depth=backbone.num_layers,
        reads=spec.decode_head.stages,
        grid=(seen.height // backbone.patch_size, seen.width // backbone.patch_size),
        prefix=backbone.prefix,
        embed_dims=backbone.embed_dims,
        num_heads=backbone.num_heads,
        image=(seen.height, seen.width),
        patch_size=backbone.patch_size,
        num_classes=spec.decode_head.num_classes,
        variants=("tome", "sd"),
        pooling=None,
        exits=exits,
        why_no_exits=why_no_exits,
        why_no_sharing="",
        restores=True,
        windows=1 if windows is None else windows.count,
    )


def encoder_macs(spec: Any, embedded: int, blocks: Sequence[BlockTokens], macs: Sequence[BlockMacs]) -> dict[str, Any]:
    """``embedding``, ``blocks`` and ``final_norm`` of `HostMacs`: what stands ahead of a segmenter's heads."""
    backbone = spec.backbone
    normed = backbone.final_norm and len(blocks) == backbone.num_layers
    return {
        "embedding": patch_embedding_macs(embedded, backbone.in_channels, backbone.patch_size, backbone.embed_dims),
        "blocks": tuple(macs),
        "final_norm": layer_norm_macs(blocks[-1].tokens_out, backbone.embed_dims) if normed else 0,
    }
