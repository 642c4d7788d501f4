"""Which tokens' protection in DToP is a toss-up, so that two runtimes may rightly disagree about it.

A token is protected when it is among the most confident ones of its predicted class. Rounding can change its class (its
two best scores nearly equal) or its place at the edge of the class's protected ones; and a token that changes class moves
the edge for the others of both classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["uncertain_protection"]


def uncertain_protection(scores: NDArray, per_class: int, near_tie: float) -> NDArray[np.bool_]:
    """Tokens of one image whose protection rounding may change.

    Args:
        scores: float (K, n), class scores of the tokens at a pruning stage.
        per_class: Tokens protected per predicted class; 0 protects none.
        near_tie: Scores this close may change places.

    Returns:
        bool (n,).
    """
    classes, tokens = scores.shape
    uncertain = np.zeros(tokens, dtype=bool)
    if per_class == 0:
        return uncertain
    confidence = scores.max(axis=0)
    label = scores.argmax(axis=0)
    rival = scores >= confidence - near_tie  # (K, n): classes that a token may be given
    wavering = rival.sum(axis=0) > 1
    for klass in range(classes):
        members = np.flatnonzero((label == klass) | (rival[klass] & wavering))
        order = members[np.argsort(-confidence[members], kind="stable")]
        shift = int(wavering[members].sum())
        uncertain[members[wavering[members]]] = True
        if len(order) <= per_class - shift:
            continue
        # The edge lies between these two, wherever the wavering tokens go; equal confidences may change places.
        first = confidence[order[max(per_class - max(shift, 1), 0)]]
        last = confidence[order[min(per_class + max(shift, 1), len(order)) - 1]]
        if shift or (len(order) > per_class and first - last <= near_tie):
            near = (confidence[order] <= first + near_tie) & (confidence[order] >= last - near_tie)
            uncertain[order[near]] = True
    return uncertain
