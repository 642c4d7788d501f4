"""From thresholds to counts that most images allow.

A fixed k prunes an image's tokens below theta where the published rule would prune fewer than k. So k is the largest count
that the wanted share of images reaches, an order statistic, stage by stage: which tokens enter a stage depends on the
counts before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation
from edgeexport.errors import UsageError
from edgeexport.reductions.cts_counts import aligned_window_counts

__all__ = [
    "POLICY_THRESHOLD",
    "Coverage",
    "CoveredImages",
    "ObserveFixed",
    "StageCoverage",
    "counts_for_coverage",
    "covered_images",
    "largest_covered",
    "required_images",
]

POLICY_THRESHOLD = 0.5
"""Of the policy network's softmax(logits)[1]: above it a window is voted to be shared."""

ObserveFixed = Callable[[Counts, tuple[int, ...]], Sequence[ImageObservation]]
"""(counts, blocks to observe) -> observations of all images, in the same order at every call."""


@dataclass(frozen=True)
class StageCoverage:
    """One constant, and how many images it suits.

    Attributes:
        block: 1-based; 0 for the windows that CTS shares before block 1.
        theta: Threshold of the stage; `POLICY_THRESHOLD` for windows.
        tokens: Tokens that enter the stage, with the aligned counts of the stages before it.
        available: Per image, what the published rule prunes (tokens) or the policy network would share (windows).
        exact: The largest constant that the wanted share of images reaches.
        aligned: The largest one not above it that leaves a multiple of the alignment; 0 leaves the stage out.
    """

    block: int
    theta: float
    tokens: int
    available: tuple[int, ...]
    exact: int
    aligned: int

    def covered_by(self, count: int) -> int:
        """Images that reach ``count``."""
        return sum(value >= count for value in self.available)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        images = len(self.available)
        stated = {"exact": self.exact, "aligned": self.aligned}
        return {
            "block": self.block,
            "theta": self.theta,
            "tokens": self.tokens,
            **stated,
            "images_covered": {name: self.covered_by(count) for name, count in stated.items()},
            "coverage": {name: self.covered_by(count) / images for name, count in stated.items()},
            "available": list(self.available),
        }


@dataclass(frozen=True)
class CoveredImages:
    """How many images lose nothing to given counts that the published rule would keep.

    Attributes:
        images: Of so many.
        per_block: block -> images in which that holds there; 0 stands for shared windows. Without constants of 0.
        pruning: Images in which it holds at every pruning stage.
        together: Images in which, moreover, no window is shared against the policy network.
    """

    images: int
    per_block: dict[int, int]
    pruning: int
    together: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "images": self.images,
            "per_block": {str(block): count for block, count in self.per_block.items()},
            "pruning": self.pruning,
            "together": self.together,
            "share": self.together / self.images,
        }


@dataclass(frozen=True)
class Coverage:
    """Counts that a share of images allows, stage by stage and together.

    Attributes:
        wanted: The share of images, above 0 and up to 1, that every stage was to suit.
        align: Multiple that the tokens left after a stage are brought to.
        stages: In order of depth; the first is block 0 where windows are shared.
        observations: Every image with all stages, as the aligned counts let it arrive there.
    """

    wanted: float
    align: int
    stages: tuple[StageCoverage, ...]
    observations: tuple[ImageObservation, ...]

    @property
    def counts(self) -> Counts:
        """The aligned counts. Exact ones hold after the aligned ones before them: for a set of exact counts, run
        `counts_for_coverage` with ``align=1``."""
        aligned = {stage.block: stage.aligned for stage in self.stages}
        return Counts.of(aligned.pop(0, 0), aligned)

    @property
    def covered(self) -> CoveredImages:
        """How many images the aligned counts suit."""
        return covered_images(self.observations, self.counts, {stage.block: stage.theta for stage in self.stages})

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the observations."""
        images = len(self.observations)
        return {
            "wanted": self.wanted,
            "align": self.align,
            "images": images,
            "images_required": required_images(self.wanted, images),
            "counts": self.counts.as_dict(),
            "stages": [stage.as_dict() for stage in self.stages],
            "covered": self.covered.as_dict(),
        }


def counts_for_coverage(
    observe: ObserveFixed,
    *,
    coverage: float,
    thresholds: Mapping[int, float],
    num_patches: int,
    share: bool,
    align: int = 8,
) -> Coverage:
    """Chooses S and k after every block, so that ``coverage`` of the images would lose as many at least by the rule.

    Observes once per constant, with the ones before it fixed: their aligned values, as they would be deployed.

    Args:
        observe: Usually a list of `edgeexport.calibration.observations.observe_fixed`.
        coverage: Share of images, above 0 and up to 1; of n images, ceil(coverage n) must be suited.
        thresholds: Block -> theta, for every stage.
        num_patches: N of the model.
        share: Whether to choose S, which takes a policy network; without, nothing is shared.
        align: Multiple of the tokens left that each constant is aligned down to; 1: none.

    Raises:
        UsageError: ``coverage`` is no share, no image was observed, or there is no policy network to share by.
    """
    stages: list[StageCoverage] = []
    observations: list[ImageObservation] = []
    if share:
        observations = list(observe(Counts(), ()))
        stages.append(_sharing(observations, coverage, num_patches, align))
    for block in sorted(thresholds):
        before = Coverage(coverage, align, tuple(stages), ()).counts
        seen = observe(before, (block,))
        observations = _joined(observations, seen) if observations else list(seen)
        stages.append(_stage([image.stage(block) for image in seen], thresholds[block], coverage, align))
    return Coverage(coverage, align, tuple(stages), tuple(observations))


def covered_images(
    observations: Sequence[ImageObservation], counts: Counts, thresholds: Mapping[int, float]
) -> CoveredImages:
    """Judges counts, however they were chosen.

    Args:
        observations: At least one image, with the stages of ``counts``, as these let it arrive there
            (`edgeexport.calibration.observations.observe_fixed`).
        counts: S and k.
        thresholds: Block -> theta, for every stage of ``counts``.

    Raises:
        KeyError: A stage was not observed or has no threshold.
        UsageError: ``counts`` share, and there is no policy network.
    """
    reached: dict[int, list[bool]] = {}
    if counts.num_shared:
        reached[0] = [windows >= counts.num_shared for windows in _shareable(observations)]
    for block, k in counts.prune:
        reached[block] = [image.stage(block).prunable(thresholds[block]) >= k for image in observations]
    pruning = [flags for block, flags in reached.items() if block]
    return CoveredImages(
        images=len(observations),
        per_block={block: sum(flags) for block, flags in reached.items()},
        pruning=sum(all(flags[image] for flags in pruning) for image in range(len(observations))),
        together=sum(all(flags[image] for flags in reached.values()) for image in range(len(observations))),
    )


def required_images(coverage: float, images: int) -> int:
    """ceil(coverage images), from the decimal number that ``coverage`` was written as: 0.55 of 100 are 55.

    Raises:
        UsageError: ``coverage`` is not above 0 and up to 1, or there is no image.
    """
    if not 0 < coverage <= 1:
        raise UsageError(
            f"coverage {coverage}", "is no share of images", "use a number above 0 and up to 1, such as 0.9"
        )
    if images < 1:
        raise UsageError(f"coverage {coverage}", "no image was observed", "give a folder with images")
    return math.ceil(Fraction(repr(float(coverage))) * images)


def largest_covered(available: Sequence[int], coverage: float) -> int:
    """The largest count that at least ceil(coverage n) of the n images reach.

    Raises:
        UsageError: See `required_images`.
    """
    return sorted(available, reverse=True)[required_images(coverage, len(available)) - 1]


def _shareable(images: Sequence[ImageObservation]) -> list[int]:
    available = [image.shareable for image in images if image.shareable is not None]
    if len(available) < len(images):
        raise UsageError("windows to share", "the model has no policy network to say", "give a recipe with CTS")
    return available


def _sharing(images: Sequence[ImageObservation], coverage: float, num_patches: int, align: int) -> StageCoverage:
    available = _shareable(images)
    exact = largest_covered(available, coverage)
    fitting = [count for count in aligned_window_counts(num_patches, num_patches // 4, align) if count <= exact]
    return StageCoverage(0, POLICY_THRESHOLD, num_patches, tuple(available), exact, fitting[-1] if fitting else 0)


def _stage(stages: Sequence[StageObservation], theta: float, coverage: float, align: int) -> StageCoverage:
    available = tuple(stage.prunable(theta) for stage in stages)
    # A fixed form keeps a token, whatever the images allow.
    exact = largest_covered(available, coverage)
    tokens = stages[0].tokens
    exact = min(exact, tokens - 1)
    aligned = exact - (exact - tokens) % align
    return StageCoverage(stages[0].block, theta, tokens, available, exact, max(aligned, 0))


def _joined(known: Sequence[ImageObservation], seen: Sequence[ImageObservation]) -> list[ImageObservation]:
    """The same images with the stages of both."""
    if [image.name for image in known] != [image.name for image in seen]:
        raise ValueError("two passes over the images did not see the same ones in the same order")
    return [replace(first, stages=(*first.stages, *second.stages)) for first, second in zip(known, seen, strict=True)]
