"""One calibration of counts under way: observe, choose, measure, and put together what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeexport.calibration.counts import Counts, counts_from_recipe, recipe_with_counts
from edgeexport.calibration.counts_methods import Choice, Measured, choice_by_coverage, choice_by_search, pareto_front
from edgeexport.calibration.counts_outcome import CountsOutcome, Place
from edgeexport.calibration.counts_request import CountsTask
from edgeexport.calibration.counts_sweep import counts_around
from edgeexport.calibration.coverage import CoveredImages, covered_images
from edgeexport.calibration.exits import exit_evidence
from edgeexport.calibration.image_passes import PASSES_SCHEMA, ImagePasses, OnProgress, UsableImages
from edgeexport.calibration.interval import MIOU, coverage_interval
from edgeexport.calibration.matched_thresholds import matched_thresholds
from edgeexport.calibration.proposal import Form, Proposal
from edgeexport.calibration.quality import CANDIDATES_SCHEMA, CandidateQuality
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.calibration.threshold_forms import ADAPTIVE_SCHEMA, ThresholdForm, measure_threshold_form
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.fixed.accounting import account
from edgeexport.hosts.segvit.segvit import SegVit

__all__ = ["KEPT_FILES", "CountsRun"]

KEPT_FILES = (
    ("observations.jsonl", PASSES_SCHEMA),
    ("candidates.jsonl", CANDIDATES_SCHEMA),
    ("adaptive.jsonl", ADAPTIVE_SCHEMA),
)
"""What outlives an interruption, with the schema of each."""

_POLICY_THRESHOLD = 0.5  # of softmax(logits)[1]: the window is voted to be shared


class CountsRun:
    """One calibration.

    Args:
        task: What to choose.
        images: On what.
        model: With everything that any of the counts need.
        kept: Open, in the order of `KEPT_FILES`.
        align: What token counts are to be multiples of.
        on_progress: Called with (images done, images in all, what is being done).
    """

    def __init__(
        self,
        task: CountsTask,
        images: UsableImages,
        model: SegVit,
        kept: Sequence[ProgressFile],
        *,
        align: int,
        on_progress: OnProgress,
    ) -> None:
        observations, candidates, self.adaptive_file = kept
        self.task, self.images, self.model, self.align, self.on_progress = task, images, model, align, on_progress
        self.passes = ImagePasses(observations, images, model, task.recipe, on_progress)
        self.quality = CandidateQuality(
            candidates,
            images,
            model,
            task.recipe,
            labelled=images.folder.labelled,
            on_progress=lambda name, done, total: on_progress(done, total, name),
        )
        self.measured = Measured(task.cost_of, self.quality)
        self.resumed = self.passes.resumed + self.quality.resumed

    def outcome(self, *, weights: dict[str, Any], cfg_options: tuple[str, ...], data: dict[str, Any]) -> CountsOutcome:
        """Observes, chooses, measures.

        Args:
            weights, cfg_options, data: For `CountsOutcome`.

        Raises:
            UsageError: Nothing fits, no image can be used, or a file cannot be written.
        """
        task = self.task
        adaptive = self.passes.adaptive({block: task.thresholds.get(block, float("inf")) for block in task.blocks})
        self.measured.quality(Counts())
        if task.request.method == "coverage":
            choice = choice_by_coverage(task, self.passes.fixed, self.measured, self.align)
        else:
            choice = choice_by_search(task, self.measured, self.align)
        # So that it can be seen how quality changes with every count.
        for counts in counts_around(choice.counts, task.space.num_patches, task.space.shared[-1], self.align):
            self.measured.quality(counts)
        fixed = self.passes.fixed(choice.counts, task.blocks)
        proposal = self._proposal(choice, fixed, weights["origin"] == "random")
        chosen = choice.counts
        exits = (
            exit_evidence(
                fixed,
                block,
                counts=[chosen.pruned_after(block)] if chosen.pruned_after(block) else (),
                thresholds=[task.thresholds[block]] if block in task.thresholds else (),
            )
            for block in task.blocks
        )
        evaluated = self.measured.evaluated
        return CountsOutcome(
            recipe=task.recipe,
            cfg_options=cfg_options,
            weights=weights,
            data=data,
            left_out=self.images.left_out,
            thresholds=task.thresholds,
            proposal=proposal,
            adaptive=tuple(adaptive),
            fixed=tuple(fixed),
            places=tuple(self._places(choice, fixed)),
            evaluated=evaluated,
            pareto=pareto_front(evaluated),
            exits=tuple(found for found in exits if found is not None),
            limit=choice.limit,
            details=choice.details,
        )

    def _proposal(self, choice: Choice, fixed: Sequence[ImageObservation], random: bool) -> Proposal:
        task, counts = self.task, choice.counts
        covered = None
        if all(block in task.thresholds for block, _ in counts.prune):
            covered = covered_images(fixed, counts, task.thresholds)
        interval = None if covered is None else coverage_interval(covered.together, covered.images)
        chosen = self._form(counts)
        return Proposal(
            recipe=task.recipe.name,
            request=task.request,
            images=len(fixed),
            measure="mIoU" if self.quality.measure == MIOU else "agreement",
            unit=task.cost.unit,
            device=task.device,
            dense=self._form(Counts()),
            chosen=chosen,
            exact=None if choice.exact is None else self._form(choice.exact),
            align=self.align,
            coverage=covered,
            coverage_interval=interval,
            adaptive=self._adaptive(None, task.thresholds),
            equal_mean=self._equal_mean(counts),
            candidates=len(self.measured.evaluated),
            reason=choice.reason,
            notes=(*choice.notes, *self._caveats(chosen, covered, random)),
        )

    def _equal_mean(self, counts: Counts) -> ThresholdForm | None:
        if not counts.prune or not self.images.folder.labelled:
            return None
        matched = matched_thresholds(lambda limits: self.passes.adaptive(limits, counts.num_shared), counts)
        return self._adaptive(counts, {stage.block: stage.theta for stage in matched})

    def _adaptive(self, beside: Counts | None, thresholds: Mapping[int, float]) -> ThresholdForm | None:
        """The adaptive form; with the shared windows of the fixed form that it stands beside, or the recipe's."""
        task = self.task
        if not thresholds or not self.images.folder.labelled:
            return None
        shared = (counts_from_recipe(task.recipe) if beside is None else beside).num_shared
        found = measure_threshold_form(
            self.adaptive_file, self.images, self.model, task.recipe, shared, thresholds, self.on_progress
        )
        return found.form(shared, thresholds, None if beside is None else self.quality.areas(beside))

    def _caveats(self, chosen: Form, covered: CoveredImages | None, random: bool) -> list[str]:
        request = self.task.request
        notes: list[str] = []
        if request.method == "coverage" and covered is not None and covered.together < request.value * covered.images:
            notes.append(
                f"Each count by itself suits at least {100 * request.value:g} % of the images, all together suit fewer."
            )
        if request.method != "coverage" and chosen.counts != Counts():
            notes.append("Chosen and measured on the same images: on others expect a little less.")
        if request.method == "max-miou-drop" and chosen.loss is not None and chosen.loss.high > request.value:
            notes.append(f"The interval reaches beyond the {request.value:g} points allowed: more images would tell.")
        if self.images.left_out:
            notes.append(f"Left out: {len(self.images.left_out)}.")
        if random:
            notes.append("The weights are random: none of this tells of a trained model.")
        return notes

    def _form(self, counts: Counts) -> Form:
        recipe = recipe_with_counts(self.task.recipe, counts)
        macs = account(recipe).reduced
        return Form(
            counts=counts,
            tokens=counts.tokens(self.task.space.num_patches),
            macs=macs.total,
            policy_macs=macs.policy,
            cost=self.measured.cost(counts),
            quality=self.measured.quality(counts),
            loss=None if counts == Counts() else self.quality.loss_interval(counts),
        )

    def _places(self, choice: Choice, fixed: Sequence[ImageObservation]) -> list[Place]:
        task, exact = self.task, choice.exact
        places = []
        if task.shares:
            available = tuple(image.shareable or 0 for image in fixed)
            before = None if exact is None else exact.num_shared
            places.append(Place(0, _POLICY_THRESHOLD, available, choice.counts.num_shared, before))
        for block in task.blocks:
            theta = task.thresholds.get(block)
            available = () if theta is None else tuple(image.stage(block).prunable(theta) for image in fixed)
            before = None if exact is None else exact.pruned_after(block)
            places.append(Place(block, theta, available, choice.counts.pruned_after(block), before))
        return places
