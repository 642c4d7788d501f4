"""Ways of merging measured on photographs beside their dense model, in torch, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from numpy.typing import NDArray

from edgeexport.calibration.delay import DelayEvidence, check_mergeable, delay_evidence
from edgeexport.calibration.merging_candidate import MergingCandidate, candidate_from_fidelity
from edgeexport.calibration.merging_request import MergingRequest
from edgeexport.calibration.merging_settings import MergingCosts, MergingSetting
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import ImageError, UsageError
from edgeexport.evaluation.against import AgainstOptions, OnProgress, fidelity_on_photos
from edgeexport.evaluation.dense_beside import Remembered, beside_dense
from edgeexport.evaluation.photo_folder import open_photos
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.batches import ImageBatch, image_batches
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe

__all__ = ["SIMILARITY_IMAGES", "MergingTrials"]

SIMILARITY_IMAGES = 32  # of the folder, for the similarity of tokens block by block


class MergingTrials:
    """Candidates of one dense model.

    Attributes:
        found: What was measured, by setting and tokens merged, in order.
        weights: Where the model's are from.
    """

    def __init__(
        self,
        subject: str,
        costs: MergingCosts,
        request: MergingRequest,
        options: CalibrationOptions,
        target: Path,
        on_progress: OnProgress,
        on_note: Callable[[str], None],
    ) -> None:
        self._subject, self._costs, self._request = subject, costs, request
        self._options, self._target = options, target
        self._on_progress, self._on_note = on_progress, on_note
        self._model, self._origin = model_from_recipe(costs.dense)
        self._remembered: dict[bytes, dict[str, NDArray]] = {}
        self.found: dict[tuple[MergingSetting, int], MergingCandidate] = {}
        self.weights = self._origin.as_dict()

    def recipe(self, setting: MergingSetting, merged: int) -> Recipe:
        """As the command line would give it. Raises: RecipeError: The model does not take it."""
        reduction = setting.reduction(setting.r_of(merged, self._costs.dense.facts))
        given = [f"reduction.{setting.method}.{key}={value!r}" for key, value in reduction.items()]
        return load_recipe(self._subject, (*self._options.cfg_options, *given), self._options.checkpoint)

    def measured(self, setting: MergingSetting, merged: int) -> MergingCandidate:
        """Of so many tokens merged, on all images.

        Raises:
            UsageError: See `fidelity_on_photos` and `candidate_from_fidelity`.
        """
        if (setting, merged) not in self.found:
            recipe = self.recipe(setting, merged)
            beside = beside_dense(recipe, self._model, self._origin)
            beside = replace(beside, other=Remembered(beside.other, self._remembered))
            options, r = self._options, setting.r_of(merged, recipe.facts)
            assert options.data is not None
            words = f"{r}" if isinstance(r, int) else f"{merged / self._costs.blocks(setting):.2f}"
            folder = self._target / f"{setting.folder}_r{words}"
            self._on_note(
                f"{setting.name} r = {words}: {beside.macs / 1e9:.3f} of {beside.against_macs / 1e9:.3f} GMAC"
            )
            asked = AgainstOptions(options.data, options.limit, folder, options.restart)
            fidelity = fidelity_on_photos(beside, asked, on_progress=self._on_progress)
            cost = self._costs.model.cost(recipe)
            self.found[setting, merged] = candidate_from_fidelity(setting, r, cost, fidelity, self._request)
        return self.found[setting, merged]

    def largest(self, setting: MergingSetting) -> MergingCandidate | None:
        """With the most tokens merged per block among those that hold the bound and save work; None where there is none.

        By halving: what is lost is taken to grow with r.
        """
        blocks = self._costs.blocks(setting)
        holding, beyond = 0, self._costs.largest_r(setting) + 1
        while beyond - holding > 1:
            middle = (holding + beyond) // 2
            if self.measured(setting, middle * blocks).holds(self._request):
                holding = middle
            else:
                beyond = middle
        found = self.measured(setting, holding * blocks) if holding else None
        return found if found is not None and found.cost < self._costs.of_dense else None

    def similarity(self) -> DelayEvidence | None:
        """Of tokens, block by block, in the dense model on the first images; None of a host that DSM does not merge in."""
        dense = dense_recipe(self._costs.dense)
        dense = replace(dense, input=replace(dense.input, batch=1))
        try:
            check_mergeable(dense, "")
        except UsageError:
            return None
        assert self._options.data is not None
        photos = open_photos(self._options.data).photos[
            : min(self._options.limit or SIMILARITY_IMAGES, SIMILARITY_IMAGES)
        ]
        batches = [batch for photo in photos for batch in _usable(dense, photo.path)]
        return delay_evidence(fixed_from_model(self._model, dense), batches) if batches else None


def _usable(recipe: Recipe, path: Path) -> Iterator[ImageBatch]:
    try:
        yield from image_batches(recipe.input, [path])
    except ImageError:
        return  # what is measured says which were left out
