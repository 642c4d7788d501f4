"""A plain Vision Transformer's blocks for walks: cut at their branches, and able to say what tokens are compared by."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.segmentation.vit import VitBackbone, VitBlock
from edgeexport.tokens.attention import SelfAttention, attend
from edgeexport.tokens.block import Block, Residual

__all__ = ["PublishedVitBlock", "VitWalkBlock", "layers_of"]


def layers_of(backbone: VitBackbone) -> list[VitBlock]:
    """Its blocks, in order of depth."""
    return [layer for layer in backbone.layers if isinstance(layer, VitBlock)]


class _SelfAttention(Residual):
    def added(self, normed: Tensor, bias: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        return self.branch(normed, bias)


class _Compared(nn.Module):
    """An attention branch that also gives what tokens are compared by, (B, h, n, d): 'k', 'q' or 'v'."""

    def __init__(self, residual: _SelfAttention) -> None:
        super().__init__()
        self._residual = (residual,)  # no submodule: an export tells nodes apart by names, and it has one already

    def forward(self, x: Tensor, bias: Tensor | None, metric: str) -> tuple[Tensor, Tensor]:
        (residual,) = self._residual
        attention = residual.branch.attn
        assert isinstance(attention, SelfAttention)
        query, key, value = attention.heads(residual.norm(x))
        mixed = attention.out_proj(attend(query, key, value, bias))
        return x + mixed, {"q": query, "k": key, "v": value}[metric]


class VitWalkBlock(Block):
    """A `VitBlock` cut where reductions act; it holds the block's own modules."""

    def __init__(self, layer: VitBlock) -> None:
        attention = _SelfAttention(layer.ln1, layer.attn)
        super().__init__(attn=attention, mlp=Residual(layer.ln2, layer.ffn))
        self.compared = _Compared(attention)

    def attend(
        self, x: Tensor, bias: Tensor | None, metric: str | None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See `Block.attend`; the metric may be 'k', 'q', 'v' or 'x'."""
        return super().attend(x, bias, metric) if metric in (None, "x") else self.compared(x, bias, metric)


class PublishedVitBlock(Block):
    """mmsegmentation's block, cut at its branches."""

    def __init__(self, layer: VitBlock) -> None:
        super().__init__(attn=_SelfAttention(layer.ln1, layer.attn), mlp=Residual(layer.ln2, layer.ffn))
        self.layer = layer

    def attend(
        self, x: Tensor, bias: Tensor | None, metric: str | None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The metric is averaged over heads: (1, n, d)."""
        after, compared = super().attend(x, bias, metric)
        if metric in (None, "x"):
            return after, compared
        attention, width = self.layer.attn.attn, x.shape[2]
        first = {"q": 0, "k": width, "v": 2 * width}[str(metric)]
        rows = slice(first, first + width)
        bias_of = None if attention.in_proj_bias is None else attention.in_proj_bias[rows]
        part = F.linear(self.layer.ln1(x), attention.in_proj_weight[rows], bias_of)
        return after, part.reshape(*x.shape[:2], attention.num_heads, -1).mean(dim=2)
