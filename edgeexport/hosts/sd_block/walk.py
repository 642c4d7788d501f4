"""A Stable Diffusion block as a walk of one block with three branches."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from edgeexport.hosts.host import PublishedWalk, Walk
from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.tokens.block import Block, Residual
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace

__all__ = ["PublishedSdWalk", "SdBlockWalk"]


class _ToItself(Residual):
    def added(self, normed: Tensor, bias: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        return self.branch(normed, normed)


class _ToText(Residual):
    def added(self, normed: Tensor, bias: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        return self.branch(normed, context)


class SdBlockWalk(Walk):
    """Inputs float32 (B, N, C) on the latent grid, row-major, and the text's (B, t, context width)."""

    input_names: ClassVar[tuple[str, ...]] = ("hidden_states", "context")

    def __init__(self, model: SdBlock) -> None:
        super().__init__()
        block = Block(
            attn1=_ToItself(model.norm1, model.attn1),
            attn2=_ToText(model.norm2, model.attn2),
            ff=Residual(model.norm3, model.ff),
        )
        self.blocks, self.exits, self.reads = nn.ModuleDict({"1": block}), nn.ModuleDict(), (1,)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The tokens."""
        return ("tokens",)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and text as they are."""
        hidden_states, context = inputs
        return hidden_states, context

    def embed(self, pixels: Tensor) -> Tensor:
        """Tokens are embedded already."""
        return pixels

    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """``tokens``, float32 (B, N, C)."""
        return {"tokens": stages[1]}


class PublishedSdWalk(PublishedWalk):
    """The plain block's own branches."""

    def __init__(self, model: SdBlock) -> None:
        self.walk = SdBlockWalk(model)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and text as they are."""
        return self.walk.begin(*inputs)

    def embed(self, pixels: Tensor) -> Tensor:
        """Tokens are embedded already."""
        return pixels

    def block(self, number: int) -> Block:
        """The only one."""
        return self.walk.block(number)

    def predict(
        self, stages: dict[int, Tensor], tokens: PublishedTokens, *, pool: str, upsample: bool
    ) -> dict[str, Tensor]:
        """``tokens``, float32 (N, C)."""
        return {"tokens": stages[1][0]}
