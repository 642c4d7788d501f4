"""One calibration of counts under way: observe, choose, measure, and put together what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeexport.calibration.choice import Choice
from edgeexport.calibration.choice_by_coverage import choice_by_coverage
from edgeexport.calibration.choice_by_search import choice_by_search
from edgeexport.calibration.counts import Counts, counts_from_recipe, recipe_with_counts
from edgeexport.calibration.coverage import POLICY_THRESHOLD, CoveredImages, covered_images
from edgeexport.calibration.exits import exit_evidence
from edgeexport.calibration.image_passes import PASSES_SCHEMA, ImagePasses
from edgeexport.calibration.images import SegmenterOnImages
from edgeexport.calibration.matched_thresholds import matched_thresholds
from edgeexport.calibration.outcome import CalibrationOutcome, ChosenConstant
from edgeexport.calibration.proposal import Proposal, ProposedCounts
from edgeexport.calibration.published_quality import PUBLISHED_SCHEMA, PublishedFigures, PublishedQuality
from edgeexport.calibration.quality import CANDIDATES_SCHEMA, CandidateQuality
from edgeexport.calibration.search import Measurements
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.calibration.task import CalibrationTask
from edgeexport.evaluation.interval import share_interval
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.fixed.tokens import account

__all__ = ["KEPT_FILES", "CalibrationRun"]

KEPT_FILES = (
    ("observations.jsonl", PASSES_SCHEMA),
    ("candidates.jsonl", CANDIDATES_SCHEMA),
    ("adaptive.jsonl", PUBLISHED_SCHEMA),
)
"""What outlives an interruption, with the schema of each."""


class CalibrationRun:
    """One calibration.

    Args:
        task: What to choose.
        segmenter: Of the task's recipe, and the images to choose on.
        kept: Open, in the order of `KEPT_FILES`.

    Attributes:
        resumed: Results of an earlier run that are used.
    """

    def __init__(self, task: CalibrationTask, segmenter: SegmenterOnImages, kept: Sequence[ProgressFile]) -> None:
        observations, candidates, published = kept
        self._task, self._images = task, segmenter.images
        self._passes = ImagePasses(observations, segmenter)
        self._quality = CandidateQuality(candidates, segmenter)
        self._published = PublishedQuality(published, segmenter)
        self._measurements = Measurements(task.cost_of, self._quality)
        self.resumed = self._passes.resumed + self._quality.resumed

    def outcome(
        self, *, weights: Mapping[str, Any], cfg_options: tuple[str, ...], data: Mapping[str, Any]
    ) -> CalibrationOutcome:
        """Observes, chooses, measures.

        Args:
            weights, cfg_options, data: For `CalibrationOutcome`.

        Raises:
            UsageError: Nothing fits, no image can be used, or a file cannot be written.
        """
        task, measurements = self._task, self._measurements
        published = self._passes.published({block: task.thresholds.get(block, float("inf")) for block in task.blocks})
        measurements.quality(Counts())
        if task.request.method == "coverage":
            choice = choice_by_coverage(task, self._passes.fixed, measurements)
        else:
            choice = choice_by_search(task, measurements)
        for counts in task.space.neighbours(choice.counts):
            measurements.quality(counts)
        fixed = self._passes.fixed(choice.counts, task.blocks)
        proposal = self._proposal(choice, fixed, weights["origin"] == "random")
        exits = (
            exit_evidence(
                fixed,
                block,
                counts=[k] if (k := choice.counts.pruned_after(block)) else (),
                thresholds=[task.thresholds[block]] if block in task.thresholds else (),
            )
            for block in task.blocks
        )
        return CalibrationOutcome(
            recipe=task.recipe,
            cfg_options=cfg_options,
            weights=weights,
            data=data,
            left_out=self._images.left_out,
            thresholds=task.thresholds,
            proposal=proposal,
            published=tuple(published),
            fixed=tuple(fixed),
            constants=self._constants(choice, fixed),
            evaluated=measurements.evaluated,
            exits=tuple(evidence for evidence in exits if evidence is not None),
            limit=choice.limit,
            details=choice.details,
        )

    def _proposal(self, choice: Choice, fixed: Sequence[ImageObservation], random: bool) -> Proposal:
        task, counts = self._task, choice.counts
        covered = None
        if all(block in task.thresholds for block, _ in counts.prune):
            covered = covered_images(fixed, counts, task.thresholds)
        chosen = self._proposed(counts)
        return Proposal(
            recipe=task.recipe.name,
            request=task.request,
            images=len(fixed),
            measure=self._quality.measure,
            unit=task.cost.unit,
            device=task.device,
            dense=self._proposed(Counts()),
            chosen=chosen,
            exact=None if choice.exact is None else self._proposed(choice.exact),
            align=task.space.align,
            coverage=covered,
            coverage_interval=None if covered is None else share_interval(covered.together, covered.images),
            published=self._figures(None, task.thresholds),
            equal_mean=self._equal_mean(counts),
            candidates=len(self._measurements.evaluated),
            reason=choice.reason,
            notes=(*choice.notes, *self._caveats(chosen, covered, random)),
        )

    def _equal_mean(self, counts: Counts) -> PublishedFigures | None:
        if not counts.prune or not self._images.labelled:
            return None
        thresholds = matched_thresholds(lambda limits: self._passes.published(limits, counts.num_shared), counts)
        return self._figures(counts, thresholds)

    def _figures(self, beside: Counts | None, thresholds: Mapping[int, float]) -> PublishedFigures | None:
        """By threshold, with the shared windows of the fixed counts that it stands beside, or the recipe's."""
        if not thresholds or not self._images.labelled:
            return None
        shared = (counts_from_recipe(self._task.recipe) if beside is None else beside).num_shared
        return self._published.measure(shared, thresholds, None if beside is None else self._quality.areas(beside))

    def _caveats(self, chosen: ProposedCounts, covered: CoveredImages | None, random: bool) -> list[str]:
        request = self._task.request
        notes: list[str] = []
        if request.method == "coverage" and covered is not None and covered.together < request.value * covered.images:
            notes.append(
                f"Each count by itself suits at least {100 * request.value:g} % of the images, all together suit fewer."
            )
        if request.method != "coverage" and chosen.counts != Counts():
            notes.append("Chosen and measured on the same images: on others expect a little less.")
        if request.method == "max-miou-drop" and chosen.loss is not None and chosen.loss.high > request.value:
            notes.append(f"The interval reaches beyond the {request.value:g} points allowed: more images would tell.")
        if self._images.left_out:
            notes.append(f"Left out: {len(self._images.left_out)}.")
        if random:
            notes.append("The weights are random: none of this tells of a trained model.")
        return notes

    def _proposed(self, counts: Counts) -> ProposedCounts:
        macs = account(recipe_with_counts(self._task.recipe, counts)).reduced
        return ProposedCounts(
            counts=counts,
            tokens=counts.tokens(self._task.space.num_patches),
            macs=macs.total,
            policy_macs=macs.policy,
            cost=self._measurements.cost(counts),
            quality=self._measurements.quality(counts),
            loss=None if counts == Counts() else self._quality.loss_interval(counts),
        )

    def _constants(self, choice: Choice, fixed: Sequence[ImageObservation]) -> tuple[ChosenConstant, ...]:
        task, counts, exact = self._task, choice.counts, choice.exact
        constants = []
        if task.shares:
            available = tuple(image.shareable or 0 for image in fixed)
            before = None if exact is None else exact.num_shared
            constants.append(ChosenConstant(0, POLICY_THRESHOLD, available, counts.num_shared, before))
        for block in task.blocks:
            theta = task.thresholds.get(block)
            available = () if theta is None else tuple(image.stage(block).prunable(theta) for image in fixed)
            before = None if exact is None else exact.pruned_after(block)
            constants.append(ChosenConstant(block, theta, available, counts.pruned_after(block), before))
        return tuple(constants)
