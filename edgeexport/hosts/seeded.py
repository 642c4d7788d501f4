"""Weights drawn from a seed, for recipes without a checkpoint.

They stand in for trained weights in demos and benchmarks, so they are drawn to keep two properties of trained ones that
the speed of a bundle depends on (and nothing else: predictions mean nothing, and every output says so):

- class scores are peaked. About a dozen classes are present in an image and the others score near 0 (with scores all
  alike, every class would be a candidate at every pixel). Class queries carry one marked direction, + for the
  first `PRESENT_CLASSES` classes (ADE20K orders its classes by frequency) and - for the others, and the class layer reads
  it; the decoder's residual branches are damped by `RESIDUAL_GAIN`, so that queries keep their identity. This holds for
  PruneHead; with ATMHead, whose tail costs the same whatever the scores, every query is sure of its own class;
- masks are decided: mask logits spread several units around a negative mean, `MASK_SPREAD` and `MASK_OFFSET`, so that a
  token belongs to few classes; and they are smooth in space, because the position embedding is a mixture of low spatial
  frequencies.

Every tensor has a generator of its own, seeded by (seed, key): the same key gets the same weights in every recipe, so
that dense and reduced models compare like with like.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

from edgeexport.hosts.segvit.heads import AtmHead, DecoderLayer, PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.tokens.attention import CrossAttention

__all__ = ["MASK_OFFSET", "MASK_SPREAD", "PRESENT_CLASSES", "seed_plain_weights", "seed_weights"]

PRESENT_CLASSES = 12
CLASS_LOGIT = 12.0
RESIDUAL_GAIN = 0.3
MASK_SPREAD = 4.0
MASK_OFFSET = -1.0

_TOKENS = ("cls_token", "dist_token", "reg_token")


def seed_weights(model: SegVit, seed: int) -> None:
    """Overwrites every weight of ``model`` with values that depend on ``seed`` and the weight's key alone."""
    with torch.no_grad():
        _draw_all(model, seed, {"backbone.pos_embed": model.backbone.trained_grid})
        for head in [model.decode_head, *getattr(model, "auxiliary_head", [])]:
            _make_peaked(head)


def seed_plain_weights(model: nn.Module, seed: int, grid: tuple[int, ...] | None = None) -> None:
    """Overwrites every weight of a host for token merging, as `seed_weights` does, without its care for class scores.

    Args:
        model: A timm host or a diffusion block.
        seed: The recipe's.
        grid: Patches along each axis, for a host whose ``pos_embed`` ends with them.
    """
    with torch.no_grad():
        _draw_all(model, seed, {} if grid is None else {"pos_embed": grid})


def _draw_all(model: nn.Module, seed: int, grids: dict[str, tuple[int, ...]]) -> None:
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(_drawn(key, value, seed, model, grids))


def _drawn(key: str, value: Tensor, seed: int, model: nn.Module, grids: dict[str, tuple[int, ...]]) -> Tensor:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    module_name, _, leaf = key.rpartition(".")
    module = model.get_submodule(module_name)
    if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
        return torch.zeros_like(value) if leaf in ("bias", "running_mean") else torch.ones_like(value)
    if key in grids:
        return _smooth_positions(value, grids[key], generator)
    if leaf == "gamma":  # timm's LayerScale
        return torch.ones_like(value)
    if leaf.endswith("bias"):
        return torch.zeros_like(value)
    if isinstance(module, nn.Embedding) or value.ndim < 2 or leaf in _TOKENS:
        return torch.randn(value.shape, generator=generator)
    fan_in = value[0].numel()
    # Convolutions of the policy network are followed by ReLU6, which halves the second moment.
    gain = 2.0 if key.startswith("policy_net.backbone") else 1.0
    return torch.randn(value.shape, generator=generator) * math.sqrt(gain / fan_in)


def _smooth_positions(value: Tensor, grid: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Unit-variance mixture of six plane waves of at most two periods per axis, for every channel; zeros for the prefix."""
    channels = value.shape[2]
    waves = 6
    frequency = torch.rand(len(grid), waves, channels, generator=generator) * 4 - 2
    phase = torch.rand(waves, channels, generator=generator) * 2 * math.pi
    amplitude = torch.randn(waves, channels, generator=generator) * math.sqrt(2 / waves)
    angle = torch.zeros(())
    for axis, length in enumerate(grid):
        steps = torch.linspace(0, 2 * math.pi, length).reshape([-1 if i == axis else 1 for i in range(len(grid))])
        angle = angle + steps[..., None, None] * frequency[axis]
    field = (amplitude * torch.sin(angle + phase)).sum(dim=-2)
    result = torch.zeros_like(value)
    result[0, value.shape[1] - math.prod(grid) :] = field.flatten(0, -2)
    return result


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
