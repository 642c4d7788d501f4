"""Vision tower of Qwen2.5-VL at fixed image grids, under the published key names.

Source: Qwen2.5-VL technical report (arXiv 2502.13923), section 2.1. Patches come in the order in which they are merged: image
by image, squares of ``merge`` x ``merge`` patches row by row. Attention runs in groups of patches, which are windows of one
image, or whole images in some layers; groups are constant tables of places, the short ones padded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgeexport.hosts.decoder.rotary import frequencies, turned
from edgeexport.hosts.decoder.spec import VisionSpec
from edgeexport.hosts.decoder.text import GatedMlp, RmsNorm

__all__ = ["Tower", "TowerGroups", "patch_places"]

_NORM_EPSILON = 1e-6


def patch_places(grids: Sequence[tuple[int, int]], merge: int) -> Tensor:
    """int64 (N, 3): image, row and column of every patch, in the order in which they come."""
    places = []
    for image, (rows, columns) in enumerate(grids):
        for top in range(0, rows, merge):
            for left in range(0, columns, merge):
                places += [(image, top + y, left + x) for y in range(merge) for x in range(merge)]
    return torch.tensor(places)


class TowerGroups(nn.Module):
    """Which patches attend to each other: ``index`` int64 (G, S), ``padding`` bool (G, S), and ``place`` int64 (N,), where a
    patch stands among the G x S.
    """

    index: Tensor
    padding: Tensor
    place: Tensor

    def __init__(self, members: Sequence[Sequence[int]]) -> None:
        super().__init__()
        longest = max(map(len, members))
        self.padded = min(map(len, members)) < longest
        self.register_buffer("index", torch.zeros(len(members), longest, dtype=torch.int64), persistent=False)
        self.register_buffer("padding", torch.ones(len(members), longest, dtype=torch.bool), persistent=False)
        self.register_buffer("place", torch.zeros(sum(map(len, members)), dtype=torch.int64), persistent=False)
        for group, patches in enumerate(members):
            self.index[group, : len(patches)] = torch.tensor(patches)
            self.padding[group, : len(patches)] = False
            self.place[torch.tensor(patches)] = torch.arange(len(patches)) + group * longest

    @classmethod
    def of_windows(cls, places: Tensor, side: int) -> TowerGroups:
        """Windows of ``side`` x ``side`` patches of each image, from its top left."""
        return cls._by_key([(image, row // side, column // side) for image, row, column in places.tolist()])

    @classmethod
    def of_images(cls, places: Tensor) -> TowerGroups:
        """Each image whole."""
        return cls._by_key([(image, 0, 0) for image, _, _ in places.tolist()])

    @classmethod
    def _by_key(cls, keys: Sequence[tuple[int, int, int]]) -> TowerGroups:
        members: dict[tuple[int, int, int], list[int]] = {}
        for patch, key in enumerate(keys):
            members.setdefault(key, []).append(patch)
        return cls(list(members.values()))


class _PatchEmbed(nn.Module):
    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        size = (spec.frames, spec.patch, spec.patch)
        self.proj = nn.Conv3d(spec.channels, spec.width, kernel_size=size, stride=size, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """A convolution without overlap is a product of flat patches (N, channels frames patch^2)."""
        return nn.functional.linear(pixels, self.proj.weight.flatten(1))


class _Attention(nn.Module):
    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.qkv = nn.Linear(spec.width, 3 * spec.width)
        self.proj = nn.Linear(spec.width, spec.width)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], groups: TowerGroups) -> Tensor:
        """(N, C) -> (N, C)."""
        count, width = x.shape
        made = self.qkv(x).reshape(count, 3, self.heads, width // self.heads)
        query, key = (turned(made[:, part], rotation) for part in (0, 1))
        query, key, value = (part[groups.index].transpose(1, 2) for part in (query, key, made[:, 2]))
        logits = (query * (width // self.heads) ** -0.5) @ key.transpose(2, 3)
        if groups.padded:
            logits = torch.where(groups.padding[:, None, None], torch.finfo(torch.float32).min, logits)
        attended = (torch.softmax(logits, dim=-1) @ value).transpose(1, 2).reshape(-1, width)
        return self.proj(attended[groups.place])


class _Block(nn.Module):
    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.norm1 = RmsNorm(spec.width, _NORM_EPSILON)
        self.norm2 = RmsNorm(spec.width, _NORM_EPSILON)
        self.attn = _Attention(spec)
        self.mlp = GatedMlp(spec.width, spec.hidden, bias=True)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], groups: TowerGroups) -> Tensor:
        x = x + self.attn(self.norm1(x), rotation, groups)
        return x + self.mlp(self.norm2(x))


class _Merger(nn.Module):
    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.wide = spec.width * spec.merge**2
        self.ln_q = RmsNorm(spec.width, _NORM_EPSILON)
        self.mlp = nn.Sequential(nn.Linear(self.wide, self.wide), nn.GELU(), nn.Linear(self.wide, spec.out_width))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.ln_q(x).reshape(-1, self.wide))


class Tower(nn.Module):
    """Patches (N, channels frames patch^2) of images with these grids -> visual tokens (N / merge^2, out_width)."""

    def __init__(self, spec: VisionSpec, grids: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(spec)
        self.blocks = nn.ModuleList(_Block(spec) for _ in range(spec.layers))
        self.merger = _Merger(spec)
        self._whole = frozenset(spec.whole)
        places = patch_places(grids, spec.merge)
        self._windows = TowerGroups.of_windows(places, spec.window // spec.patch // spec.merge * spec.merge)
        self._images = TowerGroups.of_images(places)
        frequency = frequencies(spec.width // spec.heads // 2, spec.rope_theta)
        angle = torch.cat([places[:, axis, None] * frequency for axis in (1, 2)], dim=1)
        angle = torch.cat([angle, angle], dim=1)[:, None]
        self.register_buffer("_cosine", angle.cos(), persistent=False)
        self.register_buffer("_sine", angle.sin(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x, rotation = self.patch_embed(pixels), (self._cosine, self._sine)
        for number, block in enumerate(self.blocks):
            x = block(x, rotation, self._images if number in self._whole else self._windows)
        return self.merger(x)
