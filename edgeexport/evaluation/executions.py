"""The executions of one segmenter whose accuracy can be measured: in torch as published and fixed, and in ONNX Runtime.

Each takes photographs and gives class maps at the model's size, with the tokens and the work that every image took. With
`edgeexport.calibration.observations` the one place where evaluation and calibration touch a torch model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from edgeexport.bundle import Bundle
from edgeexport.evaluation.image_macs import ImageCost, cost_from_tokens_json, fixed_cost, published_cost
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.weights import WeightsOrigin, model_from_recipe
from edgeexport.inputs.framing import without_padding
from edgeexport.inputs.photos import input_from_photo
from edgeexport.inputs.spec import InputSpec
from edgeexport.pictures.predictor import Predictor
from edgeexport.recipe.schema import Recipe

__all__ = [
    "EXECUTIONS",
    "Execution",
    "FixedExecution",
    "ImagePrediction",
    "OnnxRuntimeExecution",
    "PublishedExecution",
    "ReusedPolicyExecution",
    "SegmenterModel",
    "segmenter_model",
]

EXECUTIONS = ("adaptive", "fixed", "onnxruntime", "tensorrt")
"""Names of executions, on the command line and in files; 'adaptive' is the published computation."""

SegmenterModel = nn.Module
"""A segmenter with its weights, which all torch executions of it share."""


@dataclass(frozen=True)
class ImagePrediction:
    """One photograph, executed.

    Attributes:
        class_map: int (h, w) at the model's size, without what pads the photograph.
        cost: With the token counts that this execution had.
    """

    class_map: NDArray
    cost: ImageCost


class Execution(Protocol):
    """An execution of a segmenter.

    Attributes:
        name: 'adaptive', 'fixed' or 'onnxruntime', or one of the last kind that says more.
        batch: Photographs that run together.
        settings: What its results depend on beside model and images; plain JSON values.
    """

    name: str
    batch: int
    settings: dict[str, object]

    def run(self, photos: Sequence[Image.Image]) -> list[ImagePrediction]:
        """Executes up to ``batch`` photographs of any size, in RGB."""


def segmenter_model(recipe: Recipe) -> tuple[SegmenterModel, WeightsOrigin]:
    """A recipe's segmenter with its weights, and where they come from.

    Raises:
        CheckpointError: A checkpoint is missing, damaged, unsafe, or does not fit.
    """
    return model_from_recipe(recipe)


class PublishedExecution:
    """Tokens leave by threshold, as published; images run one by one.

    Args:
        model: Weights.
        recipe: Its reduction, apart from the pruned counts, is carried out.
        thresholds: Block -> theta, for every stage that prunes; see `edgeexport.evaluation.segmenter.stage_thresholds`.
    """

    name = "adaptive"
    batch = 1

    def __init__(self, model: SegmenterModel, recipe: Recipe, thresholds: Mapping[int, float]) -> None:
        self.recipe, self.thresholds = recipe, dict(sorted(thresholds.items()))
        self.settings: dict[str, object] = {
            "thresholds": {str(block): theta for block, theta in self.thresholds.items()}
        }
        self._model = PublishedModel(model, recipe)
        self._costs: dict[tuple[int, ...], ImageCost] = {}

    def run(self, photos: Sequence[Image.Image]) -> list[ImagePrediction]:
        """See `Execution`."""
        images = self._model.run([_pixels(photos, self.recipe)], [{"dtop": self.thresholds}] * len(photos))
        class_maps = [image.outputs["class_map"].numpy() for image in images]
        own = _unpadded(class_maps, photos, self.recipe.input)
        return [ImagePrediction(one, self._cost(image.pruned)) for one, image in zip(own, images, strict=True)]

    def _cost(self, pruned: dict[int, int]) -> ImageCost:
        counts = tuple(pruned.values())
        if counts not in self._costs:
            self._costs[counts] = published_cost(self.recipe, pruned)
        return self._costs[counts]


class FixedExecution:
    """Constant counts, in torch: what a bundle's graph computes."""

    name = "fixed"

    def __init__(self, model: SegmenterModel, recipe: Recipe) -> None:
        self.recipe, self.batch = recipe, recipe.input.batch
        self.settings: dict[str, object] = {"batch": self.batch}
        self._model = fixed_from_model(model, recipe)
        self._cost = fixed_cost(recipe)

    def run(self, photos: Sequence[Image.Image]) -> list[ImagePrediction]:
        """See `Execution`."""
        with torch.no_grad():
            prediction = self._model.trace(_pixels(photos, self.recipe)).prediction
        class_maps = prediction.argmax(dim=1) if prediction.ndim == 4 else prediction
        own = _unpadded(list(class_maps.numpy()), photos, self.recipe.input)
        return [ImagePrediction(class_map, self._cost) for class_map in own]


class OnnxRuntimeExecution:
    """A bundle's model.onnx.

    Raises:
        UsageError, BundleError, BuildError: See `Predictor`.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle) -> None:
        self._predictor = Predictor(bundle, threads=0)
        self.batch = self._predictor.batch
        self.settings: dict[str, object] = {"version": self._predictor.runner.version}
        self._cost = cost_from_tokens_json(bundle.json("tokens.json"))

    def run(self, photos: Sequence[Image.Image]) -> list[ImagePrediction]:
        """See `Execution`."""
        predictions = []
        for prediction, photo in zip(self._predictor.results(photos), photos, strict=True):
            assert prediction.class_map is not None  # only segmenters are evaluated
            own = without_padding(prediction.class_map, photo.size, self._predictor.input)
            predictions.append(ImagePrediction(own, self._cost))
        return predictions


class ReusedPolicyExecution:
    """A bundle's model.onnx that is given the choice of the first of ``every`` images of a sequence.

    Raises:
        UsageError: The bundle's policy network has no graph of its own. BundleError, BuildError: See `Predictor`.
    """

    def __init__(self, bundle: Bundle, every: int) -> None:
        self.name = f"onnxruntime, policy every {every}"
        self.batch = self.every = every
        self._predictor = Predictor(bundle, threads=0, policy_every=every)
        self.settings: dict[str, object] = {"version": self._predictor.runner.version, "policy_every": every}
        tokens = bundle.json("tokens.json")
        self._first = cost_from_tokens_json(tokens)
        self._others = replace(self._first, macs=self._first.macs - tokens["policy_network"]["macs"])

    def run(self, photos: Sequence[Image.Image]) -> list[ImagePrediction]:
        """See `Execution`; the policy runs for the first alone."""
        reused, size = self._predictor.reused, self._predictor.batch
        assert reused is not None
        reused.begin()
        predictions = []
        for start in range(0, len(photos), size):
            for number, found in enumerate(self._predictor.results(photos[start : start + size]), start):
                assert found.class_map is not None  # only segmenters are evaluated
                own = without_padding(found.class_map, photos[number].size, self._predictor.input)
                predictions.append(ImagePrediction(own, self._others if number else self._first))
        return predictions


def _unpadded(class_maps: Sequence[NDArray], photos: Sequence[Image.Image], spec: InputSpec) -> list[NDArray]:
    pairs = zip(class_maps, photos, strict=True)
    return [without_padding(class_map, photo.size, spec) for class_map, photo in pairs]


def _pixels(photos: Sequence[Image.Image], recipe: Recipe) -> torch.Tensor:
    return torch.from_numpy(np.stack([input_from_photo(photo, recipe.input) for photo in photos]))
