"""From an image's merge decisions to its patch grid: which patches ended in one token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexport.errors import BuildError
from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout
from edgeexport.pictures.token_map import TokenMap, disagreement

__all__ = ["MergeMap", "MergedBlock", "is_merge_decision", "merge_map_from_decisions"]

_SOURCE, _TARGET, _KEPT, _WINDOWS = "merge_source_", "merge_target_", "merge_kept_", "merged_windows_"


@dataclass(frozen=True)
class MergedBlock:
    """A block (1-based) that merged ``merged`` tokens, so that ``left`` were computed with from there on."""

    block: int
    merged: int
    left: int


@dataclass(frozen=True)
class MergeMap:
    """Where one image's patches went.

    Attributes:
        final_token: int32 (rows, columns), the final token that holds the patch: its number among the ``tokens_out``
            tokens, prefix tokens included. Of a dense model, whose blocks unmerge again, the tokens inside its last
            merging block; -1 where the patch's token was pruned before that block.
        prefix: Tokens ahead of the patches (class, distillation, register), which no patch is ever merged with.
        tokens_in: Tokens entering the first merging block, prefix included.
        tokens_out: Tokens after the last merging block (dense: inside it), prefix included.
        dense: Whether every block unmerges what it merged, so that blocks do not add up.
        blocks: The merging blocks in order of depth.
    """

    final_token: NDArray[np.int32]
    prefix: int
    tokens_in: int
    tokens_out: int
    dense: bool
    blocks: tuple[MergedBlock, ...]

    @property
    def patches_of_token(self) -> NDArray[np.int64]:
        """Patches in each token that is no prefix token, int64 (tokens_out - prefix,), at least 1."""
        present = self.final_token[self.final_token >= 0]
        return np.bincount(present, minlength=self.tokens_out)[self.prefix :]


def is_merge_decision(name: str) -> bool:
    """Whether a graph value is one of those that say what a block merged."""
    kinds = (_SOURCE, _TARGET, _KEPT, _WINDOWS)
    return any(name.startswith(kind) and name[len(kind) :].isdecimal() for kind in kinds)


def merge_map_from_decisions(
    grid: tuple[int, int],
    merges: Sequence[Mapping[str, Any]],
    decisions: Mapping[str, NDArray],
    tokens: TokenMap | None = None,
) -> MergeMap:
    """Follows one image's patches through all blocks that merge.

    Tokens are numbered as they enter a block, prefix tokens first; the patches follow row by row. A block puts out
    [prefix | kept sources | destinations], or the latter two in ascending order where it is a ``raster`` block.

    Args:
        grid: Patch rows and columns.
        merges: The manifest's ``merges``, not empty: block, raster, dense and the fields of `MatchLayout`.
        decisions: ``merge_source_<block>`` and ``merge_target_<block>`` int (r,), ``merge_kept_<block>`` int (k,); where
            whole windows merge, ``merged_windows_<block>`` int (r / 3,).
        tokens: What else a dense model does to its tokens: sharing and pruning.

    Raises:
        BundleError: Decisions that the layouts do not allow, or layouts that do not follow upon each other: the graph
            and its manifest do not agree.
    """
    blocks: list[MergedBlock] = []
    tokens_in = prefix = 0
    place = np.arange(grid[0] * grid[1]).reshape(grid)  # of the patch among the tokens, prefix tokens left out
    count = place.size
    dense, after = False, place
    for block, raster, dense, layout in sorted((_step(entry) for entry in merges), key=lambda step: step[0]):
        if dense and tokens is not None:
            place = tokens.tokens_entering(block)
            count = int(place.max(initial=-1)) + 1
        if not blocks:
            prefix, tokens_in = layout.prefix, layout.tokens
        if layout.prefix != prefix or layout.tokens != prefix + count:
            taken = f"takes {layout.tokens} tokens, {layout.prefix} of them prefix"
            raise disagreement(f"merges of block {block}", f"{taken}; {count} and {prefix} prefix tokens arrive")
        position = _output_of_token(block, layout, raster, decisions)
        after = np.where(place >= 0, position[prefix + place], -1)
        blocks.append(MergedBlock(block, layout.r, layout.tokens - layout.r))
        if not dense:  # a dense block gives all tokens back, so that the next one starts from them again
            place, count = after - prefix, count - layout.r
    return MergeMap(after.astype(np.int32), prefix, tokens_in, blocks[-1].left, dense, tuple(blocks))


def _step(entry: Mapping[str, Any]) -> tuple[int, bool, bool, MatchLayout]:
    """Block, whether it is a raster block, whether a dense one, and its layout."""
    try:
        block, raster, dense = int(entry["block"]), bool(entry["raster"]), entry["dense"] is not None
        return block, raster, dense, MatchLayout.from_dict(entry)
    except (BuildError, KeyError, TypeError, ValueError) as error:
        raise disagreement("merges of the manifest", f"are incomplete ({error!r})") from None


def _tables(layout: MatchLayout) -> MatchTables:
    try:
        return tables_from_layout(layout)
    except BuildError as error:  # what a build refuses is in no bundle
        raise disagreement(error.where, error.problem) from None


def _output_of_token(
    block: int, layout: MatchLayout, raster: bool, decisions: Mapping[str, NDArray]
) -> NDArray[np.int64]:
    """For every token entering the block its place in the block's output, int64 (layout.tokens,)."""
    if layout.kind == "pools":
        return _output_of_pooled(block, layout, decisions)
    nothing = np.zeros(0, dtype=np.int64)  # an array without entries may be left out of the graph
    source, target, kept = (
        np.asarray(decisions.get(f"{kind}{block}", nothing), dtype=np.int64) for kind in (_SOURCE, _TARGET, _KEPT)
    )
    tables = _tables(layout)
    _check(block, layout, tables, source, target, kept)
    order = np.concatenate([kept, np.asarray(tables.destination_tokens, dtype=np.int64)])
    if raster:
        order = np.sort(order)
    position = np.arange(layout.tokens)
    position[order] = layout.prefix + np.arange(order.size)
    position[source] = position[target]
    return position


def _output_of_pooled(block: int, layout: MatchLayout, decisions: Mapping[str, NDArray]) -> NDArray[np.int64]:
    """The same where whole windows of 2x2 patches merged: the windows chosen come first, in their order, then the others."""
    name, prefix, columns = f"{_WINDOWS}{block}", layout.prefix, layout.columns
    chosen = np.asarray(decisions.get(name, ()), dtype=np.int64)
    patches = layout.tokens - prefix
    if columns < 2 or columns % 2 or patches % (2 * columns) or layout.r % 3:
        raise disagreement(
            f"merges of block {block}", f"has {patches} patches in {columns} columns, no windows of 2 x 2"
        )
    if chosen.shape != (layout.r // 3,) or len(set(chosen.tolist())) != chosen.size:
        raise disagreement(name, f"holds {chosen.size} windows, expected {layout.r // 3}, none twice")
    if chosen.size and (chosen.min() < 0 or chosen.max() >= patches // 4):
        raise disagreement(name, f"holds windows {chosen.min()} to {chosen.max()}, expected 0 to {patches // 4 - 1}")
    patch = np.arange(patches)
    window = patch // (2 * columns) * (columns // 2) + patch % columns // 2
    place = np.full(patches // 4, -1)
    place[chosen] = np.arange(chosen.size)
    position = place[window]
    alone = position < 0
    position[alone] = chosen.size + np.arange(np.count_nonzero(alone))
    return np.concatenate([np.arange(prefix), prefix + position])


def _check(
    block: int,
    layout: MatchLayout,
    tables: MatchTables,
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    kept: NDArray[np.int64],
) -> None:
    for kind, values, count in (
        (_SOURCE, source, layout.r),
        (_TARGET, target, layout.r),
        (_KEPT, kept, tables.num_sources - layout.r),
    ):
        name = f"{kind}{block}"
        if values.shape != (count,):
            raise disagreement(name, f"holds {values.size} indices, expected {count}")
        if count and (values.min() < 0 or values.max() >= layout.tokens):
            expected = f"expected 0 to {layout.tokens - 1}"
            raise disagreement(name, f"holds indices {values.min()} to {values.max()}, {expected}")
    if np.bincount(np.concatenate([source, kept]), minlength=layout.tokens).max() > 1:
        raise disagreement(f"{_SOURCE}{block}", f"and {_KEPT}{block} hold an index twice")
    window_of_source = _windows(tables.sources, tables.windows, layout.tokens)
    window_of_target = _windows(tables.destinations, tables.windows, layout.tokens)
    if (window_of_source[np.concatenate([source, kept])] < 0).any():
        raise disagreement(f"{_SOURCE}{block}", f"or {_KEPT}{block} holds a token that is no source")
    if (window_of_target[target] < 0).any():
        raise disagreement(f"{_TARGET}{block}", "holds a token that is no destination")
    if (window_of_source[source] != window_of_target[target]).any():
        raise disagreement(f"{_TARGET}{block}", "holds a token of another window than its source's")


def _windows(table: Sequence[int], windows: int, tokens: int) -> NDArray[np.int64]:
    """Window of every token that the table names, -1 for the others, int64 (tokens,)."""
    values = np.asarray(table, dtype=np.int64).reshape(windows, -1)
    numbers = np.broadcast_to(np.arange(windows)[:, None], values.shape)
    window_of = np.full(tokens, -1, dtype=np.int64)
    window_of[values[values >= 0]] = numbers[values >= 0]
    return window_of
