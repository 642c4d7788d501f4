"""The last word on a few forms: their own plans in every precision, and what their exported graphs keep in FP16."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeexport.device.remains import temporary_folder
from edgeexport.errors import EdgeExportError
from edgeexport.evaluation.output_folder import written_to
from edgeexport.fixed.schedule import token_schedule
from edgeexport.fixed.tokens import account
from edgeexport.graph.weights_apart import write_graphs
from edgeexport.recipe.schema import Recipe
from edgeexport.tune.bounds import Bounds
from edgeexport.tune.form import DENSE_FORM, Form, recipe_of_form
from edgeexport.tune.measure import Run
from edgeexport.tune.plans import FormPlans, PredictedTimes
from edgeexport.tune.result import Point
from edgeexport.tune.trials import Kept, Trials

__all__ = ["Finals"]

_MOST = 4
_HALF: Run = "fp16"


class Finals:
    """Makes points of forms.

    Args:
        dense: Without reductions.
        plans: For exported graphs.
        times: Predicted by plan; None: costs are ``cost``'s for every precision.
        cost: Of a form, where there are no plans.
        measure: What measures forms.
        bounds: What was asked for.
        precisions: To look at.
        images: All that may be used.
        on_note: Hears of what failed.
    """

    def __init__(
        self,
        dense: Recipe,
        plans: FormPlans,
        times: PredictedTimes | None,
        cost: Callable[[Form], float],
        measure: Trials,
        bounds: Bounds,
        precisions: Sequence[str],
        images: int,
        on_note: Callable[[str], None],
    ) -> None:
        self._dense, self._plans, self._times, self._cost = dense, plans, times, cost
        self._measure, self._bounds, self._precisions = measure, bounds, tuple(precisions)
        self._images, self._on_note = images, on_note

    def dense_points(self) -> list[Point]:
        """The dense model in every precision. Raises: EdgeExportError: It cannot be planned or exported."""
        return [self.point(DENSE_FORM, precision, None) for precision in self._precisions]

    def points(self, forms: Sequence[Form], kept: Mapping[Form, Kept], table: Mapping[Form, float]) -> list[Point]:
        """Of the first forms, in order, until none that is left could be better than what was found.

        Args:
            forms: The most promising first.
            kept: What each keeps in torch.
            table: Their cost by the table of tokens.
        """
        found: list[Point] = []
        for number, form in enumerate(forms):
            best = min((point.cost for point in found if point.holds(self._bounds)), default=float("inf"))
            if number >= _MOST or (self._bounds.bounds_loss and table[form] > best):
                break
            for precision in self._precisions:
                try:
                    found.append(self.point(form, precision, kept[form]))
                except EdgeExportError as error:
                    self._on_note(f"{form.name}, {precision}: {error}")
            if not self._bounds.bounds_loss and any(point.holds(self._bounds) for point in found):
                break
        return found

    def point(self, form: Form, precision: str, kept: Kept | None) -> Point:
        """One form in one precision.

        Args:
            kept: In torch; None of the dense model.

        Raises:
            EdgeExportError: It cannot be planned or exported.
        """
        recipe = recipe_of_form(self._dense, form)
        kernels, cost = 0, 0.0
        if self._times is None:
            cost = self._cost(form)
        else:
            cost = self._times.ms(form, precision)
            kernels = len(self._plans.plan(form, precision).kernels)
        exported = precision == _HALF
        if exported:
            kept = self._in_half(form)
        return Point(
            form=form,
            precision=precision,
            tokens_out=token_schedule(recipe).blocks[-1].branches[-1].work,
            macs=account(recipe).reduced.total,
            cost=cost,
            planned=self._times is not None,
            kept=kept,
            exported=exported,
            kernels=kernels,
        )

    def _in_half(self, form: Form) -> Kept:
        with temporary_folder() as folder:
            path = Path(folder) / "model.onnx"
            if not self._measure.known(form, self._images, _HALF):
                graphs = self._plans.graphs(form, _HALF)
                with written_to(path):
                    write_graphs(Path(folder), {path.name: graphs.with_functions})
            (kept,) = self._measure.measure([form], self._images, _HALF, {form: path})
        return kept
