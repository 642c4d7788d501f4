"""SegViT as a host: class maps or scores, from mmsegmentation's configs and key names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, cast

from torch import nn

from edgeexport.config.place import Place
from edgeexport.cost.macs import bilinear_resize_macs
from edgeexport.hosts.host import ExitTokens, Head, HostMacs, TailSpec
from edgeexport.hosts.segmentation.host import SegmentationHost, encoder_macs, segmenter_facts
from edgeexport.hosts.segvit.config import resolved_model, segvit_from_config
from edgeexport.hosts.segvit.macs import atm_head_macs, mask_einsum_macs, prune_head_macs
from edgeexport.hosts.segvit.seeded import seed_weights
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.spec import HeadSpec, SegVitSpec
from edgeexport.hosts.segvit.walk import PublishedSegVitWalk, SegVitWalk
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BlockTokens
from edgeexport.tokens.host_facts import Exit, HostFacts

__all__ = ["SegVitHost"]


class SegVitHost(SegmentationHost):
    """See `Host`."""

    types: ClassVar[tuple[str, ...]] = ("EncoderDecoderPrune", "EncoderDecoder")
    convention: ClassVar[str] = (
        "multiply-accumulates per image, fvcore convention: multiply-accumulate 1, LayerNorm 5 per element, "
        "BatchNorm 2 per element, bilinear resize 4 per output element; biases, activations, softmax, additions, pooling, "
        "selection, gathers, the mean of merged tokens and unmerging 0. Matching is the similarity of every source with every "
        "destination, in blocks that merge. The model is counted as written, before an exporter folds constants. The tail is "
        "counted as the published code runs it, whatever form the bundle's tail takes: two bilinear resizes of the class "
        "scores to the image size (one in the head, one to the label size) and, for ATMHead, the full-resolution product of "
        "class probabilities and masks"
    )
    scopes: ClassVar[Mapping[str, str]] = {
        "pixels": "embedding",
        "windows": "embedding",
        "embedding": "embedding",
        "blocks.#": "block_#",
        "exits.#.scores": "prune_#",
        "exits.#": "auxiliary_head_#",
        "reading.restored": "restore",
        "reading": "final_norm",
        "decode_head": "decode_head",
        "brought_back": "tail",
        "tail": "tail",
    }

    def spec_from_config(self, value: object, place: Place) -> SegVitSpec:
        """See `segvit_from_config`."""
        return segvit_from_config(value, place)

    def resolved(self, given: dict[str, object], spec: SegVitSpec) -> dict[str, object]:
        """See `resolved_model`."""
        return resolved_model(given, spec)

    def why_no_fast_tail(self, spec: SegVitSpec) -> str:
        """`ATMHead` has no scores per token."""
        head = spec.decode_head.type
        return "" if head == "PruneHead" else f"{head} resizes masks, not scores"

    def facts(self, spec: SegVitSpec, size: InputSpec) -> HostFacts:
        """Tokens leave at auxiliary PruneHeads, ahead of a final head that reads one block."""
        head, why = spec.decode_head, ("", "")
        if head.type != "PruneHead":
            why = (
                f"needs PruneHead, found {head.type}: tokens leave at auxiliary PruneHeads",
                "use type='EncoderDecoderPrune' with ViT_prune and PruneHead, or leave dtop out",
            )
        exits = tuple(Exit(one.stages[0], one.threshold) for one in spec.auxiliary_heads)
        return segmenter_facts("SegViT", "a SegViT", spec, size, exits=exits, why_no_exits=why)

    def model(self, spec: SegVitSpec) -> nn.Module:
        """mmsegmentation's modules and key names."""
        return SegVit(spec).eval()

    def seed(self, model: nn.Module, spec: SegVitSpec, seed: int) -> None:
        """See `edgeexport.hosts.segvit.seeded`."""
        seed_weights(cast(SegVit, model), seed)

    def optional_keys(self, spec: SegVitSpec, exits: Iterable[int]) -> tuple[str, ...]:
        """The class token where none is used, and auxiliary heads at which nothing leaves."""
        active = set(exits)
        optional = [] if spec.backbone.with_cls_token else ["backbone.cls_token"]
        for index, head in enumerate(spec.auxiliary_heads):
            if head.stages[0] not in active:
                optional.append(f"auxiliary_head.{index}.")
        return (*optional, *(() if active else ("auxiliary_head.",)))

    def walk(self, model: nn.Module, spec: SegVitSpec, size: InputSpec, output: str, tail: TailSpec) -> SegVitWalk:
        """See `SegVitWalk`."""
        return SegVitWalk(cast(SegVit, model), size, output, tail)

    def published_walk(self, model: nn.Module, spec: SegVitSpec, size: InputSpec, output: str) -> PublishedSegVitWalk:
        """See `PublishedSegVitWalk`."""
        return PublishedSegVitWalk(cast(SegVit, model), size, output)

    def macs(
        self,
        spec: SegVitSpec,
        size: InputSpec,
        embedded: int,
        blocks: Sequence[BlockTokens],
        exits: Sequence[ExitTokens],
    ) -> HostMacs:
        """Heads are those that run; the tail is the published one."""
        final = spec.decode_head
        of_block = {head.stages[0]: (index, head) for index, head in enumerate(spec.auxiliary_heads)}
        heads = []
        for leaving in exits:
            index, head = of_block[leaving.block]
            macs = _head_macs(head, leaving.tokens)
            name, read = f"auxiliary_head.{index}", (leaving.block,)
            heads.append(Head(name, head.type, read, leaving.tokens, leaving.pruned, macs))
        tokens = embedded - sum(leaving.pruned for leaving in exits)  # merged ones come back
        heads.append(Head("decode_head", final.type, final.stages, tokens, 0, _head_macs(final, tokens)))
        tail = 2 * bilinear_resize_macs(final.num_classes, size.height, size.width)
        if final.type == "ATMHead":
            tail += mask_einsum_macs(final.num_classes, size.height, size.width)
        return HostMacs(
            **encoder_macs(spec, embedded, blocks, [self.block_macs(spec, block.branches) for block in blocks]),
            heads=tuple(heads),
            tail=tail,
        )


def _head_macs(spec: HeadSpec, tokens: int) -> int:
    if spec.type == "ATMHead":
        return atm_head_macs(tokens, spec.in_channels, spec.width, spec.num_layers, spec.num_classes, len(spec.stages))
    return prune_head_macs(tokens, spec.in_channels, spec.width, spec.num_layers, spec.num_classes)
