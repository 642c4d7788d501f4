"""CTS, content-aware token sharing: 2x2 windows of patches that look alike share one token.

Source: "Content-aware Token Sharing for Efficient Semantic Segmentation with Vision Transformers", section 3. A policy network
scores the windows; the best ones share. It acts ahead of the embedding, and its tokens are handed back to their patches on the
prediction. The number of windows is constant as published, so its two forms differ in how they are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexport.config.files import file_from_config
from edgeexport.config.place import Place
from edgeexport.config.values import choice, integer, mapping
from edgeexport.reductions.cts_counts import aligned_num_shared, aligned_window_counts
from edgeexport.reductions.cts_layout import (
    layout_fixed,
    layout_reference,
    share_patches,
    share_positions,
    window_scores,
)
from edgeexport.reductions.cts_policy import PolicyNetwork, policy_network_macs
from edgeexport.reductions.reduction import Published, Reduction
from edgeexport.tokens.changes import Change, Cut
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.selection import chosen
from edgeexport.tokens.trace import Trace

__all__ = ["POLICIES", "POLICY_STRIDE", "Cts", "CtsSpec", "ShareChange"]

POLICY_STRIDE = 32  # pixels; the policy network scores one 32x32 window per output, that is 2x2 patches of 16
POLICIES = ("inside", "separate")
_OUTPUT = "shared_windows"


@dataclass(frozen=True)
class CtsSpec:
    """Content-aware token sharing: ``num_shared`` 2x2 windows share one token each.

    ``num_shared`` is what the recipe asked for; the smallest S >= num_shared whose token count is a multiple of
    ``align_tokens`` is used (see `edgeexport.reductions.cts_counts`); 0 shares nothing and emits no nodes.
    ``policy_checkpoint`` is absolute, or None when the policy network's weights are in the model's checkpoint under
    ``policy_net.``. ``policy`` is one of `POLICIES`: 'inside' keeps the policy network in the model's graph, 'separate' gives
    it one of its own, whose choice is an input of the model's.
    """

    num_shared: int
    align_tokens: int
    policy_checkpoint: Path | None
    policy: str = POLICIES[0]


@dataclass(frozen=True, kw_only=True)
class ShareChange(Change):
    """``shared`` of ``windows`` windows share; ``requested`` is what was asked for."""

    windows: int
    requested: int
    shared: int


@dataclass(frozen=True)
class _Scores:
    """Evidence: the policy network's score of every window."""

    windows: Tensor

    def scores(self, near_tie: float) -> NDArray:
        return self.windows.numpy()

    def gaps(self) -> None:
        return None


class _Share(nn.Module):
    """Scores windows, shares the best, and gives patches and positions of the tokens."""

    def __init__(self, change: ShareChange, facts: HostFacts, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.num_shared, self.windows = change.shared, change.windows
        self.grid, self.patch_size = facts.grid[-2:], facts.patch_size

    def forward(self, pixels: Tensor, position: Tensor, trace: Trace) -> tuple[Tensor, Tensor]:
        scores = window_scores(self.policy(pixels))
        columns = self.grid[1] // 2
        layout = layout_fixed(scores, self.num_shared, columns)
        trace.outputs[_OUTPUT] = layout.shared_windows
        trace.keep(_OUTPUT, _Scores(scores))
        if _OUTPUT in trace.imposed:
            every = torch.arange(self.windows)[None].expand(pixels.shape[0], -1)
            layout = layout_fixed(chosen(every, trace.imposed[_OUTPUT]), self.num_shared, columns)
        trace.share = layout.source
        patches = share_patches(pixels, layout, self.patch_size)
        return patches, share_positions(position, layout, (self.grid[0], self.grid[1]))


class _Published(Published):
    def __init__(self, num_shared: int, facts: HostFacts, policy: nn.Module) -> None:
        super().__init__()
        self.num_shared, self.policy = num_shared, policy
        self.grid, self.patch_size = (facts.grid[-2], facts.grid[-1]), facts.patch_size

    def embed(self, pixels: Tensor, position: Tensor, tokens: PublishedTokens) -> tuple[Tensor, Tensor]:
        scores = window_scores(self.policy(pixels))
        layout = layout_reference(scores, self.num_shared, self.grid[1] // 2)
        tokens.share = layout.source[0].long()
        tokens.outputs[_OUTPUT], tokens.scores[_OUTPUT] = layout.shared_windows[0], scores[0]
        patches = share_patches(pixels, layout, self.patch_size)
        return patches, share_positions(position, layout, self.grid)


class Cts(Reduction):
    """See `Reduction`."""

    key: ClassVar[str] = "cts"
    title: ClassVar[str] = "CTS"
    network: ClassVar[str | None] = "policy_net"
    scopes: ClassVar[Mapping[str, str]] = {"policy": "policy", "": "share"}

    def refuses(self, facts: HostFacts) -> str:
        """Patches are chosen ahead of the embedding."""
        return "CTS is for SegViT and Segmenter" if facts.why_no_sharing else ""

    def sides(self, patch_size: int) -> tuple[int, str] | None:
        """The policy network's stride, where it is two patches."""
        if 2 * patch_size != POLICY_STRIDE:
            return None
        return POLICY_STRIDE, f"{POLICY_STRIDE}, the stride of CTS's policy network and two patches of {patch_size}"

    def spec_from_config(self, value: object, place: Place, facts: HostFacts, tokens: int, folder: Path) -> CtsSpec:
        """``dict(num_shared, align_tokens, policy_checkpoint, policy)``."""
        config = mapping(value, place, ("align_tokens", "num_shared", "policy", "policy_checkpoint"))
        if "num_shared" not in config:
            raise place.missing("num_shared", "num_shared=103 (2x2 windows that share one token each)")
        if 2 * facts.patch_size != POLICY_STRIDE:
            raise place.error(
                value,
                f"CTS needs patches of {POLICY_STRIDE // 2} pixels, found patch_size = {facts.patch_size}: the policy network "
                f"scores windows of {POLICY_STRIDE}x{POLICY_STRIDE} pixels, which must be 2x2 patches",
                "leave cts out",
            )
        num_shared = integer(config["num_shared"], place.at("num_shared"), minimum=0)
        align_tokens = integer(config.get("align_tokens", 8), place.at("align_tokens"), minimum=1)
        self.changes(CtsSpec(num_shared, align_tokens, None), facts, tokens, place)
        checkpoint = file_from_config(config.get("policy_checkpoint"), place.at("policy_checkpoint"), folder)
        policy = choice(config.get("policy", POLICIES[0]), place.at("policy"), POLICIES)
        return CtsSpec(num_shared, align_tokens, checkpoint, policy)

    def resolved(self, given: Mapping[str, object], spec: CtsSpec) -> dict[str, object]:
        """The checkpoint as it was written."""
        return {
            "num_shared": spec.num_shared,
            "align_tokens": spec.align_tokens,
            "policy_checkpoint": given.get("policy_checkpoint"),
            "policy": spec.policy,
        }

    def changes(self, spec: CtsSpec, facts: HostFacts, tokens: int, place: Place) -> tuple[ShareChange, ...]:
        """One, ahead of block 1: every shared window saves three tokens."""
        if spec.num_shared == 0:
            return ()
        at, (rows, columns) = place.at("num_shared"), facts.grid[-2:]
        if rows % 2 or columns % 2:
            raise at.error(
                spec.num_shared,
                f"a grid of {rows} x {columns} patches does not divide into 2 x 2 windows",
                f"use an input.shape whose height and width are multiples of {2 * facts.patch_size}",
            )
        patches, windows = facts.num_patches, facts.num_patches // 4
        if spec.num_shared > windows:
            size = "x".join(map(str, facts.image))
            raise at.error(
                spec.num_shared,
                f"exceeds the {windows} windows of 2x2 patches in {size} pixels",
                f"use 0 to {windows}",
            )
        try:
            shared = aligned_num_shared(patches, windows, spec.num_shared, spec.align_tokens)
        except ValueError as error:
            counts = aligned_window_counts(patches, windows, spec.align_tokens)
            fitting = f"num_shared <= {counts[-1]}, or " if counts else ""
            raise at.error(spec.num_shared, str(error), f"use {fitting}align_tokens=1") from None
        left = tokens - 3 * shared
        return (
            ShareChange(
                block=1,
                cut=Cut.EMBEDDING,
                tokens_in=tokens,
                tokens_out=left,
                working=left,
                reason=f"shared {shared} windows",
                windows=windows,
                requested=spec.num_shared,
                shared=shared,
            ),
        )

    def step(self, spec: CtsSpec, facts: HostFacts, change: ShareChange, network: nn.Module | None) -> nn.Module:
        """See `_Share`."""
        assert network is not None
        return _Share(change, facts, network)

    def published(
        self,
        spec: CtsSpec,
        facts: HostFacts,
        changes: Sequence[ShareChange],
        settings: Any,
        network: nn.Module | None,
    ) -> Published:
        """In plain index sets."""
        if not changes or network is None:
            return Published()
        return _Published(changes[0].shared, facts, network)

    def output_names(self, spec: CtsSpec, facts: HostFacts, change: ShareChange) -> tuple[str, ...]:
        """``shared_windows``, int32 (B, S): the windows that share a token, ascending."""
        return (_OUTPUT,)

    def decisions(self, spec: CtsSpec, change: ShareChange) -> tuple[str, ...]:
        """``shared_windows``."""
        return (_OUTPUT,)

    def separate(self, spec: CtsSpec) -> str | None:
        """``shared_windows``, with ``policy="separate"`` and something to share."""
        return _OUTPUT if spec.policy == "separate" and spec.num_shared else None

    def longest_sort(self, spec: CtsSpec, facts: HostFacts, change: ShareChange) -> int:
        """Kept and taken tokens are put in order together."""
        return facts.num_patches

    def network_macs(self, spec: CtsSpec, facts: HostFacts) -> int:
        """The policy network on the whole image."""
        return policy_network_macs(*facts.image) if spec.num_shared else 0

    def uses_network(self, spec: CtsSpec) -> bool:
        """Only to share."""
        return spec.num_shared > 0

    def new_network(self) -> nn.Module:
        """The policy network."""
        return PolicyNetwork().eval()

    def network_checkpoint(self, spec: CtsSpec) -> Path | None:
        """``policy_checkpoint``."""
        return spec.policy_checkpoint if spec.num_shared else None

    def tokens_document(self, spec: CtsSpec, changes: Sequence[ShareChange]) -> dict[str, object]:
        """``sharing``."""
        if not changes:
            return {"sharing": None}
        (change,) = changes
        return {"sharing": {"windows": change.windows, "requested": change.requested, "shared": change.shared}}

    def manifest(self, spec: CtsSpec, changes: Sequence[ShareChange]) -> dict[str, object]:
        """``num_shared``."""
        return {"num_shared": changes[0].shared if changes else 0}
