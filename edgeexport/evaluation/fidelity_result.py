"""What an evaluation against another model found: means over images with their intervals, and accuracy by class folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.evaluation.dataset import LeftOut
from edgeexport.evaluation.fidelity import kind_of_figure
from edgeexport.evaluation.interval import Interval, mean_interval, share_interval
from edgeexport.evaluation.neighbours import NEIGHBOURS, left_out_predictions

__all__ = ["SCHEMA", "Accuracy", "Fidelity", "Figure", "Measured", "accuracy_of", "figures_over_images"]

SCHEMA = "edgeexport.fidelity/1"
CONVENTIONS = {
    "cosine": "per image, of the whole output; of patch tokens the mean over the patches",
    "share": "of images, or of an image's pixels, whose most probable class is the same",
    "IoU": "of the places of two heat maps that are at least half as high as the other model's highest",
    "top-1, top-5": "percent of images whose folder's class is the first, or among the first five",
    "nearest neighbours": f"percent of images whose class the {NEIGHBOURS} nearest of the others vote for, by cosine of the "
    "embedding, else of the class token, else of the mean of the patches; every model among its own vectors",
    "interval": "95 %, over images",
}
_TOP = (1, 5)
_DIGITS, _PERCENT_DIGITS = 6, 3


@dataclass(frozen=True)
class Figure:
    """A mean over images. ``kind``: see `kind_of_figure`, or 'percent'; ``interval`` is None on a single image."""

    kind: str
    mean: float
    interval: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        digits = _PERCENT_DIGITS if self.kind == "percent" else _DIGITS
        ends = {"low": None, "high": None, "method": None}
        if self.interval is not None:
            low, high = round(self.interval.low, digits), round(self.interval.high, digits)
            ends = {"low": low, "high": high, "method": self.interval.method}  # type: ignore[dict-item]
        return {"kind": self.kind, "mean": round(self.mean, digits), **ends}


@dataclass(frozen=True)
class Accuracy:
    """Percent of images that both models tell rightly, and what the reduced one gains (below 0: loses), image by image."""

    reduced: Figure
    against: Figure
    difference: Figure

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {name: getattr(self, name).as_dict() for name in ("reduced", "against", "difference")}


@dataclass(frozen=True)
class Measured:
    """One image: its figures; the ranks of its class, and its vectors, (reduced model's, other's), where there are any."""

    name: str
    label: int | None
    figures: Mapping[str, float]
    ranks: tuple[int, int] | None
    vectors: tuple[Sequence[float], Sequence[float]] | None


@dataclass(frozen=True)
class Fidelity:
    """A model beside another of the same weights.

    Attributes:
        name: Of the bundle's folder or of the recipe; ``recipe`` is the recipe's.
        kind: 'bundle' or 'recipe'.
        weights: Where they come from.
        against: 'dense', or the other bundle's folder.
        runtime: In which both ran.
        macs, against_macs: Multiply-accumulates per image.
        data, data_sha256: The folder as given; over names, sizes and times of its files.
        images: How many were compared.
        classes: Folders; empty where images have no class.
        figures: By name, see `figures_of`.
        accuracy: 'top-1', 'top-5', 'nearest neighbours', as far as they can be told.
        not_told: What cannot be told -> why.
        left_out: What was not used.
        versions: Package -> version.
        file: fidelity.json.
        measured: What was found for every image, in order.
    """

    name: str
    kind: str
    recipe: str
    weights: Mapping[str, Any]
    against: str
    runtime: str
    macs: int
    against_macs: int
    data: Path
    data_sha256: str
    images: int
    classes: tuple[str, ...]
    figures: Mapping[str, Figure]
    accuracy: Mapping[str, Accuracy]
    not_told: Mapping[str, str]
    left_out: tuple[LeftOut, ...]
    versions: Mapping[str, str]
    file: Path
    measured: tuple[Measured, ...] = field(default=(), repr=False)

    @property
    def random_weights(self) -> bool:
        """Whether the figures mean nothing because the weights were drawn at random."""
        return bool(self.weights["origin"] == "random")

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "schema": SCHEMA,
            "provenance": "measured",
            "conventions": CONVENTIONS,
            "subject": self.name,
            "kind": self.kind,
            "recipe": self.recipe,
            "weights": dict(self.weights),
            "against": self.against,
            "runtime": self.runtime,
            "macs": self.macs,
            "against_macs": self.against_macs,
            "data": str(self.data),
            "data_sha256": self.data_sha256,
            "images": self.images,
            "classes": list(self.classes),
            "neighbours": NEIGHBOURS,
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
            "accuracy": {name: accuracy.as_dict() for name, accuracy in self.accuracy.items()},
            "not_told": dict(self.not_told),
            "left_out": [item.as_dict() for item in self.left_out],
            "versions": dict(self.versions),
        }


def figures_over_images(images: Sequence[Measured]) -> dict[str, Figure]:
    """Means of every figure that all images have."""
    return {
        name: _mean(kind_of_figure(name), [image.figures[name] for image in images])
        for name in images[0].figures
        if all(name in image.figures for image in images)
    }


def accuracy_of(images: Sequence[Measured]) -> dict[str, Accuracy]:
    """Of images that all have a class: by their ranks, and by their neighbours."""
    found: dict[str, Accuracy] = {}
    ranks = [image.ranks for image in images if image.ranks is not None]
    if len(ranks) == len(images):
        for top in _TOP:
            found[f"top-{top}"] = _accuracy(*([pair[side] < top for pair in ranks] for side in (0, 1)))
    vectors = [image.vectors for image in images if image.vectors is not None]
    labels = np.array([-1 if image.label is None else image.label for image in images])
    if len(vectors) == len(images) > 1 and labels.min() >= 0:
        predictions = (left_out_predictions(np.array([pair[side] for pair in vectors]), labels) for side in (0, 1))
        found["nearest neighbours"] = _accuracy(*((labels == predicted).tolist() for predicted in predictions))
    return found


def _accuracy(reduced: Sequence[bool], against: Sequence[bool]) -> Accuracy:
    differences = [100.0 * (int(ours) - int(theirs)) for ours, theirs in zip(reduced, against, strict=True)]
    return Accuracy(_percent(reduced), _percent(against), _mean("percent", differences))


def _percent(right: Sequence[bool]) -> Figure:
    share = share_interval(sum(right), len(right))
    scaled = Interval(100 * share.low, 100 * share.high, share.images, share.confidence, share.method)
    return Figure("percent", 100 * sum(right) / len(right), scaled)


def _mean(kind: str, values: Sequence[float]) -> Figure:
    return Figure(kind, float(np.mean(values)), mean_interval(values))
