"""Muon: momentum whose step is made orthogonal, for the matrices of a transformer.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the step size follows Liu et
al., "Muon is Scalable for LLM Training" (2025), so that AdamW's learning rates apply. torch has it too, but always in
bfloat16, which a CPU without such instructions takes seconds for; this one stays in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["OrthogonalMomentum", "orthogonalised"]

_QUINTIC = (3.4445, -4.7750, 2.0315)  # drives singular values into 0.7..1.2 in few iterations
_ITERATIONS = 4
_RMS = 0.2  # of an AdamW step


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values near 1: (m, n) -> (m, n)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class OrthogonalMomentum(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    Args:
        params: Matrices.
        lr: As for AdamW.
        momentum: Of the running gradient.
        weight_decay: Share of a weight that goes per unit of ``lr``.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; ``closure`` is not used."""
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is None:
                    continue
                state = self.state[value]
                if not state:
                    state["momentum"] = torch.zeros_like(value)
                state["momentum"].lerp_(value.grad, 1 - group["momentum"])
                direction = orthogonalised(value.grad.lerp(state["momentum"], group["momentum"]))
                value.mul_(1 - group["lr"] * group["weight_decay"])
                value.sub_(direction, alpha=group["lr"] * _RMS * max(value.shape) ** 0.5)
