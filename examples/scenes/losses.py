"""What training minimises, written for the scores that a PruneHead predicts: presence of a class times its mask.

- masks: binary cross-entropy of a token's mask against the share of the token that the class covers, for classes that are
  present, so that a confidence means what it says and a threshold on it makes sense;
- presence: cross-entropy of a query's two outputs (present, absent);
- scores: cross-entropy of the scores, normalised over classes: what the arg-max of the class map depends on. Of every head
  at its tokens, and of the final scores as they are upsampled.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexport.hosts.segvit.heads import PruneHead
from examples.scenes.training_forward import HeadOutput, TrainingPass

__all__ = ["head_loss", "map_loss", "total_loss"]

_TINY = 1e-6
_AUXILIARY = 0.4  # weight of each auxiliary head beside the final one


def head_loss(output: HeadOutput, class_weight: Tensor) -> Tensor:
    """Masks, presence and normalised scores of one head's tokens; a scalar."""
    present = output.fractions.amax(dim=2) > 0
    masks = F.binary_cross_entropy_with_logits(output.mask_logits, output.fractions, reduction="none").mean(dim=2)
    mask_loss = (masks * present).sum() / present.sum()
    presence = F.cross_entropy(output.class_logits.transpose(1, 2), (~present).long())
    scores = PruneHead.token_scores(output.class_logits, output.mask_logits)
    return mask_loss + presence + _score_loss(scores, output.fractions, class_weight)


def map_loss(scores: Tensor, label: Tensor, class_weight: Tensor) -> Tensor:
    """Cross-entropy of the upsampled scores (B, K, h, w) against int64 (B, H, W), at every fourth pixel."""
    small = label[:, 2::4, 2::4]
    upsampled = F.interpolate(scores, size=small.shape[1:], mode="bilinear", align_corners=False)
    share = upsampled / (upsampled.sum(dim=1, keepdim=True) + _TINY)
    # The loss of 2-D maps takes contiguous classes only.
    return F.nll_loss((share + _TINY).log().contiguous(), small, weight=class_weight)


def total_loss(found: TrainingPass, label: Tensor, class_weight: Tensor) -> Tensor:
    """All heads and the class map; a scalar."""
    *auxiliary, final = (head_loss(head, class_weight) for head in found.heads)
    return final + _AUXILIARY * torch.stack(auxiliary).sum() + map_loss(found.scores, label, class_weight)


def _score_loss(scores: Tensor, fractions: Tensor, class_weight: Tensor) -> Tensor:
    share = (scores + _TINY) / (scores + _TINY).sum(dim=1, keepdim=True)
    weighted = fractions * class_weight[None, :, None]
    return -(weighted * share.log()).sum() / weighted.sum()
