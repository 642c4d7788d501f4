"""How far two arrays of floating values are apart, piece by piece: class scores of a street scene are hundreds of millions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexport.verify.tolerances import Tolerances

__all__ = ["Differences", "differences_of"]

_AT_ONCE = 1 << 22  # elements


@dataclass
class Differences:
    """Of the elements that are finite in both; the others are counted.

    Attributes:
        within: Whether every error is one that the tolerances allow.
        max_abs, max_rel: The largest error, and the largest relative to the reference where that exceeds atol.
        own, other, product: Sums of squares and of products, from which the cosine follows.
        not_finite: Elements that are not finite in either.
    """

    within: bool = True
    max_abs: float = 0.0
    max_rel: float = 0.0
    own: float = 0.0
    other: float = 0.0
    product: float = 0.0
    not_finite: int = 0

    @property
    def cosine(self) -> float:
        """Of the flattened arrays; where one of them is zero, whether both are."""
        norm = math.sqrt(self.own) * math.sqrt(self.other)
        return self.product / norm if norm else float(self.max_abs == 0.0)

    def add(self, a: NDArray, b: NDArray, share: float, tolerances: Tolerances) -> None:
        """Float64 (n,) and what was to come out; ``share`` is allowed beside the tolerances of each element."""
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            self.not_finite += int((~finite).sum())
            a, b = a[finite], b[finite]
        error, size = np.abs(a - b), np.abs(b)
        self.within = self.within and bool((error <= tolerances.atol + tolerances.rtol * size + share).all())
        self.max_abs = max(self.max_abs, float(error.max(initial=0.0)))
        sizable = size > tolerances.atol
        self.max_rel = max(self.max_rel, float((error[sizable] / size[sizable]).max(initial=0.0)))
        self.own, self.other = self.own + float(a @ a), self.other + float(b @ b)
        self.product += float(a @ b)


def differences_of(candidate: NDArray, reference: NDArray, tolerances: Tolerances) -> Differences:
    """Of two arrays of equal shape, images first; what ``tolerances.share`` allows is by an image's largest value."""
    found = Differences()
    images = zip(candidate, reference, strict=True) if reference.ndim else [(candidate, reference)]
    for ours, theirs in images:
        share = tolerances.share * _largest(theirs) if tolerances.share and reference.ndim else 0.0
        for piece in _pieces(theirs):
            found.add(_flat(ours[piece]), _flat(theirs[piece]), share, tolerances)
    return found


def _pieces(image: NDArray) -> Iterator[slice | tuple[()]]:
    """Of its first axis so much at once as is affordable."""
    if not image.ndim:
        yield ()
        return
    rows = max(_AT_ONCE * len(image) // max(image.size, 1), 1)
    for start in range(0, len(image), rows):
        yield slice(start, start + rows)


def _flat(values: NDArray) -> NDArray[np.float64]:
    """In the order of indices, whatever the memory's."""
    return values.astype(np.float64, order="C").reshape(-1)


def _largest(values: NDArray) -> float:
    """The largest finite magnitude."""
    return float(np.abs(values).max(initial=0.0, where=np.isfinite(values)))
