"""Rotary positions: angles of tokens by one number, or by time, row and column (M-RoPE), and turning by them.

Sources: RoFormer (arXiv 2104.09864), section 3.4; Qwen2-VL (arXiv 2409.12191), section 2.1, for M-RoPE: the frequencies of a
head are shared out in sections, each turning by another of the three numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["frequencies", "text_rotation", "turned"]


def frequencies(size: int, theta: float) -> Tensor:
    """float32 (size / 2,), of a head of ``size`` channels."""
    return 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size))


def text_rotation(
    position: Tensor, size: int, theta: float, sections: tuple[int, int, int] | None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines float32 (B, 1, n, D) of tokens at ``position``.

    Args:
        position: integer (B, n), or (3, B, n) with ``sections``.
        size: D, channels of a head.
        theta: Base of the frequencies.
        sections: Frequencies that turn by time, row and column.
    """
    frequency = frequencies(size, theta)
    if sections is None:
        angle = position.to(torch.float32)[..., None] * frequency
    else:
        parts, start = [], 0
        for axis, length in enumerate(sections):
            parts.append(position[axis].to(torch.float32)[..., None] * frequency[start : start + length])
            start += length
        angle = torch.cat(parts, dim=-1)
    angle = torch.cat([angle, angle], dim=-1)[:, None]
    return angle.cos(), angle.sin()


def turned(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Channels i and i + D/2 of (..., D) are a pair that is turned together."""
    cosine, sine = rotation
    half = x.shape[-1] // 2
    return x * cosine + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sine
