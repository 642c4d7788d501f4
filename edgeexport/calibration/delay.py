"""DSM's delay from images: how alike the tokens of a model are, block by block, and from where on that rises.

Source: "Training-Free Acceleration of ViTs with Delayed Spatial Merging", section 3.1: merging pays from the block on where the
mean cosine similarity of all token pairs starts to rise. What is measured here are the patch tokens at the place where
tokens would merge, after a block's attention; the tokens that enter block 1 are measured as block 0, so that a
similarity that rises from the start gives no delay at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeexport.errors import UsageError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import WeightsOrigin, model_from_recipe
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe.schema import Recipe

__all__ = [
    "DelayEvidence",
    "check_mergeable",
    "delay_evidence",
    "mergeable_model",
    "proposed_delay",
    "token_similarity",
]


@dataclass(frozen=True)
class DelayEvidence:
    """What a calibration of the delay rests on.

    Attributes:
        images: Names, in order.
        similarity: float64 (images, L + 1), mean cosine of all pairs of patch tokens; column b is block b, 0 the embedding.
        delay: The proposal for all images together.
        delay_per_image: What every image would propose by itself.
    """

    images: tuple[str, ...]
    similarity: NDArray[np.float64]
    delay: int
    delay_per_image: tuple[int, ...]

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 (L + 1,), over the images."""
        return self.similarity.mean(axis=0)

    @property
    def rises(self) -> bool:
        """Whether the similarity rises in any block; if not, ``delay`` is the number of blocks."""
        return self.delay < self.similarity.shape[1] - 1

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {
            "schema": "edgeexport.delay/1",
            "provenance": "measured",
            "images": list(self.images),
            "blocks": self.similarity.shape[1] - 1,
            "similarity_mean": _rounded(self.mean),
            "similarity_std": _rounded(self.similarity.std(axis=0)),
            "similarity": [_rounded(row) for row in self.similarity],
            "delay": self.delay,
            "delay_per_image": list(self.delay_per_image),
            "rises": self.rises,
        }


def check_mergeable(recipe: Recipe, where: str) -> None:
    """Refuses a recipe whose model is none that DSM merges in.

    Raises:
        UsageError: The model is no timm host on images.
    """
    facts = recipe.facts
    merges = facts.pooling is not None
    if merges and recipe.input.frames is None:
        return
    kind = "clips" if merges else f"model.type = {recipe.model.type!r}"
    remedy = "give a recipe such as dsm_deit_s.py"
    raise UsageError(where, f"DSM merges in timm hosts on images, found {kind}", remedy)


def mergeable_model(recipe: Recipe) -> tuple[FixedModel, WeightsOrigin]:
    """The dense model of a recipe that `check_mergeable` let through, and where its weights come from.

    Raises:
        CheckpointError: A checkpoint is missing, damaged, unsafe, or does not fit.
    """
    model, origin = model_from_recipe(recipe)
    return fixed_from_model(model, dense_recipe(recipe)), origin


def token_similarity(tokens: Tensor) -> Tensor:
    """Mean cosine of all pairs of different tokens: (B, n, C) -> float64 (B,). A zero vector is like nothing.

    The sum over all pairs is the squared length of the sum of unit vectors, so no n x n matrix is formed.
    """
    wide = tokens.to(torch.float64)
    unit = wide / wide.norm(dim=2, keepdim=True).clamp(min=1e-12)
    count = tokens.shape[1]
    own = unit.square().sum(dim=(1, 2))
    return (unit.sum(dim=1).square().sum(dim=1) - own) / (count * (count - 1))


def proposed_delay(similarity: Sequence[float]) -> int:
    """Blocks that should not merge: up to the lowest similarity (the last of equals), after which it rises.

    Args:
        similarity: Mean similarity of block 0 (the embedding), 1, ..., L.
    """
    values = np.asarray(similarity)
    return int(len(values) - 1 - values[::-1].argmin())


def delay_evidence(
    fixed: FixedModel,
    batches: Iterable[ImageBatch],
    on_image: Callable[[str], None] = lambda name: None,
) -> DelayEvidence:
    """Runs the model without merging over batches of images.

    Args:
        fixed: The dense model, from `mergeable_model`.
        batches: At least one.
        on_image: Called with the names of each batch before it is run.
    """
    names: list[str] = []
    rows: list[NDArray[np.float64]] = []
    for batch in batches:
        on_image(", ".join(batch.names))
        rows.append(_similarity_of_blocks(fixed, torch.from_numpy(batch.pixels)))
        names += batch.names
    similarity = np.concatenate(rows)
    return DelayEvidence(
        images=tuple(names),
        similarity=similarity,
        delay=proposed_delay(similarity.mean(axis=0).tolist()),
        delay_per_image=tuple(proposed_delay(row.tolist()) for row in similarity),
    )


@torch.no_grad()
def _similarity_of_blocks(fixed: FixedModel, image: Tensor) -> NDArray[np.float64]:
    walk, facts = fixed.walk, fixed.schedule.facts
    pixels, _ = walk.begin(image)
    x = walk.embed(pixels)
    similarity = [token_similarity(x[:, facts.prefix :])]
    for number in range(1, facts.executed + 1):
        x, _ = walk.block(number).attend(x, None, None, walk.rotation)
        similarity.append(token_similarity(x[:, facts.prefix :]))
        x = walk.block(number).finish(x)
    return torch.stack(similarity, dim=1).numpy()


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 6) for value in values]
