"""Weights drawn from a seed, for recipes without a checkpoint: predictions mean nothing, and every output says so.

Every tensor has a generator of its own, seeded by (seed, key): the same key gets the same weights in every recipe, so
that dense and reduced models compare like with like. Position embeddings are mixtures of low spatial frequencies, as
trained ones are smooth in space. Biases and norms are drawn around torch's defaults (0 and 1): exporters drop what is exactly
0 or 1, and graphs would have fewer nodes than those of trained weights.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

__all__ = ["draw_weights", "seed_plain_weights"]

_TOKENS = ("cls_token", "dist_token", "reg_token")
_AROUND_DEFAULT = 0.02
"""Standard deviation of biases, and of a norm's gains and statistics, around torch's defaults."""


def seed_plain_weights(model: nn.Module, seed: int, grid: tuple[int, ...] | None = None) -> None:
    """Overwrites every weight of a host for token merging, by its key alone.

    Args:
        model: A timm host or a diffusion block.
        seed: The recipe's.
        grid: Patches along each axis, for a host whose ``pos_embed`` ends with them.
    """
    with torch.no_grad():
        draw_weights(model, seed, {} if grid is None else {"pos_embed": grid})


def draw_weights(model: nn.Module, seed: int, grids: dict[str, tuple[int, ...]]) -> None:
    """Overwrites every weight, policy network included; ``grids``: key of a position embedding -> patches along each axis."""
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(_drawn(key, value, seed, model, grids))


def _drawn(key: str, value: Tensor, seed: int, model: nn.Module, grids: dict[str, tuple[int, ...]]) -> Tensor:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    module_name, _, leaf = key.rpartition(".")
    module = model.get_submodule(module_name)
    if key in grids:
        return _smooth_positions(value, grids[key], generator)
    is_norm = isinstance(module, (nn.LayerNorm, nn.BatchNorm2d))
    if is_norm or leaf == "gamma" or leaf.endswith("bias"):  # gamma: timm's LayerScale
        default = 0.0 if leaf.endswith(("bias", "running_mean")) else 1.0
        return default + _AROUND_DEFAULT * torch.randn(value.shape, generator=generator)
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
