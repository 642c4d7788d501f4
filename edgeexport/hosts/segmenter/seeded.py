"""A Segmenter's weights drawn from a seed.

As for a SegViT (`edgeexport.hosts.segvit.seeded`), they keep what the speed of a bundle depends on: class scores are peaked,
so that few classes can win in a cell. The mask transformer's last norm gives the first `PRESENT_CLASSES` classes a lead.
"""

from __future__ import annotations

import torch

from edgeexport.hosts.seeded import draw_weights
from edgeexport.hosts.segmenter.segmenter import MaskTransformer, Segmenter

__all__ = ["PRESENT_CLASSES", "seed_weights"]

PRESENT_CLASSES = 12
_LEAD = 2.0  # of a present class over the others, in standard deviations of the masks of a token


def seed_weights(model: Segmenter, seed: int) -> None:
    """Overwrites every weight of ``model`` with values that depend on ``seed`` and the weight's key alone."""
    with torch.no_grad():
        draw_weights(model, seed, {"backbone.pos_embed": model.backbone.trained_grid})
        head = model.decode_head
        bias = head.mask_norm.bias if isinstance(head, MaskTransformer) else head.conv_seg.bias
        assert bias is not None
        bias[: min(PRESENT_CLASSES, head.spec.num_classes - 1)].add_(_LEAD)
