"""Merges of a fixed model and of its original, in the form in which decisions are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexport.fixed.merge_trace import MergeTrace

__all__ = ["merge_outputs", "merge_scores"]


class _Merge(Protocol):
    @property
    def edges(self) -> list[tuple[int, int]]: ...

    @property
    def kept(self) -> list[int]: ...


def merge_scores(trace: MergeTrace) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Scores and gaps behind the merges that a fixed model made: both float (B, N) by ``merges_<block>``, by depth."""
    blocks = sorted(trace.best)
    scores = {f"merges_{block}": trace.best[block].numpy() for block in blocks}
    return scores, {f"merges_{block}": trace.gap[block].numpy() for block in blocks}


def merge_outputs(images: Sequence[Mapping[int, _Merge]]) -> dict[str, NDArray]:
    """Merges that the original made, image by image, as the outputs of that name in a graph."""
    found: dict[str, NDArray] = {}
    for block in images[0]:
        steps = [image[block] for image in images]
        found[f"merge_source_{block}"] = np.array([[source for source, _ in step.edges] for step in steps], np.int32)
        found[f"merge_target_{block}"] = np.array([[target for _, target in step.edges] for step in steps], np.int32)
        found[f"merge_kept_{block}"] = np.array([step.kept for step in steps], np.int32)
    return found
