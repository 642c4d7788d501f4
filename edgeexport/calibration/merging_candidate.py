"""A way of merging that was measured, and which of several is the better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeexport.calibration.merging_request import MergingRequest
from edgeexport.calibration.merging_settings import MergingSetting
from edgeexport.errors import UsageError
from edgeexport.evaluation.fidelity_result import Fidelity, Figure
from edgeexport.evaluation.interval import Interval, mean_interval, share_interval

__all__ = [
    "DROP",
    "DROPS",
    "Drop",
    "MergingCandidate",
    "best_of",
    "candidate_from_fidelity",
    "drop_from_fidelity",
    "low_end",
]

DROP = "drop"
DROPS = {
    "top-1": "images whose folder's class is the model's first",
    "agreement": "images whose most probable class is the dense model's",
    "nearest neighbours": "images whose class the nearest others vote for, by cosine",
}
"""What a drop can be told by -> percent of what."""


@dataclass(frozen=True)
class Drop:
    """Percentage points that are lost against the dense model; negative where merging gains. ``measure``: one of `DROPS`."""

    measure: str
    figure: Figure

    @property
    def high(self) -> float:
        """The high end of the interval; the mean on a single image."""
        return self.figure.mean if self.figure.interval is None else self.figure.interval.high

    @property
    def low(self) -> float:
        """The low end, likewise."""
        return self.figure.mean if self.figure.interval is None else self.figure.interval.low

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"measure": self.measure, **self.figure.as_dict()}


@dataclass(frozen=True)
class MergingCandidate:
    """A setting with so many tokens merged, measured.

    Attributes:
        setting: The method and its own options.
        r: Of the recipe's ``reduction``: one for all blocks, or one per block.
        macs: Multiply-accumulates per image.
        cost: In the unit of the request: multiply-accumulates or milliseconds.
        cosines: Mean of every cosine, see `edgeexport.evaluation.fidelity.figures_of`.
        drop: None where the model tells no classes and the images have none.
        images: Over how many.
        by_image: Figure, or `DROP`, -> its value of every image, by the image's name; of a drop that is no image's own (nearest
            neighbours) nothing.
    """

    setting: MergingSetting
    r: int | tuple[int, ...]
    macs: int
    cost: float
    cosines: Mapping[str, Figure]
    drop: Drop | None
    images: int
    by_image: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)

    @property
    def method(self) -> str:
        """The setting's."""
        return self.setting.method

    @property
    def worst(self) -> Figure:
        """The cosine whose interval reaches lowest."""
        return min(self.cosines.values(), key=low_end)

    def holds(self, request: MergingRequest) -> bool:
        """Whether a bound is kept: every mean cosine with its interval, or the drop itself; of a budget whether it is kept."""
        if request.is_budget:
            return self.cost <= request.value
        if request.kind == "min-cosine":
            return low_end(self.worst) >= request.value
        return self.drop is not None and self.drop.figure.mean <= request.value

    def quality(self, request: MergingRequest) -> tuple[float, ...]:
        """To compare candidates of equal cost by, more is better.

        For a bound of cosines the low end of the worst one; else the drop, where there is one, and of equal drops the cosine.
        """
        if request.kind == "min-cosine":
            return (low_end(self.worst),)
        cosine = (self.worst.mean,) if self.cosines else ()
        return cosine if self.drop is None else (-self.drop.figure.mean, *cosine)

    def clearly_better(self, other: MergingCandidate, request: MergingRequest) -> bool:
        """Whether these images tell that it loses less than another one: fewer points, or, but under a bound of points, less of
        the other's worst cosine. Image by image: the 95 % interval of the mean difference lies on one side of zero.
        """
        if request.kind != "min-cosine" and self._is_above(other, DROP, -1.0):
            return True
        if request.kind == "max-drop" or not other.cosines:
            return False
        worst = min(other.cosines, key=lambda name: low_end(other.cosines[name]))
        return self._is_above(other, worst, 1.0)

    def _is_above(self, other: MergingCandidate, figure: str, sign: float) -> bool:
        own, theirs = self.by_image.get(figure, {}), other.by_image.get(figure, {})
        differences = [sign * (own[name] - theirs[name]) for name in own if name in theirs]
        interval = mean_interval(differences) if differences else None
        return interval is not None and interval.low > 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "method": self.method,
            "r": self.r if isinstance(self.r, int) else list(self.r),
            **dict(self.setting.options),
            "macs": self.macs,
            "cost": self.cost,
            "images": self.images,
            "cosines": {name: figure.as_dict() for name, figure in self.cosines.items()},
            "drop": None if self.drop is None else self.drop.as_dict(),
        }


def candidate_from_fidelity(
    setting: MergingSetting, r: int | tuple[int, ...], cost: float, fidelity: Fidelity, request: MergingRequest
) -> MergingCandidate:
    """What an evaluation beside the dense model says of a candidate.

    Raises:
        UsageError: Nothing that was measured tells what the request asks.
    """
    cosines = {name: figure for name, figure in fidelity.figures.items() if figure.kind == "cosine"}
    drop = drop_from_fidelity(fidelity)
    if request.kind == "max-drop" and drop is None:
        remedy = "give images in a folder for each class, a model with a classifier, or --min-cosine"
        folders = "no vector for an image" if fidelity.classes else "the images lie in no folders of classes"
        raise UsageError(fidelity.name, f"gives no classes, and {folders}", remedy)
    if not cosines and (request.kind == "min-cosine" or drop is None):
        raise UsageError(
            fidelity.name, "gives no output whose cosine tells anything", "ask for features or an embedding"
        )
    by_image = {name: {image.name: image.figures[name] for image in fidelity.measured} for name in cosines}
    if drop is not None and (lost := _lost_by_image(fidelity, drop.measure)):
        by_image[DROP] = lost
    return MergingCandidate(setting, r, fidelity.macs, cost, cosines, drop, fidelity.images, by_image)


def drop_from_fidelity(fidelity: Fidelity) -> Drop | None:
    """By the labels of class folders where the classifier knows them, else by what the dense model says; of a model without
    classifier by nearest neighbours.
    """
    if "top-1" in fidelity.accuracy:
        return Drop("top-1", _lost(fidelity.accuracy["top-1"].difference, fidelity.images))
    agreement = fidelity.figures.get("top class")
    if agreement is not None:
        others = fidelity.images - round(agreement.mean * fidelity.images)
        ends = share_interval(others, fidelity.images)
        interval = Interval(100 * ends.low, 100 * ends.high, ends.images, ends.confidence, ends.method)
        return Drop("agreement", Figure("percent", 100 * others / fidelity.images, interval))
    if "nearest neighbours" in fidelity.accuracy:
        difference = fidelity.accuracy["nearest neighbours"].difference
        return Drop("nearest neighbours", _lost(difference, fidelity.images))
    return None


def _lost_by_image(fidelity: Fidelity, measure: str) -> dict[str, float]:
    """Percentage points, -100, 0 or 100 each."""
    lost: dict[str, float] = {}
    for image in fidelity.measured:
        if measure == "agreement":
            lost[image.name] = 100.0 * (1 - image.figures["top class"])
        elif measure == "top-1" and image.ranks is not None:
            reduced, dense = (rank == 0 for rank in image.ranks)
            lost[image.name] = 100.0 * (int(dense) - int(reduced))
    return lost


def low_end(figure: Figure) -> float:
    """Of the interval; the mean on a single image."""
    return figure.mean if figure.interval is None else figure.interval.low


def _lost(gained: Figure, images: int) -> Figure:
    """The difference with its sign turned. Where no image changed sides a bootstrap sees no spread, and the exact binomial
    bound on the share of images that do stands for it.
    """
    mean, interval = 0.0 - gained.mean, gained.interval
    if interval is not None:
        low, high, method = 0.0 - interval.high, 0.0 - interval.low, interval.method
        if low == high == 0:
            high = 100 * share_interval(0, images).high
            low, method = -high, "exact binomial, of images that change sides: none did"
        interval = Interval(low, high, interval.images, interval.confidence, method)
    return Figure("percent", mean, interval)


def best_of(candidates: Sequence[MergingCandidate], request: MergingRequest) -> MergingCandidate | None:
    """The one of highest quality, of equal ones the cheapest, then the first; None of none."""
    return max(candidates, key=lambda item: (item.quality(request), -item.cost), default=None)
