"""A segmenter's walk as far as families share it: the image, its embedding, the blocks, and tokens brought back to patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.host import ClassMapTail, PublishedWalk, TailSpec, Walk
from edgeexport.hosts.segmentation.blocks import PublishedVitBlock, VitWalkBlock, layers_of
from edgeexport.hosts.segmentation.test_mode import Slide, window_grid, window_input
from edgeexport.hosts.segmentation.vit import VitBackbone
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.ops.upsample_argmax import upsample_argmax
from edgeexport.tokens.block import Block
from edgeexport.tokens.patches import patches_from_image
from edgeexport.tokens.preprocess import NormalisedImage, normalised_image
from edgeexport.tokens.trace import Trace
from edgeexport.tokens.windows import CutWindows, JoinedWindows, WindowGrid

__all__ = [
    "BroughtBack",
    "ImageScoreTail",
    "PublishedSegmentationWalk",
    "SegmentationWalk",
    "TokenScoreTail",
    "predicted",
]


class _Embedding(nn.Module):
    """Flat patches (B, n, 3 P^2) and their positions (1 or B, n, C) -> (B, n + prefix, C)."""

    def __init__(self, backbone: VitBackbone) -> None:
        super().__init__()
        self.patch_embed = backbone.patch_embed
        self.first: Tensor | None
        first = backbone.prefix_tokens()
        self.register_buffer("first", None if first is None else first.detach().clone(), persistent=False)

    def forward(self, patches: Tensor, position: Tensor) -> Tensor:
        x = self.patch_embed(patches) + position
        return x if self.first is None else torch.cat([self.first.expand(x.shape[0], -1, -1), x], dim=1)


class BroughtBack(nn.Module):
    """Mask logits (B, K, n) -> (B, K, N): those of the tokens that left among them, every patch at its place."""

    def forward(self, mask_logits: Tensor, trace: Trace) -> Tensor:
        rows, index = trace.brought_back(mask_logits.transpose(1, 2))
        return (rows if index is None else token_unmerge(rows, index)).transpose(1, 2)


class ImageScoreTail(nn.Module):
    """Scores at image size (B, K, H, W), or of an image's windows, which are joined first, -> the outputs.

    ``scores`` float32 (B, K, H, W); or ``class_map`` int32 (B, H, W) and ``class_scores``, the same scores.
    """

    def __init__(self, output: str, windows: WindowGrid | None) -> None:
        super().__init__()
        self.output = output
        self.joined = nn.Identity() if windows is None else JoinedWindows(windows)

    def forward(self, scores: Tensor) -> dict[str, Tensor]:
        scores = self.joined(scores)
        if self.output == "scores":
            return {"scores": scores}
        return {"class_map": scores.argmax(dim=1).to(torch.int32), "class_scores": scores}


class TokenScoreTail(nn.Module):
    """Class scores per patch (B, K, h, w) -> the outputs at image size.

    ``scores`` float32 (B, K, H, W); or ``class_map`` int32 (B, H, W), ``class_scores`` (B, K, h, w) of which it is the argmax,
    and with the fast form ``uncertified_pixels`` int32 (B,). Windows are resized one by one, and then joined.
    """

    def __init__(self, walk: SegmentationWalk) -> None:
        super().__init__()
        self.class_map, self.size = walk.class_map_tail, walk.size
        self.whole = ImageScoreTail(walk.output, walk.window_grid)

    def forward(self, scores: Tensor) -> dict[str, Tensor]:
        if self.class_map is None:
            return self.whole(F.interpolate(scores, size=self.size, mode="bilinear", align_corners=False))
        class_map, uncertified = upsample_argmax(scores, *self.size, self.class_map.candidates)
        outputs = {"class_map": class_map, "class_scores": scores}
        return outputs | {"uncertified_pixels": uncertified} if self.class_map.fast else outputs


class SegmentationWalk(Walk):
    """From the image to the blocks. It holds the model's own modules, so it follows when weights change, positions apart."""

    def __init__(
        self,
        backbone: VitBackbone,
        reads: Sequence[int],
        size: InputSpec,
        output: str,
        num_classes: int,
        slide: Slide | None,
    ) -> None:
        super().__init__()
        self.patch_size = backbone.spec.patch_size
        self.window_grid, seen = window_grid(slide, size), window_input(slide, size)
        self.grid = (seen.height // self.patch_size, seen.width // self.patch_size)
        self.size = (seen.height, seen.width)
        self.output, self.num_classes = output, num_classes
        self.reads = tuple(reads)
        self.pixels = NormalisedImage(size)
        self.windows = nn.Identity() if self.window_grid is None else CutWindows(self.window_grid)
        self.embedding = _Embedding(backbone)
        self.position: Tensor
        with torch.no_grad():
            position = backbone.position_grid(*self.grid).clone()
        self.register_buffer("position", position, persistent=False)
        blocks = enumerate(layers_of(backbone), start=1)
        self.blocks = nn.ModuleDict(
            {str(number): VitWalkBlock(layer) for number, layer in blocks if number <= max(self.reads)}
        )
        self.exits = nn.ModuleDict()

    def class_map_tail_of(self, tail: TailSpec) -> ClassMapTail:
        """Candidates are the recipe's, or all classes where that is no slower, and exact.

        In ONNX Runtime, 80 of 150 candidates took as long as the plain form, so more than half of the classes are all.
        """
        fast = tail.form == "fast"
        asked = tail.candidates if fast else self.num_classes
        candidates = asked if 2 * asked <= self.num_classes else self.num_classes
        return ClassMapTail(self.num_classes, self.grid, self.size, candidates, fast)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image, or its windows in its place; there is nothing else to attend to."""
        (image,) = inputs
        return self.windows(self.pixels(image)), None

    def embed(self, pixels: Tensor) -> Tensor:
        """What enters block 1."""
        return self.embedding(patches_from_image(pixels, self.patch_size), self.position)

    def embed_patches(self, patches: Tensor, position: Tensor) -> Tensor:
        """The same from chosen patches."""
        return self.embedding(patches, position)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What `predict` gives out, the prediction first."""
        if self.output == "scores":
            return ("scores",)
        certified = self.class_map_tail is not None and self.class_map_tail.fast
        return ("class_map", "class_scores", *(("uncertified_pixels",) if certified else ()))


class PublishedSegmentationWalk(PublishedWalk):
    """The same steps by the backbone's own methods, image by image."""

    def __init__(self, backbone: VitBackbone, size: InputSpec, output: str, slide: Slide | None) -> None:
        self.backbone, self.input, self.output = backbone, size, output
        self.window_grid, seen = window_grid(slide, size), window_input(slide, size)
        patch = backbone.spec.patch_size
        self.size = (seen.height, seen.width)
        self.patch_size, self.grid = patch, (seen.height // patch, seen.width // patch)

    @property
    def position(self) -> Tensor:
        """(1, N, C), positions of all patches."""
        return self.backbone.position_grid(*self.grid)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image."""
        (image,) = inputs
        return normalised_image(image, self.input), None

    def windows_of(self, pixels: Tensor) -> list[Tensor]:
        """In mmsegmentation's order: row by row."""
        grid = self.window_grid
        if grid is None:
            return [pixels]
        height, width = grid.window
        return [pixels[:, :, y : y + height, x : x + width] for y in grid.rows for x in grid.columns]

    def joined(self, windows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Summed up window by window and divided by how many there are at a pixel, as mmsegmentation does it."""
        grid = self.window_grid
        if grid is None or "scores" not in windows[0]:
            return dict(windows[0]) if grid is None else {}
        first = windows[0]["scores"]
        total, counted = first.new_zeros(first.shape[0], *grid.image), first.new_zeros(grid.image)
        height, width = grid.window
        places = [(y, x) for y in grid.rows for x in grid.columns]
        for one, (y, x) in zip(windows, places, strict=True):
            total[:, y : y + height, x : x + width] += one["scores"]
            counted[y : y + height, x : x + width] += 1
        scores = total / counted
        return predicted(scores) | {"class_scores": scores}

    def embed(self, pixels: Tensor) -> Tensor:
        """By the backbone's own method."""
        return self.embed_patches(patches_from_image(pixels, self.patch_size), self.position)

    def embed_patches(self, patches: Tensor, position: Tensor) -> Tensor:
        """The same from chosen patches."""
        return self.backbone.embed(patches, position)

    def block(self, number: int) -> Block:
        """mmsegmentation's block, cut at its branches."""
        return PublishedVitBlock(layers_of(self.backbone)[number - 1])


def predicted(scores: Tensor) -> dict[str, Tensor]:
    """Scores (K, H, W) -> ``scores``, and ``class_map`` int32 (H, W); equal scores: lowest class."""
    return {"scores": scores, "class_map": scores.argmax(dim=0).to(torch.int32)}
