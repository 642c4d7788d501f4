"""One study under way: ways are priced, the search measures, and of the best few their own plans decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgeexport.bundle import json_bytes
from edgeexport.bundle.files import write_file
from edgeexport.calibration.cost import MacsCost
from edgeexport.calibration.merging_settings import FLOOR, MergingCosts, MergingSetting, delays_to_try, settings_to_try
from edgeexport.errors import EdgeExportError, UsageError, nearest_hint
from edgeexport.evaluation.output_folder import written_to
from edgeexport.tune.bounds import Bounds, TuneOptions
from edgeexport.tune.finalists import Finals
from edgeexport.tune.form import Form, recipe_of_form
from edgeexport.tune.ladder import SAME, Ladder, Step, form_of_setting, merging_ladder
from edgeexport.tune.measure import Opened
from edgeexport.tune.own_ways import own_forms, own_ladder
from edgeexport.tune.picture import draw_study
from edgeexport.tune.plans import FormPlans, PredictedTimes
from edgeexport.tune.prices import Prices, price_key, prices_by_plan, prices_by_table, prices_in_macs
from edgeexport.tune.recipe_file import not_tried, tuned_recipe_text
from edgeexport.tune.result import Point, TuneResult
from edgeexport.tune.search import Searched, best_forms, searched
from edgeexport.tune.trials import Kept, Trials

__all__ = ["METHODS", "Study"]

METHODS = ("tome", "dsm")
"""Methods that are searched in any model that takes them; random merging is the floor."""

_TOLERANCE = 0.02
"""By how much the table of tokens may be wrong: candidates so close to a limit are measured all the same."""


class Study:
    """Of one subject under one bound.

    Args:
        found: The subject, opened.
        options: As asked.
        bounds, precisions: Of these, checked.
        folder: Where files go.
        measure: What measures forms.
        images: How many of the folder.
        on_note, on_stage: See `edgeexport.tune.tune.tune`.
    """

    def __init__(
        self,
        found: Opened,
        options: TuneOptions,
        bounds: Bounds,
        precisions: Sequence[str],
        folder: Path,
        measure: Trials,
        images: int,
        on_note: Callable[[str], None],
        on_stage: Callable[[str], None],
    ) -> None:
        self._found, self._dense, self._options, self._bounds = found, found.dense, options, bounds
        self._folder, self._measure, self._images = folder, measure, images
        self._on_note, self._on_stage = on_note, on_stage
        self._macs = MergingCosts(found.dense, MacsCost())
        self._plans = FormPlans(found.dense, found.model, found.origin, folder / "plans", on_stage)
        self._own = own_forms(found.given)
        self._settings = self._ways()
        self._prices = self._priced(precisions)
        self._steps: list[Step] = []
        self._precisions = precisions if self._prices.times is not None else precisions[-1:]

    def result(self, subject: str, until: float) -> TuneResult:
        """Prices, searches, decides, writes."""
        dense = self._finals().dense_points()
        while len(self._precisions) > 1 and not self._bounds_loss_of(dense[0]):
            self._on_note(
                f"{dense[0].name} loses more than {self._bounds.text} allows: the search is in another precision"
            )
            self._precisions = self._precisions[1:]
            self._prices = self._priced(self._precisions)
            dense = self._finals().dense_points()
        finals, every = self._finals(), self._ladders()
        self._steps = [step for ladder in every for step in ladder.steps]
        ladders = [replace(ladder, steps=self._worth_measuring(ladder)) for ladder in every]
        fits = [point for point in dense if point.holds(self._bounds)]
        searches = self._bounds.bounds_loss or not fits
        found = Searched()
        if searches and any(ladder.steps for ladder in ladders):
            found = searched(
                ladders,
                self._measure,
                self._bounds,
                self._prices.dense,
                images=self._images,
                trials=self._options.trials,
                seed=self._options.seed,
                until=until,
                on_best=self._tell_best,
            )
        table = {step.form: step.cost for ladder in ladders for step in ladder.steps}
        best = finals.points(best_forms(found.full, table, self._bounds), found.full, table)
        planned = {point.form for point in best}
        others = [self._by_table(form, kept, table[form]) for form, kept in found.full.items() if form not in planned]
        points = (*dense, *best, *others)
        chosen = self._chosen(points, dense, best)
        floor = None if chosen.form.is_dense else self._floor(chosen)
        reason = self._why_dense(every, ladders, found, fits) if chosen.form.is_dense else ""
        recipe_file = None if chosen.form.is_dense else self._folder / f"{self._dense.name}_tuned.py"
        result = TuneResult(
            recipe=self._dense.name,
            subject=subject,
            weights=self._found.origin.as_dict(),
            data=self._found.photos.root,
            target=self._options.target,
            bounds=self._bounds,
            unit=self._prices.unit,
            costs_from=self._prices.source,
            points=points,
            chosen=chosen,
            floor=floor,
            pruned={form: kept.images for form, kept in found.pruned.items()},
            ladders=tuple(every),
            images=self._images,
            left_out=[item.as_dict() for item in self._measure.left_out.values()],
            trials=found.trials,
            stopped=found.stopped,
            reason=reason,
            not_tried=not_tried(self._dense, self._settings, tuple(self._own), self._prices, self._options.target),
            recipe_file=recipe_file,
            picture=self._folder / "tune.png",
            file=self._folder / "tune.json",
        )
        self._write(result)
        return result

    def _finals(self) -> Finals:
        return Finals(
            self._dense,
            self._plans,
            self._prices.times,
            self._price,
            self._measure,
            self._bounds,
            self._precisions,
            self._images,
            self._on_note,
        )

    def _ladders(self) -> list[Ladder]:
        prices = self._prices.by_method
        own = [own_ladder(self._dense, form, prices[way]) for way, form in self._own.items() if way in prices]
        merging = [
            merging_ladder(self._dense, setting, self._macs, prices[price_key(setting.name)])
            for setting in self._settings
            if price_key(setting.name) in prices
        ]
        return [ladder for ladder in (*own, *merging) if ladder.every]

    def _bounds_loss_of(self, point: Point) -> bool:
        return point.kept is None or self._bounds.holds(point.kept)

    def _ways(self) -> tuple[MergingSetting, ...]:
        asked, own = self._options.methods, {key for form in self._own.values() for key in form.config}
        known = tuple(dict.fromkeys((*METHODS, *sorted(own))))
        for name in asked:
            if name not in known:
                raise UsageError(f"--method {name}", "is not searched for this recipe", nearest_hint(name, known))
        if asked:
            self._own = {way: form for way, form in self._own.items() if set(form.config) <= set(asked)}
        settings = settings_to_try(self._dense.facts, delays_to_try(self._dense.facts, None))
        taken = [item for item in settings if item.method in (asked or METHODS) and self._macs.largest_r(item)]
        if not taken and not self._own:
            remedy = "give a recipe with a reduction of its own, or a model in which tokens can merge"
            raise UsageError(self._dense.name, f"takes none of {', '.join(asked or METHODS)}", remedy)
        return tuple(taken)

    def _priced(self, precisions: Sequence[str]) -> Prices:
        methods = [*self._own, *(price_key(setting.name) for setting in self._settings)]
        if self._options.latency_table is not None:
            return prices_by_table(self._dense, methods, self._options.latency_table)
        times = PredictedTimes(self._plans, self._options.target, precisions, self._dense.input.batch)
        reason = f"no rates of {self._options.target} are published"
        if times.limits is not None:
            try:
                return prices_by_plan(self._dense, self._settings, self._own, times, self._folder, self._on_stage)
            except UsageError:
                raise
            except EdgeExportError as error:
                reason = f"{error.where}: {error.problem}"
        if self._bounds.latency_ms is not None:
            remedy = "give --latency-table with times of the device, or leave --latency-ms out"
            raise UsageError(f"--latency-ms {self._bounds.latency_ms:g}", f"no time is predicted: {reason}", remedy)
        self._on_note(f"costs are multiply-accumulates, which are no latency: {reason}")
        return prices_in_macs(self._dense, methods)

    def _price(self, form: Form) -> float:
        """Without a plan of its own."""
        if form.is_dense:
            return self._prices.dense
        return self._prices.by_method[price_key(form.way)](recipe_of_form(self._dense, form))

    def _worth_measuring(self, ladder: Ladder) -> tuple[Step, ...]:
        """Steps that may be cheaper than the dense model, and within the budget."""
        below = self._prices.dense * (1 + _TOLERANCE if self._prices.times is not None else 1 - SAME)
        if self._bounds.latency_ms is not None:
            below = min(below, self._bounds.latency_ms * (1 + _TOLERANCE))
        return tuple(step for step in ladder.steps if step.cost < below)

    def _tell_best(self, step: Step, kept: Kept) -> None:
        worst = "" if kept.worst is None else f", {kept.worst.kind} {kept.worst.mean:.4f}"
        drop = "" if kept.drop is None else f", {kept.drop.figure.mean:.2f} points of {kept.drop.measure} lost"
        self._on_note(f"best so far: {step.form.name}: {_cost_text(step.cost, self._prices.unit)}{worst}{drop}")

    def _by_table(self, form: Form, kept: Kept, cost: float) -> Point:
        recipe = recipe_of_form(self._dense, form)
        left = next(step.tokens_out for step in self._steps if step.form == form)
        return Point(form, self._precisions[0], left, int(MacsCost().cost(recipe)), cost, False, kept)

    def _chosen(self, points: Sequence[Point], dense: Sequence[Point], best: Sequence[Point]) -> Point:
        keeping = [point for point in (*dense, *best) if point.holds(self._bounds)]
        if not keeping:
            raise UsageError(self._bounds.text, self._nearest(points), "allow more, or give more images")
        if not self._bounds.bounds_loss:
            return min(keeping, key=lambda point: 0.0 if point.kept is None else self._bounds.loss(point.kept))
        cheapest = min(keeping, key=lambda point: point.cost)
        same = [point for point in dense if point in keeping and point.cost <= cheapest.cost * (1 + SAME)]
        return min(same, key=lambda point: point.cost) if same else cheapest

    def _nearest(self, points: Sequence[Point]) -> str:
        losing = [point for point in points if point.kept is None or self._bounds.holds(point.kept)]
        nearest = min(losing or points, key=lambda point: point.cost)
        lost = (
            "" if nearest.kept is None or nearest.kept.worst is None else f", {nearest.worst:.4f} of the dense model's"
        )
        return f"nothing keeps it; nearest is {nearest.name}: {_cost_text(nearest.cost, self._prices.unit)}{lost}"

    def _floor(self, chosen: Point) -> Point | None:
        """Random merging at the multiply-accumulates of the chosen form, in torch."""
        config, setting = chosen.form.config, MergingSetting(FLOOR)
        if set(config) == {"dtop"}:
            form = Form.of(FLOOR, {FLOOR: {"prune": config["dtop"]["prune"]}})
        elif {"cts", "dtop"} & set(config) or (merged := self._macs.nearest(setting, chosen.macs)) is None:
            return None
        else:
            form = form_of_setting(self._dense, setting, merged)
        (kept,) = self._measure.measure([form], self._images)
        recipe = recipe_of_form(self._dense, form)
        return Point(form, chosen.precision, chosen.tokens_out, int(MacsCost().cost(recipe)), chosen.cost, False, kept)

    def _why_dense(
        self, every: Sequence[Ladder], ladders: Sequence[Ladder], found: Searched, fits: Sequence[Point]
    ) -> str:
        if not self._bounds.bounds_loss and fits:
            return f"it fits {self._bounds.text} as it is"
        steps = [step for ladder in every for step in ladder.every]
        if not any(ladder.steps for ladder in ladders):
            fastest = min(steps, key=lambda step: step.cost)
            cost = _cost_text(fastest.cost, self._prices.unit)
            beside = _cost_text(self._prices.dense, self._prices.unit)
            return (
                f"none of {len(steps)} counts of {len(every)} ways is cheaper; the cheapest, {fastest.form.name}, "
                f"is {self._prices.source.partition(' ')[0]} at {cost} beside {beside}"
            )
        return (
            f"of {len(found.full)} forms that were measured on all images none keeps {self._bounds.text} and is cheaper"
        )

    def _write(self, result: TuneResult) -> None:
        with written_to(result.file):
            self._folder.mkdir(parents=True, exist_ok=True)
            draw_study(result, result.picture)
            write_file(result.file, json_bytes(result.as_dict()))
            stale = self._folder / f"{self._dense.name}_tuned.py"
            if result.recipe_file is None:
                stale.unlink(missing_ok=True)  # an earlier request's would belong to nothing here
            else:
                text = tuned_recipe_text(self._dense, result, self._folder, self._options.cfg_options)
                write_file(result.recipe_file, text)


def _cost_text(cost: float, unit: str) -> str:
    return f"{cost / 1e9:.3f} GMAC" if unit == "MACs" else f"{cost:.3f} ms"
