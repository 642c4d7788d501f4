"""A SegViT's weights drawn from a seed.

They stand in for trained weights in demos and benchmarks, so they are drawn to keep two properties of trained ones that
the speed of a bundle depends on (and nothing else):

- class scores are peaked. About a dozen classes are present in an image and the others score near 0 (with scores all
  alike, every class would be a candidate at every pixel). Class queries carry one marked direction, + for the
  first `PRESENT_CLASSES` classes (ADE20K orders its classes by frequency) and - for the others, and the class layer reads
  it; the decoder's residual branches are damped by `RESIDUAL_GAIN`, so that queries keep their identity. This holds for
  PruneHead; with ATMHead, whose tail costs the same whatever the scores, every query is sure of its own class;
- masks are decided: mask logits spread several units around a negative mean, `MASK_SPREAD` and `MASK_OFFSET`, so that a
  token belongs to few classes; and they are smooth in space, as the position embedding is.
"""

from __future__ import annotations

import math

import torch

from edgeexport.hosts.seeded import draw_weights
from edgeexport.hosts.segvit.heads import AtmHead, DecoderLayer, PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.tokens.attention import CrossAttention

__all__ = ["CLASS_LOGIT", "MASK_OFFSET", "MASK_SPREAD", "PRESENT_CLASSES", "RESIDUAL_GAIN", "seed_weights"]


PRESENT_CLASSES = 12
CLASS_LOGIT = 12.0
RESIDUAL_GAIN = 0.3
MASK_SPREAD = 4.0
MASK_OFFSET = -1.0


def seed_weights(model: SegVit, seed: int) -> None:
    """Overwrites every weight of ``model`` with values that depend on ``seed`` and the weight's key alone."""
    with torch.no_grad():
        draw_weights(model, seed, {"backbone.pos_embed": model.backbone.trained_grid})
        for head in [model.decode_head, *getattr(model, "auxiliary_head", [])]:
            _make_peaked(head)


def _make_peaked(head: PruneHead | AtmHead) -> None:
    width, classes = head.spec.width, head.spec.num_classes
    marked = torch.zeros(width)
    marked[::2], marked[1::2] = 1.0, -1.0  # zero mean, so that LayerNorm leaves it alone
    strength = 0.5  # share of a query's norm that lies along the marked direction
    sign = torch.where(torch.arange(classes) < PRESENT_CLASSES, 1.0, -1.0)
    head.q.weight.add_(strength * sign[:, None] * marked)
    reader = marked * (CLASS_LOGIT / (strength * width))
    head.class_embed.weight.mul_(0.1)
    if isinstance(head, PruneHead):
        head.class_embed.weight[0].add_(reader)
    else:
        # ATMHead's query c votes for class c; its last output is "no object".
        head.class_embed.weight[-1].sub_(reader)
        head.class_embed.weight[:-1].add_(head.q.weight * (2 * CLASS_LOGIT / width))
    for name, module in head.named_modules():
        if isinstance(module, DecoderLayer):
            for branch in (module.self_attn.out_proj, module.multihead_attn.proj, module.linear2):
                branch.weight.mul_(RESIDUAL_GAIN)
            if name.endswith(f".{head.spec.num_layers - 1}"):
                _spread_masks(module.multihead_attn)


def _spread_masks(attention: CrossAttention) -> None:
    """Gives q.k / sqrt(d), averaged over heads, about `MASK_SPREAD` standard deviation and `MASK_OFFSET` mean."""
    spread = math.sqrt(MASK_SPREAD * math.sqrt(attention.num_heads))
    attention.q.weight.mul_(spread)
    attention.k.weight.mul_(spread)
    per_head = attention.q.out_features // attention.num_heads
    constant = math.sqrt(-MASK_OFFSET / math.sqrt(per_head))
    attention.q.bias.fill_(constant)
    attention.k.bias.fill_(-constant)
