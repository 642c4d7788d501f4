"""A segmenter's walk as far as families share it: the image, its embedding, the blocks, and tokens brought back to patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.host import ClassMapTail, PublishedWalk, TailSpec, Walk
from edgeexport.hosts.segmentation.blocks import PublishedVitBlock, VitWalkBlock, layers_of
from edgeexport.hosts.segmentation.vit import VitBackbone
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.ops.upsample_argmax import upsample_argmax
from edgeexport.tokens.block import Block
from edgeexport.tokens.patches import patches_from_image
from edgeexport.tokens.preprocess import NormalisedImage, normalised_image
from edgeexport.tokens.trace import Trace

__all__ = ["BroughtBack", "PublishedSegmentationWalk", "SegmentationWalk", "TokenScoreTail", "predicted"]


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


class TokenScoreTail(nn.Module):
    """Class scores per patch (B, K, h, w) -> the outputs at image size; ``class_map`` None: the scores themselves.

    ``scores`` float32 (B, K, H, W); or ``class_map`` int32 (B, H, W), ``class_scores`` (B, K, h, w) of which it is the argmax,
    and with the fast form ``uncertified_pixels`` int32 (B,).
    """

    def __init__(self, class_map: ClassMapTail | None, size: tuple[int, int]) -> None:
        super().__init__()
        self.class_map, self.size = class_map, size

    def forward(self, scores: Tensor) -> dict[str, Tensor]:
        if self.class_map is None:
            return {"scores": F.interpolate(scores, size=self.size, mode="bilinear", align_corners=False)}
        class_map, uncertified = upsample_argmax(scores, *self.size, self.class_map.candidates)
        outputs = {"class_map": class_map, "class_scores": scores}
        return outputs | {"uncertified_pixels": uncertified} if self.class_map.fast else outputs


class SegmentationWalk(Walk):
    """From the image to the blocks. It holds the model's own modules, so it follows when weights change, positions apart."""

    def __init__(
        self, backbone: VitBackbone, reads: Sequence[int], size: InputSpec, output: str, num_classes: int
    ) -> None:
        super().__init__()
        self.patch_size = backbone.spec.patch_size
        self.grid = (size.height // self.patch_size, size.width // self.patch_size)
        self.size = (size.height, size.width)
        self.output, self.num_classes = output, num_classes
        self.reads = tuple(reads)
        self.pixels = NormalisedImage(size)
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
        """The normalised image; there is nothing else to attend to."""
        (image,) = inputs
        return self.pixels(image), None

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

    def __init__(self, backbone: VitBackbone, size: InputSpec, output: str) -> None:
        self.backbone, self.input, self.output = backbone, size, output
        patch = backbone.spec.patch_size
        self.patch_size, self.grid = patch, (size.height // patch, size.width // patch)

    @property
    def position(self) -> Tensor:
        """(1, N, C), positions of all patches."""
        return self.backbone.position_grid(*self.grid)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image."""
        (image,) = inputs
        return normalised_image(image, self.input), None

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
