"""DToP, dynamic token pruning: which tokens leave after an auxiliary head, adaptively and with a fixed count.

Source: "Dynamic Token Pruning in Plain Vision Transformers for Semantic Segmentation", section 3. A token leaves when
its head is confident about it; of each predicted class, the ``protect_per_class`` most confident tokens stay.

The fixed form prunes the first k by key = confidence - 2 [protected]. With k equal to the adaptive form's count both
prune the same tokens. Equal confidences: lowest index first, in protection and in pruning.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeexport.ops.token_partition import token_partition
from edgeexport.ops.token_protect import token_protect, token_protect_reference

__all__ = [
    "confidence_and_label",
    "priority",
    "prune_adaptive",
    "prune_fixed",
    "threshold_for_count",
]


def confidence_and_label(token_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, K, n) -> confidence float32 (B, n), the best class's score, and label int32 (B, n), that class."""
    confidence, label = token_scores.max(dim=1)
    return confidence, label.to(torch.int32)


def priority(confidence: Tensor, protected: Tensor) -> Tensor:
    """Pruning order: confidence - 2 for protected tokens, so that they follow all others; float32 (B, n)."""
    return confidence - 2.0 * protected.to(confidence.dtype)


def prune_fixed(
    confidence: Tensor, label: Tensor, k: int, num_classes: int, protect_per_class: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Prunes exactly ``k`` tokens of every image.

    Args:
        confidence: float32 (B, n).
        label: int32 (B, n).
        k: Tokens to prune, 0 < k < n.
        num_classes: K.
        protect_per_class: Tokens of each predicted class that are pruned last.

    Returns:
        kept int32 (B, n - k) and pruned int32 (B, k), both ascending, and protected bool (B, n).
    """
    if protect_per_class:
        per_class = min(protect_per_class, confidence.shape[1])
        protected = token_protect(confidence, label, num_classes, per_class)
    else:
        protected = torch.zeros_like(label, dtype=torch.bool)
    kept, pruned = token_partition(priority(confidence, protected), k)
    return kept, pruned, protected


def prune_adaptive(
    confidence: Tensor, label: Tensor, threshold: float, num_classes: int, protect_per_class: int
) -> tuple[Tensor, Tensor]:
    """Prunes the tokens of ONE image whose confidence is strictly above ``threshold``, as published.

    Of each predicted class the ``protect_per_class`` most confident such tokens stay.

    Args:
        confidence: float32 (n,).
        label: int32 (n,).

    Returns:
        kept and pruned, int64 index vectors, ascending; their lengths depend on the image.
    """
    candidate = confidence > threshold
    stays = ~candidate
    for klass in range(num_classes):
        members = torch.nonzero(candidate & (label == klass)).flatten()
        order = torch.sort(confidence[members], descending=True, stable=True).indices
        stays[members[order[:protect_per_class]]] = True
    return torch.nonzero(stays).flatten(), torch.nonzero(~stays).flatten()


def threshold_for_count(
    confidence: Tensor, label: Tensor, k: int, num_classes: int, protect_per_class: int
) -> float | None:
    """A threshold at which the adaptive form prunes exactly ``k`` tokens of ONE image, or None where none exists.

    It lies between the k-th and (k + 1)-th confidence of the unprotected tokens, halfway where a float32 lies there, else
    on the lower one. None when fewer than k tokens are unprotected, or when those two confidences are equal.

    Args:
        confidence: float32 (n,).
        label: int32 (n,).
        k: At least 1.
    """
    if protect_per_class:
        per_class = min(protect_per_class, confidence.shape[0])
        protected = token_protect_reference(confidence[None], label[None], num_classes, per_class)[0]
    else:
        protected = torch.zeros_like(label, dtype=torch.bool)
    ranked = torch.sort(confidence[~protected], descending=True).values.tolist()
    if len(ranked) < k:
        return None
    upper = ranked[k - 1]
    # With exactly k unprotected tokens every threshold below the k-th serves: protected tokens never leave.
    lower = ranked[k] if len(ranked) > k else upper - 1.0
    if lower >= upper:
        return None
    middle = float(torch.tensor((upper + lower) / 2, dtype=confidence.dtype))
    # Between adjacent floats the middle may round up to the k-th, which then would stay: tokens leave strictly above.
    return middle if middle < upper else lower
