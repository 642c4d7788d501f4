"""Leave-one-out nearest neighbours: what embeddings are worth where no classifier is trained. NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEIGHBOURS", "left_out_predictions"]

NEIGHBOURS = 5
_ROWS = 512


def left_out_predictions(
    vectors: NDArray, labels: NDArray[np.int64], neighbours: int = NEIGHBOURS
) -> NDArray[np.int64]:
    """The class of each vector by the vote of its nearest neighbours among the others, by cosine.

    Of classes with as many votes the one whose first neighbour is nearest wins; of equally near ones the lower index comes
    first.

    Args:
        vectors: float (n, C), n at least 2.
        labels: int64 (n,), 0 or more.
        neighbours: How many vote; all others where there are fewer.

    Returns:
        int64 (n,).
    """
    count, k = len(vectors), min(neighbours, len(vectors) - 1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float64)
    found = np.empty(count, dtype=np.int64)
    for start in range(0, count, _ROWS):
        similarity = unit[start : start + _ROWS] @ unit.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        for row, near in zip(rows, labels[nearest], strict=True):
            votes = np.bincount(near)
            found[start + row] = next(label for label in near if votes[label] == votes.max())
    return found
