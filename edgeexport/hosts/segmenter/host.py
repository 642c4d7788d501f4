"""Segmenter as a host: class maps or class logits, from mmsegmentation's configs, or checkpoints of the published code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.cost.macs import bilinear_resize_macs
from edgeexport.hosts.checkpoint_file import Checkpoint
from edgeexport.hosts.host import ExitTokens, Head, HostMacs, TailSpec
from edgeexport.hosts.segmentation.host import SegmentationHost, encoder_macs, segmenter_facts
from edgeexport.hosts.segmentation.patch_bias import state_with_patch_bias
from edgeexport.hosts.segmenter.checkpoint import from_published_keys, has_published_keys
from edgeexport.hosts.segmenter.config import FAMILY, resolved_segmenter, segmenter_from_config
from edgeexport.hosts.segmenter.macs import decoder_macs
from edgeexport.hosts.segmenter.seeded import seed_weights
from edgeexport.hosts.segmenter.segmenter import Segmenter
from edgeexport.hosts.segmenter.spec import SegmenterSpec
from edgeexport.hosts.segmenter.walk import PublishedSegmenterWalk, SegmenterWalk
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BlockTokens
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["SegmenterHost"]


class SegmenterHost(SegmentationHost):
    """See `Host`."""

    types: ClassVar[tuple[str, ...]] = (FAMILY,)
    convention: ClassVar[str] = (
        "multiply-accumulates per image, fvcore convention: multiply-accumulate 1, LayerNorm 5 per element, "
        "BatchNorm 2 per element, bilinear resize 4 per output element; biases, activations, softmax, L2 norms, additions, "
        "pooling, selection, gathers, the mean of merged tokens and unmerging 0. Matching is the similarity of every source "
        "with every destination, in blocks that merge. The model is counted as written, before an exporter folds constants. "
        "The tail is one bilinear resize of the class logits to the image size, whatever form the bundle's tail takes"
    )
    scopes: ClassVar[Mapping[str, str]] = {
        "pixels": "embedding",
        "windows": "embedding",
        "embedding": "embedding",
        "blocks.#": "block_#",
        "reading": "final_norm",
        "decode_head": "decode_head",
        "restored": "restore",
        "brought_back": "tail",
        "tail": "tail",
    }

    def spec_from_config(self, value: object, place: Place) -> SegmenterSpec:
        """See `segmenter_from_config`."""
        return segmenter_from_config(value, place)

    def resolved(self, given: dict[str, object], spec: SegmenterSpec) -> dict[str, object]:
        """See `resolved_segmenter`."""
        return resolved_segmenter(given, spec)

    def why_no_fast_tail(self, spec: SegmenterSpec) -> str:
        """Both decoders give logits per token."""
        return ""

    def facts(self, spec: SegmenterSpec, size: InputSpec) -> HostFacts:
        """The decoder reads one block."""
        why = (
            "needs auxiliary PruneHeads, and a Segmenter has none",
            "use a SegViT (type='EncoderDecoderPrune'), or cts, tome or random, or leave dtop out",
        )
        return segmenter_facts("Segmenter", "a Segmenter", spec, size, why_no_exits=why)

    def model(self, spec: SegmenterSpec) -> nn.Module:
        """mmsegmentation's modules and key names."""
        return Segmenter(spec).eval()

    def seed(self, model: nn.Module, spec: SegmenterSpec, seed: int) -> None:
        """See `edgeexport.hosts.segmenter.seeded`."""
        seed_weights(cast(Segmenter, model), seed)

    def adapted(
        self, model: nn.Module, spec: SegmenterSpec, checkpoint: Checkpoint, source: str
    ) -> tuple[dict[str, Tensor], str]:
        """Checkpoints of the published Segmenter and CTS code; see `from_published_keys`."""
        state = checkpoint.state
        if not has_published_keys(state):
            return super().adapted(model, spec, checkpoint, source)
        renamed, biased = state_with_patch_bias(model, from_published_keys(state))
        said = "keys of the published Segmenter code, as mmsegmentation names them"
        return renamed, f"{said}; {biased}" if biased else said

    def optional_keys(self, spec: SegmenterSpec, exits: Iterable[int]) -> tuple[str, ...]:
        """What serves training, and the class token where none is used."""
        unused = () if spec.backbone.with_cls_token else ("backbone.cls_token",)
        return ("auxiliary_head.", *unused)

    def walk(
        self, model: nn.Module, spec: SegmenterSpec, size: InputSpec, output: str, tail: TailSpec
    ) -> SegmenterWalk:
        """See `SegmenterWalk`."""
        return SegmenterWalk(cast(Segmenter, model), size, output, tail)

    def published_walk(
        self, model: nn.Module, spec: SegmenterSpec, size: InputSpec, output: str
    ) -> PublishedSegmenterWalk:
        """See `PublishedSegmenterWalk`."""
        return PublishedSegmenterWalk(cast(Segmenter, model), size, output)

    def macs(
        self,
        spec: SegmenterSpec,
        size: InputSpec,
        embedded: int,
        blocks: Sequence[BlockTokens],
        exits: Sequence[ExitTokens],
    ) -> HostMacs:
        """The decoder runs on the tokens that are left, shared and merged ones as one each."""
        decoder, tokens = spec.decode_head, blocks[-1].tokens_out - spec.backbone.prefix
        head = Head("decode_head", decoder.type, decoder.stages, tokens, 0, decoder_macs(decoder, tokens))
        return HostMacs(
            **encoder_macs(spec, embedded, blocks, [self.block_macs(spec, block.branches) for block in blocks]),
            heads=(head,),
            tail=bilinear_resize_macs(decoder.num_classes, size.height, size.width),
        )
