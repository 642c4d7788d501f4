"""What a bundle merges, in words: its manifest's ``merges`` as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

__all__ = ["merge_text"]

Json = Mapping[str, Any]


def merge_text(merges: Sequence[Json]) -> str:
    """Counts, blocks, windows and whether tokens come back; empty where nothing merges.

    Args:
        merges: One entry per merging block: its number and, among others, ``r``, ``kind``, ``window`` and ``dense``.
    """
    if not merges:
        return ""
    counts = [int(entry["r"]) for entry in merges]
    blocks = _ranges([int(entry["block"]) for entry in merges])
    each = "each of " if len(merges) > 1 else ""
    if len(set(counts)) == 1:
        text = f"{counts[0]:,} tokens merged in {each}{blocks}"
    else:
        text = f"{sum(counts):,} tokens merged in {blocks}: {', '.join(map(str, counts))}"
    windows = [entry for entry in merges if entry["kind"] == "windows"]
    if windows:
        sides = sorted({int(entry["window"]) for entry in windows})
        span = f"{sides[0]} x {sides[0]}" + (f" to {sides[-1]} x {sides[-1]}" if len(sides) > 1 else "")
        text += f", inside windows of {span} tokens in {_ranges([int(entry['block']) for entry in windows])}"
    if any(entry["kind"] == "cells" for entry in merges):
        text += ", into one token of every 2 x 2 cell"
    pools = [int(entry["block"]) for entry in merges if entry["kind"] == "pools"]
    if pools:
        text += f", whole windows of 2 x 2 in {_ranges(pools)}"
    dense = {entry.get("dense") for entry in merges}
    if "sd" in dense:
        return f"{text}, around every residual branch"
    return f"{text}, and unmerged after it" if dense - {None} else text


def _ranges(blocks: Sequence[int]) -> str:
    """'block 3' or 'blocks 1 to 4, 6'."""
    runs = []
    for _, members in groupby(enumerate(blocks), key=lambda pair: pair[1] - pair[0]):
        run = [block for _, block in members]
        runs.append(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}")
    return f"block{'s' if len(blocks) > 1 else ''} {', '.join(runs)}"
