"""A transformer block of Stable Diffusion's U-Net as a host: tokens in, tokens out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from torch import nn

from edgeexport.config.place import Place
from edgeexport.cost.macs import BlockMacs, layer_norm_macs
from edgeexport.hosts.host import MERGING_CONVENTION, NO_TAIL, ExitTokens, Host, HostMacs, TailSpec, refuse_given
from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.hosts.sd_block.config import resolved_sd_block, sd_block_from_config, sd_block_input_from_config
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.sd_block.walk import PublishedSdWalk, SdBlockWalk
from edgeexport.hosts.seeded import seed_plain_weights
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BlockTokens, BranchTokens
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["SdBlockHost"]


class SdBlockHost(Host):
    """See `Host`."""

    types: ClassVar[tuple[str, ...]] = ("sd_block",)
    outputs: ClassVar[tuple[str, ...]] = ("tokens",)
    counts_prefix: ClassVar[bool] = True
    num_branches: ClassVar[int] = 3
    convention: ClassVar[str] = MERGING_CONVENTION
    scopes: ClassVar[Mapping[str, str]] = {"blocks.#": "block_#"}

    def spec_from_config(self, value: object, place: Place) -> SdBlockSpec:
        """See `sd_block_from_config`."""
        return sd_block_from_config(value, place)

    def resolved(self, given: dict[str, object], spec: SdBlockSpec) -> dict[str, object]:
        """See `resolved_sd_block`."""
        return resolved_sd_block(spec)

    def patch_size(self, spec: SdBlockSpec) -> int:
        """There are no pixels."""
        return 0

    def input_from_config(self, value: object, place: Place, spec: SdBlockSpec, sides: tuple[int, str]) -> InputSpec:
        """See `sd_block_input_from_config`; the model fixes its size."""
        return sd_block_input_from_config(value, place, spec)

    def tail_from_config(self, value: object, place: Place, spec: SdBlockSpec) -> TailSpec:
        """There is none."""
        refuse_given(value, place, "a tail makes class maps, and the output is tokens")
        return NO_TAIL

    def palette_from_config(
        self, config: Mapping[str, object], place: Place, spec: SdBlockSpec
    ) -> tuple[tuple[tuple[int, int, int], ...], object]:
        """There are no classes either."""
        for key in ("classes", "palette"):
            refuse_given(config.get(key), place.at(key), "a diffusion block predicts no classes")
        return (), None

    def facts(self, spec: SdBlockSpec, size: InputSpec) -> HostFacts:
        """Every token is needed back, and tokens merge around the branches, as published."""
        return HostFacts(
            name="a diffusion block",
            title="a diffusion block",
            depth=1,
            reads=(1,),
            grid=spec.grid,
            prefix=0,
            embed_dims=spec.embed_dims,
            num_heads=spec.num_heads,
            image=(size.height, size.width),
            patch_size=0,
            num_classes=0,
            variants=("sd",),
            pooling=None,
            exits=(),
            why_no_exits=("a diffusion block has no heads at which tokens could leave", "leave it out"),
            why_no_sharing="a diffusion block embeds nothing",
        )

    def model(self, spec: SdBlockSpec) -> nn.Module:
        """Published key names."""
        return SdBlock(spec).eval()

    def seed(self, model: nn.Module, spec: SdBlockSpec, seed: int) -> None:
        """Every weight by its key."""
        seed_plain_weights(model, seed, None)

    def walk(self, model: nn.Module, spec: SdBlockSpec, size: InputSpec, output: str, tail: TailSpec) -> SdBlockWalk:
        """See `SdBlockWalk`."""
        return SdBlockWalk(cast(SdBlock, model))

    def published_walk(self, model: nn.Module, spec: SdBlockSpec, size: InputSpec, output: str) -> PublishedSdWalk:
        """See `PublishedSdWalk`."""
        return PublishedSdWalk(cast(SdBlock, model))

    def block_macs(self, spec: SdBlockSpec, branches: Sequence[BranchTokens]) -> BlockMacs:
        """Self-attention and cross-attention to T text tokens of width D are ``attention``: ``4 m C^2 + 2 m^2 C`` and
        ``2 m C^2 + 2 T D C + 2 m T C``. The gated MLP of 4 C channels takes ``12 m C^2``.
        """
        width, text = spec.embed_dims, spec.context_tokens
        own, cross, gated = (branch.work for branch in branches)
        return BlockMacs(
            attention=4 * own * width**2
            + 2 * own**2 * width
            + 2 * cross * width**2
            + 2 * text * spec.context_width * width
            + 2 * cross * text * width,
            mlp=12 * gated * width**2,
            norms=sum(layer_norm_macs(branch.norm, width) for branch in branches),
        )

    def macs(
        self,
        spec: SdBlockSpec,
        size: InputSpec,
        embedded: int,
        blocks: Sequence[BlockTokens],
        exits: Sequence[ExitTokens],
    ) -> HostMacs:
        """The block alone."""
        own = tuple(self.block_macs(spec, block.branches) for block in blocks)
        return HostMacs(embedding=0, blocks=own, final_norm=0, heads=())

    def geometry(self, spec: Any, facts: HostFacts) -> dict[str, object]:
        """The latent's grid."""
        return {"grid": list(facts.grid), "patches": facts.num_patches, "class_token": False, "num_prefix": 0}
