"""`edgeexport calibrate --min-cosine`: which method merges how many tokens, so that outputs stay close to the dense model's.

Every method's largest r is sought by halving: a mean cosine falls as more tokens merge. A candidate holds the bound when the
low end of the 95 % interval of every mean cosine does. The cheapest method that holds it is proposed, beside the others at
equal multiply-accumulates: random merging is the floor that it has to beat.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeexport.bundle import json_bytes, refuse_link_of_bundle
from edgeexport.bundle.files import write_file
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import RecipeError, UsageError
from edgeexport.evaluation.against import AgainstOptions, OnProgress, fidelity_on_photos
from edgeexport.evaluation.dense_beside import Remembered, beside_dense
from edgeexport.evaluation.fidelity_result import Fidelity, Figure
from edgeexport.evaluation.output_folder import written_to
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe

__all__ = ["FLOOR", "METHODS", "SCHEMA", "MergingCalibration", "MergingCandidate", "calibrate_merging"]

SCHEMA = "edgeexport.merging_calibration/1"
METHODS, FLOOR = ("tome", "dsm"), "random"
_MISPLACED = (
    "coverage", "max_miou_drop", "macs", "latency_ms", "latency_table", "split", "threshold", "reduce_zero_label",
)  # fmt: skip


@dataclass(frozen=True)
class MergingCandidate:
    """A method that merges r tokens in every block that merges.

    Attributes:
        method, r: Of the recipe's ``reduction``.
        macs: Multiply-accumulates per image.
        cosines: Mean of every cosine, see `edgeexport.evaluation.fidelity.figures_of`.
        images: Over how many.
    """

    method: str
    r: int
    macs: int
    cosines: Mapping[str, Figure]
    images: int

    @property
    def worst(self) -> Figure:
        """The cosine whose interval reaches lowest."""
        return min(self.cosines.values(), key=_low_end)

    def holds(self, bound: float) -> bool:
        """Whether every mean cosine is at least ``bound``, with its interval."""
        return _low_end(self.worst) >= bound

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        cosines = {name: figure.as_dict() for name, figure in self.cosines.items()}
        return {"method": self.method, "r": self.r, "macs": self.macs, "images": self.images, "cosines": cosines}


@dataclass(frozen=True)
class MergingCalibration:
    """What is proposed, and on what it rests.

    Attributes:
        recipe: What was calibrated, by name.
        subject: As given, for the command that builds it.
        weights: `edgeexport.fixed.weights.WeightsOrigin` as a dict.
        data: The folder.
        min_cosine: The bound.
        dense_macs: Of the dense model.
        chosen: The cheapest that holds the bound and saves work; None where no method does.
        largest: Every method's largest r that holds it, where there is one.
        equal: The other methods and the floor, at multiply-accumulates as near as can be to the chosen one's.
        tried: All candidates that were measured.
        file: merging.json.
    """

    recipe: str
    subject: str
    weights: Mapping[str, Any]
    data: Path
    min_cosine: float
    dense_macs: int
    chosen: MergingCandidate | None
    largest: tuple[MergingCandidate, ...]
    equal: tuple[MergingCandidate, ...]
    tried: tuple[MergingCandidate, ...]
    file: Path

    @property
    def beats_floor(self) -> bool:
        """Whether the worst cosine of the chosen one lies above the floor's, intervals apart."""
        floors = [item.worst for item in self.equal if item.method == FLOOR]
        if self.chosen is None or not floors:
            return False
        high = floors[0].mean if floors[0].interval is None else floors[0].interval.high
        return _low_end(self.chosen.worst) > high

    @property
    def random_weights(self) -> bool:
        """Whether nothing here tells of a trained model."""
        return bool(self.weights["origin"] == "random")

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "schema": SCHEMA,
            "provenance": "measured",
            "recipe": self.recipe,
            "subject": self.subject,
            "weights": dict(self.weights),
            "data": str(self.data),
            "min_cosine": self.min_cosine,
            "dense_macs": self.dense_macs,
            "chosen": None if self.chosen is None else self.chosen.as_dict(),
            "beats_floor": self.beats_floor,
            "largest": [item.as_dict() for item in self.largest],
            "equal": [item.as_dict() for item in self.equal],
            "tried": [item.as_dict() for item in self.tried],
        }


def calibrate_merging(
    subject: str | Path,
    options: CalibrationOptions,
    min_cosine: float,
    *,
    on_progress: OnProgress = lambda done, total, name: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> MergingCalibration:
    """Measures candidates on photographs, in torch, and proposes one; writes merging.json.

    Args:
        subject: A recipe without reduction, or a model's name.
        options: Its ``data``, ``limit``, ``checkpoint``, ``cfg_options``, ``out_dir`` and ``restart`` count.
        min_cosine: Above 0 and below 1.
        on_progress: Called with images done and in all, of every candidate.
        on_note: Called with what the reader should know.

    Raises:
        UsageError: The options do not fit, or the recipe has a reduction, or no cosine to compare; see `fidelity_on_photos`.
        RecipeError, CheckpointError: See there.
    """
    if misplaced := options.given(*_MISPLACED):
        raise UsageError(misplaced[0], "is not for --min-cosine", f"leave out {misplaced[0]} or --min-cosine")
    if not 0 < min_cosine < 1:
        raise UsageError(f"--min-cosine {min_cosine:g}", "expected a cosine above 0 and below 1", "such as 0.99")
    if options.data is None:
        raise UsageError("--data", "is missing", "give a folder of images, of the kind that the model will see")
    dense = load_recipe(subject, options.cfg_options, options.checkpoint)
    if dense.reductions:
        remedy = "give the dense recipe: which method merges is what is sought"
        raise UsageError(dense.name, f"has a reduction already, {', '.join(dense.reductions)}", remedy)
    target = options.out_dir if options.out_dir is not None else Path("calibration") / dense.name
    refuse_link_of_bundle(target, "--out-dir")
    trials = _Trials(str(subject), dense, options, target, on_progress, on_note)
    largest = [item for method in METHODS if (item := trials.largest(method, min_cosine)) is not None]
    chosen = min(largest, key=lambda item: item.macs, default=None)
    others = [method for method in (*METHODS, FLOOR) if chosen is not None and method != chosen.method]
    equal = [
        item for method in others if chosen is not None and (item := trials.nearest(method, chosen.macs)) is not None
    ]
    result = MergingCalibration(
        recipe=dense.name,
        subject=str(subject),
        weights=trials.weights,
        data=options.data,
        min_cosine=min_cosine,
        dense_macs=account(dense).dense.total,
        chosen=chosen,
        largest=tuple(largest),
        equal=tuple(equal),
        tried=tuple(trials.found.values()),
        file=target / "merging.json",
    )
    with written_to(result.file):
        write_file(result.file, json_bytes(result.as_dict()))
    return result


class _Trials:
    """Candidates of one dense model, each measured once.

    Attributes:
        found: (method, r) -> what was measured.
        weights: Where the model's are from.
    """

    def __init__(
        self,
        subject: str,
        dense: Recipe,
        options: CalibrationOptions,
        target: Path,
        on_progress: OnProgress,
        on_note: Callable[[str], None],
    ) -> None:
        self._subject, self._dense, self._options, self._target = subject, dense, options, target
        self._on_progress, self._on_note = on_progress, on_note
        self._model, self._origin = model_from_recipe(dense)
        self._remembered: dict[bytes, dict[str, NDArray]] = {}
        self._recipes: dict[tuple[str, int], Recipe | None] = {}
        self.found: dict[tuple[str, int], MergingCandidate] = {}
        self.weights = self._origin.as_dict()

    def largest(self, method: str, bound: float) -> MergingCandidate | None:
        """With the most tokens merged among those that hold the bound and save work; None where there is none."""
        most = self._last(method, lambda recipe: True)
        holding, beyond = 0, most + 1
        while beyond - holding > 1:
            middle = (holding + beyond) // 2
            if self._measured(method, middle).holds(bound):
                holding = middle
            else:
                beyond = middle
        found = self._measured(method, holding) if holding else None
        return found if found is not None and found.macs < account(self._dense).dense.total else None

    def nearest(self, method: str, macs: int) -> MergingCandidate | None:
        """Whose work is nearest to ``macs``; None where the model does not take the method."""
        above = self._last(method, lambda recipe: account(recipe).reduced.total >= macs)
        near = [r for r in (above, above + 1) if self._recipe(method, r) is not None]
        return self._measured(method, min(near, key=lambda r: abs(self._work(method, r) - macs))) if near else None

    def _last(self, method: str, fits: Callable[[Recipe], bool]) -> int:
        """The largest r that the model takes and that fits; 0 where none does. Both end at some r and begin at 1."""
        last, beyond = 0, self._dense.facts.num_tokens
        while beyond - last > 1:
            middle = (last + beyond) // 2
            recipe = self._recipe(method, middle)
            last, beyond = (middle, beyond) if recipe is not None and fits(recipe) else (last, middle)
        return last

    def _work(self, method: str, r: int) -> int:
        recipe = self._recipe(method, r)
        assert recipe is not None
        return account(recipe).reduced.total

    def _recipe(self, method: str, r: int) -> Recipe | None:
        """None where the model does not take it."""
        if (method, r) not in self._recipes:
            options = (*self._options.cfg_options, f"reduction.{method}.r={r}")
            recipe: Recipe | None = None
            if r:
                with contextlib.suppress(RecipeError):
                    recipe = load_recipe(self._subject, options, self._options.checkpoint)
            self._recipes[method, r] = recipe
        return self._recipes[method, r]

    def _measured(self, method: str, r: int) -> MergingCandidate:
        if (method, r) not in self.found:
            recipe = self._recipe(method, r)
            assert recipe is not None
            beside = beside_dense(recipe, self._model, self._origin)
            beside = replace(beside, other=Remembered(beside.other, self._remembered))
            options, folder = self._options, self._target / f"{method}{r}"
            assert options.data is not None
            asked = AgainstOptions(options.data, options.limit, folder, options.restart)
            self._on_note(f"{method} r = {r}: {beside.macs / 1e9:.3f} of {beside.against_macs / 1e9:.3f} GMAC")
            fidelity = fidelity_on_photos(beside, asked, on_progress=self._on_progress)
            self.found[method, r] = _candidate(method, r, fidelity)
        return self.found[method, r]


def _candidate(method: str, r: int, fidelity: Fidelity) -> MergingCandidate:
    cosines = {name: figure for name, figure in fidelity.figures.items() if figure.kind == "cosine"}
    if not cosines:
        raise UsageError(
            fidelity.name, "gives no output whose cosine tells anything", "ask for features or an embedding"
        )
    return MergingCandidate(method, r, fidelity.macs, cosines, fidelity.images)


def _low_end(figure: Figure) -> float:
    return figure.mean if figure.interval is None else figure.interval.low
