"""`edgeexport calibrate` for methods that merge: which one, how many tokens, from which block on and in which windows.

Under a bound (``--min-cosine``, ``--max-drop``) ToMe's largest r that keeps it is sought by halving. At its cost every way of
DSM, delays and windows, is measured once; the best of them is sought its own largest r. The cheapest that keeps the bound is
proposed. Under a budget (``--macs``, ``--latency-ms``) every way is measured once, with the fewest tokens merged that fit, and
the best is proposed. Random merging at equal cost is the floor that either has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle import json_bytes, refuse_link_of_bundle
from edgeexport.bundle.files import write_file
from edgeexport.calibration.cost import CostModel, MacsCost
from edgeexport.calibration.delay import DelayEvidence
from edgeexport.calibration.merging_candidate import DROPS, MergingCandidate
from edgeexport.calibration.merging_latency import MergingTableCost, read_merging_latency_table
from edgeexport.calibration.merging_recipe import merging_recipe_text, not_tried, statement
from edgeexport.calibration.merging_request import MergingRequest, merging_request
from edgeexport.calibration.merging_search import searched
from edgeexport.calibration.merging_settings import (
    FLOOR,
    MergingCosts,
    MergingSetting,
    delays_to_try,
    settings_to_try,
)
from edgeexport.calibration.merging_trials import MergingTrials
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError
from edgeexport.evaluation.against import OnProgress
from edgeexport.evaluation.output_folder import written_to
from edgeexport.recipe import load_recipe

__all__ = ["SCHEMA", "MergingCalibration", "calibrate_merging"]

SCHEMA = "edgeexport.merging_calibration/2"


@dataclass(frozen=True)
class MergingCalibration:
    """What is proposed, and on what it rests.

    Attributes:
        recipe: What was calibrated, by name.
        subject: As given.
        weights: `edgeexport.fixed.weights.WeightsOrigin` as a dict.
        data: The folder.
        request: What was asked for.
        unit: Of costs, 'MACs' or 'ms', and ``costs_from``, the table of these.
        dense_macs, dense_cost: Of the dense model.
        chosen: None where no method keeps the bound, or fits the budget, and saves work.
        reason: Why the dense model is what is left; ''.
        largest: Under a bound, ToMe's and DSM's largest r that keep it, where there is one.
        equal: The other ways and the floor, at costs as near as can be to the chosen one's.
        compared: Under a bound, ways of DSM at ToMe's cost; under a budget all that fit it.
        tried: All candidates that were measured.
        delay_by_similarity: What the curve of similarity proposes; None where it does not rise, or tells nothing here.
        similarity: The same in a sentence; ''.
        not_tried: Sentences.
        recipe_file: What was written for the chosen one; None where none was.
        file: merging.json.
    """

    recipe: str
    subject: str
    weights: Mapping[str, Any]
    data: Path
    request: MergingRequest
    unit: str
    costs_from: str
    dense_macs: int
    dense_cost: float
    chosen: MergingCandidate | None
    reason: str
    largest: tuple[MergingCandidate, ...]
    equal: tuple[MergingCandidate, ...]
    compared: tuple[MergingCandidate, ...]
    tried: tuple[MergingCandidate, ...]
    delay_by_similarity: int | None
    similarity: str
    not_tried: tuple[str, ...]
    recipe_file: Path | None
    file: Path

    @property
    def floor(self) -> MergingCandidate | None:
        """Random merging at the chosen one's cost."""
        return next((item for item in self.equal if item.method == FLOOR), None)

    @property
    def beats_floor(self) -> bool:
        """Whether these images tell that the chosen one loses less than the floor."""
        floor = self.floor
        return self.chosen is not None and floor is not None and self.chosen.clearly_better(floor, self.request)

    @property
    def better_than(self) -> tuple[str, ...]:
        """Of the others at equal cost those that the chosen one is better than, as far as these images tell, by name."""
        chosen = self.chosen
        if chosen is None:
            return ()
        return tuple(item.setting.name for item in self.equal if chosen.clearly_better(item, self.request))

    @property
    def random_weights(self) -> bool:
        """Whether nothing here tells of a trained model."""
        return bool(self.weights["origin"] == "random")

    @property
    def drop_of(self) -> str:
        """What a drop is counted in: percent of which images; '' where there is none."""
        drops = {item.drop.measure for item in self.tried if item.drop is not None}
        return "; ".join(f"{measure}: {DROPS[measure]}" for measure in sorted(drops))

    @property
    def statement(self) -> str:
        """What is proposed, in sentences."""
        return statement(self)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        lists = ("largest", "equal", "compared", "tried")
        return {
            "schema": SCHEMA,
            "provenance": "measured",
            "recipe": self.recipe,
            "subject": self.subject,
            "weights": dict(self.weights),
            "data": str(self.data),
            "request": {"kind": self.request.kind, "value": self.request.value, "text": self.request.text},
            "unit": self.unit,
            "costs_from": self.costs_from,
            "dense_macs": self.dense_macs,
            "dense_cost": self.dense_cost,
            "chosen": None if self.chosen is None else self.chosen.as_dict(),
            "reason": self.reason,
            "statement": self.statement,
            "beats_floor": self.beats_floor,
            "better_than": list(self.better_than),
            "drop_of": self.drop_of,
            **{name: [item.as_dict() for item in getattr(self, name)] for name in lists},
            "delay_by_similarity": self.delay_by_similarity,
            "not_tried": list(self.not_tried),
            "recipe_file": None if self.recipe_file is None else str(self.recipe_file),
        }


def calibrate_merging(
    subject: str | Path,
    options: CalibrationOptions,
    *,
    on_progress: OnProgress = lambda done, total, name: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> MergingCalibration:
    """Measures candidates on photographs, in torch, and proposes one; writes merging.json and a recipe of it.

    Args:
        subject: A recipe without reduction, or a model's name.
        options: Exactly one of `edgeexport.calibration.merging_request.REQUESTS`, on what, and where files go.
        on_progress: Called with images done and in all, of every candidate.
        on_note: Called with what the reader should know.

    Raises:
        UsageError: The options do not fit, or the recipe has a reduction, or nothing tells what is asked; see
            `fidelity_on_photos`.
        RecipeError, CheckpointError: See there.
    """
    request = merging_request(options)
    if options.data is None:
        raise UsageError("--data", "is missing", "give a folder of images, of the kind that the model will see")
    dense = load_recipe(subject, options.cfg_options, options.checkpoint)
    if dense.reductions:
        remedy = "give the dense recipe: which method merges is what is sought"
        raise UsageError(dense.name, f"has a reduction already, {', '.join(dense.reductions)}", remedy)
    target = options.out_dir if options.out_dir is not None else Path("calibration") / dense.name
    refuse_link_of_bundle(target, "--out-dir")
    cost = _cost_model(options.latency_table)
    costs = MergingCosts(dense, cost)
    trials = MergingTrials(str(subject), costs, request, options, target, on_progress, on_note)
    evidence = trials.similarity()
    by_similarity = evidence.delay if evidence is not None and evidence.rises else None
    settings = settings_to_try(dense.facts, delays_to_try(dense.facts, by_similarity))
    found = searched(trials, costs, settings, request)
    chosen = found.chosen
    floor = None if chosen is None else costs.nearest(MergingSetting(FLOOR), chosen.cost)
    equal = [*found.others, *([trials.measured(MergingSetting(FLOOR), floor)] if floor is not None else [])]
    result = MergingCalibration(
        recipe=dense.name,
        subject=str(subject),
        weights=trials.weights,
        data=options.data,
        request=request,
        unit=cost.unit,
        costs_from=cost.source if isinstance(cost, MergingTableCost) else "",
        dense_macs=int(MacsCost().cost(dense)),
        dense_cost=costs.of_dense,
        chosen=chosen,
        reason=found.reason,
        largest=found.largest,
        equal=tuple(equal),
        compared=found.compared,
        tried=tuple(trials.found.values()),
        delay_by_similarity=by_similarity,
        similarity=_similarity_words(evidence),
        not_tried=not_tried(dense, settings, found.left_out),
        recipe_file=None if chosen is None else target / f"{dense.name}_merged.py",
        file=target / "merging.json",
    )
    with written_to(result.file):
        target.mkdir(parents=True, exist_ok=True)
        write_file(result.file, json_bytes(result.as_dict()))
        if result.chosen is None or result.recipe_file is None:
            (target / f"{dense.name}_merged.py").unlink(
                missing_ok=True
            )  # an earlier run's would belong to nothing here
        else:
            write_file(
                result.recipe_file, merging_recipe_text(dense, result.chosen, result, target, options.cfg_options)
            )
    return result


def _cost_model(table: Path | None) -> CostModel:
    return MacsCost() if table is None else MergingTableCost(read_merging_latency_table(table))


def _similarity_words(evidence: DelayEvidence | None) -> str:
    if evidence is None:
        return ""
    said = (
        f"proposes a delay of {evidence.delay}, which was tried"
        if evidence.rises
        else "does not rise, and proposes none"
    )
    return f"The similarity of tokens on {len(evidence.images)} images {said}."
