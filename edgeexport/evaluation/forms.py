"""The executions of one segmenter whose accuracy can be measured: torch adaptive, torch fixed, ONNX Runtime.

Each takes photographs and gives class maps at the model's size, with the tokens and the work that every image took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgeexport.bundle import Bundle
from edgeexport.evaluation.image_macs import ImageWork, adaptive_work, fixed_work, work_from_tokens_json
from edgeexport.fixed.adaptive_segvit import AdaptiveSegVit
from edgeexport.fixed.fixed_segvit import FixedSegVit
from edgeexport.fixed.merge_schedule import merge_schedule
from edgeexport.fixed.schedule import token_schedule
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.inputs.photos import input_from_photo
from edgeexport.pictures.predictor import Predictor
from edgeexport.recipe.schema import Recipe

__all__ = ["AdaptiveForm", "FixedForm", "Form", "FormResult", "OnnxRuntimeForm"]


@dataclass(frozen=True)
class FormResult:
    """One photograph, executed.

    Attributes:
        class_map: int (h, w) at the model's size.
        tokens: Patch tokens that each executed block worked on (see `edgeexport.evaluation.image_macs`).
        macs: Multiply-accumulates with these counts, policy network included.
    """

    class_map: NDArray
    tokens: tuple[int, ...]
    macs: int


class Form(Protocol):
    """An execution of a segmenter.

    Attributes:
        name: 'adaptive', 'fixed' or 'onnxruntime'.
        batch: Photographs that run together.
        settings: What its results depend on beside model and images; plain JSON values.
    """

    name: str
    batch: int
    settings: dict[str, object]

    def run(self, photos: Sequence[Image.Image]) -> list[FormResult]:
        """Executes up to ``batch`` photographs of any size, in RGB."""


class AdaptiveForm:
    """Tokens leave by threshold, as published; images run one by one.

    Args:
        model: Weights.
        recipe: Its reduction, apart from the pruned counts, is carried out.
        thresholds: Block -> theta, for every stage that prunes; see `stage_thresholds`.
    """

    name = "adaptive"
    batch = 1

    def __init__(self, model: SegVit, recipe: Recipe, thresholds: Mapping[int, float]) -> None:
        merge, dtop = recipe.reduction.merge, recipe.reduction.dtop
        layouts = {step.block: step.layout for step in merge_schedule(recipe).steps if step.layout is not None}
        self.recipe, self.thresholds = recipe, dict(sorted(thresholds.items()))
        self.settings: dict[str, object] = {
            "thresholds": {str(block): theta for block, theta in self.thresholds.items()}
        }
        self._segvit = AdaptiveSegVit(
            model,
            recipe.input,
            num_shared=token_schedule(recipe).num_shared,
            protect_per_class=0 if dtop is None else dtop.protect_per_class,
            merge=merge,
            layouts=layouts,
        )
        self._work: dict[tuple[int, ...], ImageWork] = {}

    def run(self, photos: Sequence[Image.Image]) -> list[FormResult]:
        """See `Form`."""
        images = self._segvit.run(_pixels(photos, self.recipe), [self.thresholds] * len(photos))
        return [
            _result(image.class_map.numpy(), self._work_of({b: t.numel() for b, t in image.pruned_tokens.items()}))
            for image in images
        ]

    def _work_of(self, pruned: dict[int, int]) -> ImageWork:
        counts = tuple(pruned.values())
        if counts not in self._work:
            self._work[counts] = adaptive_work(self.recipe, pruned)
        return self._work[counts]


class FixedForm:
    """Constant counts, in torch: what a bundle's graph computes."""

    name = "fixed"

    def __init__(self, model: SegVit, recipe: Recipe) -> None:
        self.recipe, self.batch = recipe, recipe.input.batch
        self.settings: dict[str, object] = {"batch": self.batch}
        self._segvit = FixedSegVit(model, recipe).eval()
        self._work = fixed_work(recipe)

    def run(self, photos: Sequence[Image.Image]) -> list[FormResult]:
        """See `Form`."""
        with torch.no_grad():
            prediction = self._segvit.trace(_pixels(photos, self.recipe)).prediction
        assert prediction is not None
        class_maps = prediction.argmax(dim=1) if prediction.ndim == 4 else prediction
        return [_result(class_map, self._work) for class_map in class_maps.numpy()]


class OnnxRuntimeForm:
    """A bundle's model.onnx.

    Raises:
        UsageError, BundleError, BuildError: See `Predictor`.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle) -> None:
        self.predictor = Predictor(bundle, threads=0)
        self.batch = self.predictor.batch
        self.settings: dict[str, object] = {"version": self.predictor.runner.version}
        self._work = work_from_tokens_json(bundle.json("tokens.json"))

    def run(self, photos: Sequence[Image.Image]) -> list[FormResult]:
        """See `Form`."""
        return list(self._results(photos))

    def _results(self, photos: Sequence[Image.Image]) -> Iterator[FormResult]:
        for found in self.predictor.results(photos):
            assert found.class_map is not None  # only segmenters become forms
            yield _result(found.class_map, self._work)


def _pixels(photos: Sequence[Image.Image], recipe: Recipe) -> torch.Tensor:
    return torch.from_numpy(np.stack([input_from_photo(photo, recipe.input) for photo in photos]))


def _result(class_map: NDArray, work: ImageWork) -> FormResult:
    return FormResult(class_map, work.tokens, work.macs)
