"""Decisions that an execution made, for a fixed model to carry out instead of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeexport.reductions.merging import Decision

__all__ = ["Imposed", "imposed_decisions"]


@dataclass(frozen=True)
class Imposed:
    """What a fixed model is to decide.

    Attributes:
        merges: block -> int32 source, target and kept of every image.
        selections: ``shared_windows`` or ``pruned_tokens_<block>`` -> int32 (B, k).
    """

    merges: Mapping[int, Decision] = field(default_factory=dict)
    selections: Mapping[str, Tensor] = field(default_factory=dict)


def imposed_decisions(
    found: Mapping[str, NDArray], merging: Iterable[int], selections: Iterable[str], images: slice
) -> Imposed:
    """The decisions of ``images`` in an execution's outputs.

    Args:
        found: All outputs by name.
        merging: The blocks that merge.
        selections: Names of the outputs that hold selections.
        images: Which rows.
    """

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(found[name][images])

    merges = {
        block: (tensor(f"merge_source_{block}"), tensor(f"merge_target_{block}"), tensor(f"merge_kept_{block}"))
        for block in merging
    }
    return Imposed(merges, {name: tensor(name) for name in selections})
