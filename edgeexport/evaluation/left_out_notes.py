"""Tells of the first few things that were left out of a run over images; its result has them all."""

from __future__ import annotations

from collections.abc import Callable

from edgeexport.evaluation.dataset import LeftOut

__all__ = ["LeftOutNotes"]

_TOLD = 5


class LeftOutNotes:
    """To be called with every `LeftOut` as it is found.

    Args:
        on_note: Called with a sentence for each of the first few, and once with ``more``.
        more: Where the others are listed.
    """

    def __init__(self, on_note: Callable[[str], None], more: str) -> None:
        self._on_note, self._more, self._count = on_note, more, 0

    def __call__(self, item: LeftOut) -> None:
        self._count += 1
        if self._count <= _TOLD:
            self._on_note(f"left out: {item.name}: {item.problem}")
        elif self._count == _TOLD + 1:
            self._on_note(f"left out: more; {self._more}")
