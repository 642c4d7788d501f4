"""A reduced model beside the dense one of the same weights, in torch: what the reduction alone costs, block by block."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeexport.cost.work import part_title
from edgeexport.fixed.model import FixedModel
from edgeexport.inputs.batches import ImageBatch
from edgeexport.tokens.trace import Trace
from edgeexport.verify.tolerances import FP32
from edgeexport.verify.walk import CosineFall, PartStep, Walk, drift_limit, value_step

__all__ = ["dense_walk"]

_LABELLED = ("class_map", "logits", "scores")  # outputs whose largest value, or whose value, is a class


@torch.no_grad()
def dense_walk(fixed: FixedModel, dense: FixedModel, batch: ImageBatch) -> Walk:
    """Compares the tokens that go on after every block, at the patches that both models still have, and the prediction.

    A merged or shared token is compared with the dense model's token of every patch that it stands for.

    Args:
        fixed: The reduced model.
        dense: The same without reductions.
        batch: What both are run on.
    """
    inputs = [torch.from_numpy(value) for value in (batch.pixels, *batch.extra.values())]
    tokens: dict[int, Tensor] = {}
    whole = dense.trace(*inputs, watch=lambda number, x, trace: tokens.update({number: x})).outputs
    parts: list[PartStep] = []

    def compare(number: int, x: Tensor, trace: Trace) -> None:
        places = trace.places(x.shape[0], fixed.schedule.tokens_in, fixed.schedule.facts.prefix)
        present = places >= 0
        own = x.gather(1, places.clamp(min=0)[:, :, None].expand(-1, -1, x.shape[2]))[present]
        title = part_title(f"block_{number}") if number else "embedding"
        parts.append(_part(title, own.numpy(), tokens.pop(number)[present].numpy(), int(present.sum())))

    reduced = fixed.trace(*inputs, watch=compare).outputs
    fall = _steepest(parts)
    name = "class_scores" if "class_scores" in reduced else fixed.recipe.prediction
    ours, theirs = reduced[name].numpy(), whole[name].numpy()
    parts.append(_part(f"output '{name}'", ours, theirs, len(ours)))
    return Walk(
        against="dense",
        reference="the dense model of the same weights, torch",
        candidate="the reduced model in torch",
        images=tuple(batch.names),
        limit=drift_limit(FP32),
        parts=tuple(parts),
        drift=None,
        flip=None,
        fall=fall,
        agreement=_agreement(
            fixed.recipe.prediction, reduced[fixed.recipe.prediction].numpy(), whole[fixed.recipe.prediction].numpy()
        ),
    )


def _part(title: str, ours: NDArray, theirs: NDArray, values: int) -> PartStep:
    step = value_step(title, "", title, theirs, ours, FP32)
    return PartStep(title, values, step.error, step.cosine, "")


def _steepest(parts: list[PartStep]) -> CosineFall | None:
    """Nowhere, where nothing differs or no cosine falls."""
    cosines = [1.0, *(part.cosine if part.error and part.cosine is not None else 1.0 for part in parts)]
    pairs = zip(parts, pairwise(cosines), strict=True)
    falls = [CosineFall(part.part, before, after) for part, (before, after) in pairs]
    steepest = max(falls, key=lambda fall: fall.before - fall.after)
    return steepest if steepest.before > steepest.after else None


def _agreement(output: str, ours: NDArray, theirs: NDArray) -> float | None:
    """The share of equal labels: of images, or of pixels; None where nothing is labelled."""
    if output not in _LABELLED:
        return None
    labels = [value.argmax(axis=1) if value.dtype.kind == "f" else value for value in (ours, theirs)]
    return float(np.mean(labels[0] == labels[1]))
