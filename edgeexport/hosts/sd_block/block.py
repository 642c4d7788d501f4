"""The transformer block of Stable Diffusion's U-Net, with the key names of its published weights, split at its branches.

``x + self_attention(norm1(x))``, then ``x + cross_attention(norm2(x), text)``, then ``x + feed_forward(norm3(x))``.
Source: "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.3 and appendix E.2.1.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.tokens.attention import attend, split_heads

__all__ = ["SdBlock"]


class _Attention(nn.Module):
    """Queries from the tokens, keys and values from ``source``; keys ``to_q``, ``to_k``, ``to_v``, ``to_out.0``."""

    def __init__(self, width: int, source_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(source_width, width, bias=False)
        self.to_v = nn.Linear(source_width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        query, key, value = (
            split_heads(projected, self.num_heads)
            for projected in (self.to_q(tokens), self.to_k(source), self.to_v(source))
        )
        return self.to_out[0](attend(query, key, value))


class _GatedProjection(nn.Module):
    """GEGLU: the first half of ``proj`` times GELU of the second."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class _FeedForward(nn.Module):
    """Hidden width 4 C; keys ``net.0.proj`` and ``net.2`` (``net.1`` is dropout, which has no weights)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(_GatedProjection(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class SdBlock(nn.Module):
    """Weights of one block, its three branches as steps, and the plain forward pass.

    A branch takes what its norm gave, merged or not, and returns what is added to the tokens.
    """

    def __init__(self, spec: SdBlockSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.embed_dims
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = _Attention(width, width, spec.num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = _Attention(width, spec.context_width, spec.num_heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = _FeedForward(width)

    def self_branch(self, normed: Tensor) -> Tensor:
        """Self-attention: (B, n, C) -> (B, n, C)."""
        return self.attn1(normed, normed)

    def text_branch(self, normed: Tensor, context: Tensor) -> Tensor:
        """Cross-attention to the text: (B, n, C), (B, t, context width) -> (B, n, C)."""
        return self.attn2(normed, context)

    def mlp_branch(self, normed: Tensor) -> Tensor:
        """Feed-forward: (B, n, C) -> (B, n, C)."""
        return self.ff(normed)

    def forward(self, hidden_states: Tensor, context: Tensor) -> Tensor:
        """float32 (B, N, C) on the latent grid, row-major, and the text's (B, t, context width) -> (B, N, C)."""
        x = hidden_states + self.self_branch(self.norm1(hidden_states))
        x = x + self.text_branch(self.norm2(x), context)
        return x + self.mlp_branch(self.norm3(x))
