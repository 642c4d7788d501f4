"""The search: Optuna asks for ways and counts, few images decide which of them see more, and halving finds the last count.

Trials are asked and told in batches of a fixed size, and the sampler is seeded: for a number of trials the search is the same,
whoever measures and however often it was interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeexport.tune.bounds import Bounds
from edgeexport.tune.extra import package_of_extra
from edgeexport.tune.form import Form
from edgeexport.tune.ladder import Ladder, Step
from edgeexport.tune.trials import SHARD, Kept, Trials

__all__ = ["BATCH", "Searched", "best_forms", "image_levels", "searched"]

BATCH = 4
"""Trials that are asked for at once."""

_HALVING = 2
_REFINED_WAYS = 2

OnBest = Callable[[Step, Kept], None]


@dataclass
class Searched:
    """What a search measured.

    Attributes:
        full: On all images.
        pruned: Form -> on the first images alone, after which its trial was given up.
        trials: How many were asked for.
        stopped: Why there were no more; '' where all were made.
    """

    full: dict[Form, Kept] = field(default_factory=dict)
    pruned: dict[Form, Kept] = field(default_factory=dict)
    trials: int = 0
    stopped: str = ""


def image_levels(images: int) -> tuple[int, ...]:
    """On how many images a form is looked at in turn: about a quarter, a half, all; whole shards but the last."""
    levels = {images}
    for part in (4, 2):
        level = math.ceil(images / part / SHARD) * SHARD
        if level < images:
            levels.add(level)
    return tuple(sorted(levels))


def searched(
    ladders: Sequence[Ladder],
    measure: Trials,
    bounds: Bounds,
    dense_cost: float,
    *,
    images: int,
    trials: int,
    seed: int,
    until: float = math.inf,
    on_best: OnBest = lambda step, kept: None,
) -> Searched:
    """Looks for the cheapest form within the bound, or the one that loses least within the budget.

    Args:
        ladders: With at least one step in all.
        measure: What measures forms.
        bounds: What was asked for.
        dense_cost: In the ladders' unit.
        images: All that may be used.
        trials: To ask for.
        seed: Of the sampler.
        until: On `time.monotonic`'s clock; no batch begins later.
        on_best: Hears of every form that is the best so far.

    Raises:
        UsageError: Optuna is not installed; see `Trials.measure`.
    """
    run = _Search([ladder for ladder in ladders if ladder.steps], measure, bounds, dense_cost, images, on_best)
    run.trials(trials, seed, until)
    if bounds.bounds_loss:
        run.refine(until)
    return run.found


class _Search:
    def __init__(
        self,
        ladders: Sequence[Ladder],
        measure: Trials,
        bounds: Bounds,
        dense_cost: float,
        images: int,
        on_best: OnBest,
    ) -> None:
        self._ladders, self._measure, self._bounds = {item.way: item for item in ladders}, measure, bounds
        self._dense_cost, self._images, self._on_best = dense_cost, images, on_best
        self._best = math.inf
        self.found = Searched()

    def trials(self, count: int, seed: int, until: float) -> None:
        """Asks, measures level by level, tells."""
        optuna = package_of_extra("optuna", "tune")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        levels = image_levels(self._images)
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(8, 2 * len(self._ladders))),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=levels[0], reduction_factor=_HALVING),
        )
        for ladder in self._ladders.values():  # the middle of every way first
            study.enqueue_trial({"way": ladder.way, f"step of {ladder.way}": len(ladder.steps) // 2})
        while self.found.trials < count:
            if time.monotonic() > until:
                self.found.stopped = "the budget of time is spent"
                return
            asked = [study.ask() for _ in range(min(BATCH, count - self.found.trials))]
            self.found.trials += len(asked)
            going = {trial: self._step(trial) for trial in asked}
            values: dict[object, float] = {}
            for level in levels:
                kept = dict(
                    zip(going, self._measure.measure([step.form for step in going.values()], level), strict=True)
                )
                for trial, step in tuple(going.items()):
                    self._bounds.check_told(kept[trial], step.form.name)
                    values[trial] = self._score(step, kept[trial])
                    trial.report(values[trial], level)
                    if level == self._images:
                        self._seen(step, kept[trial])
                    elif trial.should_prune():
                        self.found.pruned.setdefault(step.form, kept[trial])
                        del going[trial]
            for trial in asked:
                state = optuna.trial.TrialState.COMPLETE if trial in going else optuna.trial.TrialState.PRUNED
                study.tell(trial, values[trial] if trial in going else None, state=state)
            if len(self.found.full) == sum(len(ladder.steps) for ladder in self._ladders.values()):
                self.found.stopped = "every candidate was measured"
                return

    def refine(self, until: float) -> None:
        """Of the cheapest ways that keep the bound, halves between their last count that does and the first that does not.

        Where no trial found a way that keeps it, of those whose least counts are cheapest.
        """
        holding = {
            way: max(indices)
            for way, ladder in self._ladders.items()
            if (indices := [index for index, step in enumerate(ladder.steps) if self._holds(step)])
        } or dict.fromkeys(self._ladders, -1)
        cheapest = sorted(holding, key=lambda way: self._ladders[way].steps[max(holding[way], 0)].cost)
        for way in cheapest[:_REFINED_WAYS]:
            steps, low = self._ladders[way].steps, holding[way]
            failing = [index for index, step in enumerate(steps) if index > low and step.form in self.found.full]
            high = min(failing, default=len(steps))
            while high - low > 1 and time.monotonic() <= until:
                middle = (low + high) // 2
                (kept,) = self._measure.measure([steps[middle].form], self._images)
                self._seen(steps[middle], kept)
                low, high = (middle, high) if self._bounds.holds(kept) else (low, middle)

    def _holds(self, step: Step) -> bool:
        kept = self.found.full.get(step.form)
        return kept is not None and self._bounds.holds(kept)

    def _step(self, trial: object) -> Step:
        way = trial.suggest_categorical("way", list(self._ladders))  # type: ignore[attr-defined]
        steps = self._ladders[way].steps
        return steps[trial.suggest_int(f"step of {way}", 0, len(steps) - 1)]  # type: ignore[attr-defined]

    def _score(self, step: Step, kept: Kept) -> float:
        """Less is better: within the bound the share of the dense model's cost, beyond it more than 1."""
        if not self._bounds.bounds_loss:
            return self._bounds.loss(kept)
        excess = self._bounds.excess(kept)
        if excess or (kept.images == self._images and not self._bounds.holds(kept)):
            return 2 + excess
        return step.cost / self._dense_cost

    def _seen(self, step: Step, kept: Kept) -> None:
        self.found.pruned.pop(step.form, None)
        if step.form in self.found.full:
            return
        self.found.full[step.form] = kept
        score = self._score(step, kept)
        if score < min(self._best, 2):
            self._best = score
            self._on_best(step, kept)


def best_forms(found: Mapping[Form, Kept], costs: Mapping[Form, float], bounds: Bounds) -> list[Form]:
    """Those that keep the bound, the cheapest first; under a budget alone, those that lose least first."""
    holding = [form for form, kept in found.items() if bounds.holds(kept)]
    if bounds.bounds_loss:
        return sorted(holding, key=lambda form: (costs[form], form))
    return sorted(holding, key=lambda form: (bounds.loss(found[form]), costs[form], form))
