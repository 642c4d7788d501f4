"""Token merging put into a timm model the way it is published: the attention and the blocks of a copy change class.

Written anew from the description of ToMe (Bolya et al., "Token Merging: Your ViT But Faster", section 3), with the same
sequence of tensor operations: keys averaged over heads and normalised, a product of even with odd tokens, maximum and
descending argsort, batched gathers, a scatter that adds, a concatenation. It shares nothing with the package, so that an
export of it shows what torch's exporter makes of the method as it stands.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx
import torch
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn

__all__ = ["PatchedVit", "exported_patched"]


@dataclass
class _State:
    """What the blocks of one forward pass hand on: how many tokens the next ones merge, and the token sizes so far."""

    r: list[int] = field(default_factory=list)
    size: Tensor | None = None
    scatters: bool = True


class _Merge:
    """Bipartite soft matching of one block: the r best pairs of even tokens with odd tokens merge, the first token never.

    Args:
        metric: (B, N, d).
        r: Pairs that merge.
        scatters: Merge by a scatter that adds; False: by a product with a matrix of ones and zeros, which TensorRT parses.
    """

    def __init__(self, metric: Tensor, r: int, scatters: bool) -> None:
        self.scatters = scatters
        unit = metric / metric.norm(dim=-1, keepdim=True)
        even, odd = unit[:, ::2], unit[:, 1::2]
        scores = even @ odd.transpose(-1, -2)
        scores[:, 0, :] = -torch.inf  # the class token
        best, partner = scores.max(dim=-1)
        order = best.argsort(dim=-1, descending=True)[..., None]
        self.stays = order[:, r:].sort(dim=1).values
        self.goes = order[:, :r]
        self.into = partner[..., None].gather(1, self.goes)

    def summed(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N - r, C): even tokens that stay, then odd ones with what merged into them added."""
        even, odd = x[:, ::2], x[:, 1::2]
        batch, _, width = even.shape
        stays = even.gather(1, self.stays.expand(batch, self.stays.shape[1], width))
        goes = even.gather(1, self.goes.expand(batch, self.goes.shape[1], width))
        if self.scatters:
            odd = odd.scatter_reduce(1, self.into.expand(batch, self.into.shape[1], width), goes, reduce="sum")
        else:
            pairs = self.into == torch.arange(odd.shape[1])
            odd = odd + pairs.to(x.dtype).transpose(1, 2) @ goes
        return torch.cat([stays, odd], dim=1)


class _PatchedAttention(Attention):
    """Attention that takes token sizes into account and also returns the mean key of each token."""

    def forward(self, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        batch, count, width = x.shape
        joint = self.qkv(x).reshape(batch, count, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = joint.unbind(0)
        scores = (query * self.scale) @ key.transpose(-2, -1)
        if size is not None:
            scores = scores + size.log()[:, None, None, :, 0]
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, count, width)
        return self.proj(mixed), key.mean(dim=1)


class _PatchedBlock(Block):
    """Block that merges ``state.r`` tokens between attention and MLP."""

    state: _State

    def forward(self, x: Tensor, **_ignored: object) -> Tensor:  # type: ignore[override]
        size = self.state.size
        mixed, metric = self.attn(self.norm1(x), size)
        x = x + self.ls1(mixed)
        merge = _Merge(metric, self.state.r.pop(0), self.state.scatters)
        if size is None:
            size = torch.ones_like(x[..., :1])
        x = merge.summed(x * size)
        self.state.size = merge.summed(size)
        x = x / self.state.size
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchedVit(nn.Module):
    """uint8 image (B, H, W, 3) in, logits (B, K) out.

    Args:
        model: With a class token and no other prefix token; a copy is patched.
        r: Tokens that merge, per block; every block must merge some.
        mean, std: Of the pixels, per channel.
        scatters: See `_Merge`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: VisionTransformer,
        r: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        scatters: bool = True,
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.r = list(r)
        self.state = _State(scatters=scatters)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        for block in self.model.blocks:
            assert isinstance(block, Block)
            block.__class__, block.attn.__class__ = _PatchedBlock, _PatchedAttention
            vars(block)["state"] = self.state

    def forward(self, image: Tensor) -> Tensor:
        self.state.r, self.state.size = list(self.r), None
        return self.model((image.permute(0, 3, 1, 2).float() - self.mean) / self.std)


def exported_patched(patched: PatchedVit, image: Tensor) -> onnx.ModelProto:
    """Torch's own export of it at the shape of ``image``: input ``image``, output ``logits``."""
    program = torch.onnx.export(
        patched.eval(), (image,), dynamo=True, input_names=["image"], output_names=["logits"], verbose=False
    )
    assert program is not None
    return program.model_proto
