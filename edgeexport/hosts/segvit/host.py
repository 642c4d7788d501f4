"""SegViT as a host: class maps or scores, from mmsegmentation's configs and key names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from edgeexport.config.labels import palette_from_config
from edgeexport.config.place import Place
from edgeexport.cost.macs import BlockMacs, bilinear_resize_macs, layer_norm_macs, patch_embedding_macs
from edgeexport.hosts.checkpoint_file import Checkpoint
from edgeexport.hosts.host import ExitTokens, Head, Host, HostMacs, TailSpec, vit_macs
from edgeexport.hosts.patch_bias import state_with_patch_bias
from edgeexport.hosts.segvit.config import check_test_mode, resolved_model, segvit_from_config
from edgeexport.hosts.segvit.input_config import input_from_config, tail_from_config
from edgeexport.hosts.segvit.macs import atm_head_macs, mask_einsum_macs, prune_head_macs
from edgeexport.hosts.segvit.seeded import seed_weights
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.spec import HeadSpec, SegVitSpec
from edgeexport.hosts.segvit.walk import PublishedSegVitWalk, SegVitWalk
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BlockTokens, BranchTokens
from edgeexport.tokens.host_facts import Exit, HostFacts

__all__ = ["SegVitHost"]


class SegVitHost(Host):
    """See `Host`."""

    types: ClassVar[tuple[str, ...]] = ("EncoderDecoderPrune", "EncoderDecoder")
    outputs: ClassVar[tuple[str, ...]] = ("class_map", "scores")
    counts_prefix: ClassVar[bool] = False
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

    def patch_size(self, spec: SegVitSpec) -> int:
        """Of the backbone."""
        return spec.backbone.patch_size

    def input_from_config(self, value: object, place: Place, spec: SegVitSpec, sides: tuple[int, str]) -> InputSpec:
        """See `input_from_config`."""
        return input_from_config(value, place, *sides)

    def check(self, config: Mapping[str, object], place: Place, spec: SegVitSpec, size: InputSpec) -> None:
        """See `check_test_mode`."""
        check_test_mode(config["model"], place.at("model").at("test_cfg"), size)

    def tail_from_config(self, value: object, place: Place, spec: SegVitSpec) -> TailSpec:
        """See `tail_from_config`."""
        return tail_from_config(value, place, spec)

    def palette_from_config(
        self, config: Mapping[str, object], place: Place, spec: SegVitSpec
    ) -> tuple[tuple[tuple[int, int, int], ...], object]:
        """Given, or that of the data set which ``classes`` names, or generated."""
        classes, given = config.get("classes"), config.get("palette")
        colours = palette_from_config(given, place.at("palette"), spec.decode_head.num_classes, classes)
        return colours, config.get("palette", classes if isinstance(classes, str) else None)

    def extra_outputs(self, spec: SegVitSpec, output: str, tail: TailSpec) -> tuple[str, ...]:
        """``uncertified_pixels``: pixels whose class the fast tail cannot prove."""
        return ("uncertified_pixels",) if output == "class_map" and tail.form == "fast" else ()

    def facts(self, spec: SegVitSpec, size: InputSpec) -> HostFacts:
        """Tokens leave at auxiliary PruneHeads, ahead of a final head that reads one block."""
        backbone, head = spec.backbone, spec.decode_head
        exits = tuple(Exit(one.stages[0], one.threshold) for one in spec.auxiliary_heads)
        why = ("", "")
        if head.type != "PruneHead":
            why = (
                f"needs PruneHead, found {head.type}: tokens leave at auxiliary PruneHeads",
                "use type='EncoderDecoderPrune' with ViT_prune and PruneHead, or leave dtop out",
            )
        return HostFacts(
            name="SegViT",
            title="a SegViT",
            depth=backbone.num_layers,
            reads=head.stages,
            grid=(size.height // backbone.patch_size, size.width // backbone.patch_size),
            prefix=int(backbone.with_cls_token),
            embed_dims=backbone.embed_dims,
            num_heads=backbone.num_heads,
            image=(size.height, size.width),
            patch_size=backbone.patch_size,
            num_classes=head.num_classes,
            variants=("tome", "sd"),
            pooling=None,
            exits=exits,
            why_no_exits=why,
            why_no_sharing="",
            restores=True,
        )

    def model(self, spec: SegVitSpec) -> nn.Module:
        """mmsegmentation's modules and key names."""
        return SegVit(spec).eval()

    def seed(self, model: nn.Module, spec: SegVitSpec, seed: int) -> None:
        """See `edgeexport.hosts.segvit.seeded`."""
        assert isinstance(model, SegVit)
        seed_weights(model, seed)

    def adapted(
        self, model: nn.Module, spec: SegVitSpec, checkpoint: Checkpoint, source: str
    ) -> tuple[dict[str, Tensor], str]:
        """With or without the patch embedding's bias; see `state_with_patch_bias`."""
        return state_with_patch_bias(model, checkpoint.state)

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
        assert isinstance(model, SegVit)
        return SegVitWalk(model, size, output, tail)

    def published_walk(self, model: nn.Module, spec: SegVitSpec, size: InputSpec, output: str) -> PublishedSegVitWalk:
        """See `PublishedSegVitWalk`."""
        assert isinstance(model, SegVit)
        return PublishedSegVitWalk(model, size, output)

    def block_macs(self, spec: SegVitSpec, branches: Sequence[BranchTokens]) -> BlockMacs:
        """A pre-norm ViT block."""
        backbone = spec.backbone
        hidden = int(backbone.mlp_ratio * backbone.embed_dims)
        return vit_macs(branches, backbone.embed_dims, hidden)

    def macs(
        self,
        spec: SegVitSpec,
        size: InputSpec,
        embedded: int,
        blocks: Sequence[BlockTokens],
        exits: Sequence[ExitTokens],
    ) -> HostMacs:
        """Heads are those that run; the tail is the published one."""
        backbone, final = spec.backbone, spec.decode_head
        left = blocks[-1].tokens_out
        reads_last = len(blocks) == backbone.num_layers
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
            embedding=patch_embedding_macs(embedded, backbone.in_channels, backbone.patch_size, backbone.embed_dims),
            blocks=tuple(self.block_macs(spec, block.branches) for block in blocks),
            final_norm=layer_norm_macs(left, backbone.embed_dims) if backbone.final_norm and reads_last else 0,
            heads=tuple(heads),
            tail=tail,
        )

    def geometry(self, spec: Any, facts: HostFacts) -> dict[str, object]:
        """Grid and class token."""
        return {"grid": list(facts.grid), "patches": facts.num_patches, "class_token": bool(facts.prefix)}


def _head_macs(spec: HeadSpec, tokens: int) -> int:
    if spec.type == "ATMHead":
        return atm_head_macs(tokens, spec.in_channels, spec.width, spec.num_layers, spec.num_classes, len(spec.stages))
    return prune_head_macs(tokens, spec.in_channels, spec.width, spec.num_layers, spec.num_classes)
