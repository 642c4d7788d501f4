"""A pre-norm transformer block, cut where reductions act."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Block", "Residual"]


class Residual(nn.Module):
    """``x + branch(norm(x))``: (B, n, C) -> (B, n, C)."""

    def __init__(self, norm: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.norm, self.branch = norm, branch

    def forward(self, x: Tensor, bias: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """``bias`` and ``context`` as in `Block`."""
        return x + self.added(self.norm(x), bias, context)

    def added(self, normed: Tensor, bias: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """What the branch adds to tokens whose norm, perhaps merged since, is (B, n, C)."""
        return self.branch(normed)


class Block(nn.Module):
    """Residual branches by name, in order; the first is self-attention.

    In all methods ``bias`` is float32 (B, 1, 1, n), added to the attention logits of every key, or None; ``context`` is
    what the block attends to beside its tokens, (B, t, D), or None.
    """

    def __init__(self, **residuals: nn.Module) -> None:
        super().__init__()
        for name, residual in residuals.items():
            self.add_module(name, residual)
        self._order = tuple(residuals)

    @property
    def residuals(self) -> list[Residual]:
        """The branches, for reductions that act behind each norm."""
        return [getattr(self, name) for name in self._order]

    def attend(
        self, x: Tensor, bias: Tensor | None, metric: str | None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The first branch, and what tokens are compared by.

        Args:
            x: (B, n, C).
            bias: See the class.
            metric: 'x': the tokens themselves, after the branch; a host may offer 'k', 'q' and 'v' of its heads,
                (B, h, n, d); None where nothing is compared.
            rotation: See `Trace.rotation`.
        """
        x = self.residuals[0](x, bias)
        return x, x if metric is not None else None

    def finish(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The branches after the first."""
        for residual in self.residuals[1:]:
            x = residual(x, None, context)
        return x

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        context: Tensor | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """The whole block: (B, n, C) -> (B, n, C)."""
        return self.finish(self.attend(x, bias, None, rotation)[0], context)
