"""What merging methods have in common before anything runs: the recipe's spec, and what every block merges.

Counts depend on the recipe alone, only the choice of tokens depends on the image. Token counts include prefix tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeexport.ops.match_tables import MatchLayout, largest_r
from edgeexport.tokens.changes import Change, Cut
from edgeexport.tokens.host_facts import HostFacts

__all__ = [
    "MergeChange",
    "MergeSpec",
    "merge_change",
    "merge_changes",
    "merges_manifest",
    "merging_document",
    "requested_in",
    "undone_changes",
]

_UNDONE = {"tome": Cut.AROUND, "sd": Cut.BRANCHES}


@dataclass(frozen=True)
class MergeSpec:
    """Token merging: ToMe, DSM, or merging around the blocks of a dense model.

    Attributes:
        method: 'tome' or 'dsm', the recipe's key.
        r: Tokens that the schedule asks to merge in each block; one entry per block, before clamping.
        proportional_attention: Add log(size) to the key logits, from the block after the first merge on.
        pool: 'mean' (timm's) or 'size_weighted' (MAE's own), for hosts that average their tokens.
        metric: What similarity is measured on: 'k', 'q', 'v' (averaged over heads) or 'x' (the tokens to be merged).
        dense: None: tokens stay merged. 'tome': merged at the start of every block and unmerged after it.
            'sd': merged around every residual branch, one destination per 2x2 cell, as for Stable Diffusion.
        rope: For hosts with rotary positions, which of them a merged token has: 'destination', that of the token which stays,
            or 'mean', of the rotations of all that it stands for; None where the host has none.
        delay: DSM: blocks without merging at the start.
        window: DSM: side of the first merging block's windows in tokens; None: no windows.
        growth: DSM: what every further block adds to the side, until one window holds the grid.
    """

    method: str
    r: tuple[int, ...]
    proportional_attention: bool = True
    pool: str = "mean"
    metric: str = "k"
    dense: str | None = None
    rope: str | None = None
    delay: int = 0
    window: int | None = None
    growth: int = 1


@dataclass(frozen=True, kw_only=True)
class MergeChange(Change):
    """What one block merges.

    Attributes:
        requested: Tokens that the recipe asks to merge here; 0 in blocks that DSM's delay passes over.
        r: Tokens that merge: ``requested``, as far as the block's tokens allow.
        layout: Which tokens may merge with which; None where nothing merges.
        raster: The tokens stand in ascending order of their index afterwards, for the next block's windows.
    """

    requested: int
    r: int
    layout: MatchLayout | None
    raster: bool = False


def requested_in(spec: MergeSpec, block: int) -> int:
    """Tokens that ``spec`` asks to merge in 1-based ``block``."""
    return spec.r[block - 1] if spec.delay < block <= len(spec.r) else 0


def merge_change(
    block: int, cut: Cut, requested: int, layout: MatchLayout | None, tokens: int, *, raster: bool = False
) -> MergeChange:
    """One block's merge, put into words."""
    r = layout.r if layout is not None else 0
    undone = cut is not Cut.BETWEEN
    reason = ""
    if requested:
        reason = f"merged {r}" + (f" (of {requested} asked)" if r != requested else "")
        if layout is not None and layout.kind == "windows":
            reason = f"window {layout.window}: {reason}"
        if r and undone:
            reason += ", unmerged after"
    return MergeChange(
        block=block,
        cut=cut,
        tokens_in=tokens,
        tokens_out=tokens if undone else tokens - r,
        working=tokens - r,
        reason=reason,
        requested=requested,
        r=r,
        layout=layout,
        raster=raster,
    )


def undone_changes(spec: MergeSpec, facts: HostFacts, tokens: int) -> tuple[MergeChange, ...]:
    """Blocks that hand back as many tokens as they take; the host's variant of it is ``spec.dense``."""
    assert spec.dense is not None
    kind, columns = ("cells", facts.grid[-1]) if spec.dense == "sd" else ("alternate", 0)
    most = largest_r(kind, tokens, facts.prefix, columns)
    changes = []
    for block in range(1, facts.executed + 1):
        requested = requested_in(spec, block)
        r = min(requested, most)
        layout = MatchLayout(kind, tokens, facts.prefix, r, columns) if r else None
        changes.append(merge_change(block, _UNDONE[spec.dense], requested, layout, tokens))
    return tuple(changes)


def merge_changes(spec: MergeSpec, facts: HostFacts, tokens: int) -> tuple[MergeChange, ...]:
    """ToMe on a host that keeps tokens merged: every block hands on what it left."""
    changes: list[MergeChange] = []
    for block in range(1, facts.executed + 1):
        requested = requested_in(spec, block)
        r = min(requested, largest_r("alternate", tokens, facts.prefix, 0)) if requested else 0
        layout = MatchLayout("alternate", tokens, facts.prefix, r) if r else None
        changes.append(merge_change(block, Cut.BETWEEN, requested, layout, tokens))
        tokens = changes[-1].tokens_out
    return tuple(changes)


def merging_document(spec: MergeSpec, changes: Sequence[MergeChange]) -> dict[str, object]:
    """``merging`` of tokens.json: ``requested`` and ``realised`` hold one count per executed block."""
    settings: dict[str, object] = {
        "method": spec.method,
        "dense": spec.dense,
        "metric": spec.metric,
        "proportional_attention": spec.proportional_attention,
        "pool": spec.pool,
        "requested": [change.requested for change in changes],
        "realised": [change.r for change in changes],
        "windows": [change.layout.window if change.layout is not None else 0 for change in changes],
        "tokens_out": changes[-1].tokens_out,
    }
    return settings


def merges_manifest(spec: MergeSpec, changes: Sequence[MergeChange]) -> list[dict[str, object]]:
    """``merges`` of manifest.json: what follows tokens through the blocks that merge."""
    return [
        {"block": change.block, "raster": change.raster, "dense": spec.dense, **change.layout.as_dict()}
        for change in changes
        if change.layout is not None
    ]
