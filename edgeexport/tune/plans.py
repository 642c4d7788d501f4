"""Kernel plans of forms, in every precision that was asked for: compiled once, and kept beside the study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
from torch import nn

from edgeexport import documents
from edgeexport.backends.tensorrt_rtx import check_tensorrt_rtx
from edgeexport.bundle.files import write_file
from edgeexport.commands.build import bundle_export
from edgeexport.commands.plan_source import plan_from_check
from edgeexport.cost.ceilings import power_modes
from edgeexport.cost.gpu_limits import GpuLimits, gpu_limits
from edgeexport.cost.kernel_plan import DENSE, POLICY, REDUCED, KernelPlan, Plans, plans_bytes, plans_from_document
from edgeexport.cost.pays import plan_of
from edgeexport.cost.plan_time import PlanPrediction, plan_prediction
from edgeexport.device.remains import temporary_folder
from edgeexport.documents import read_document
from edgeexport.errors import BundleError, EdgeExportError
from edgeexport.evaluation.output_folder import written_to
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import WeightsOrigin
from edgeexport.graph.graphs import BundleGraphs, graphs_from_export
from edgeexport.graph.separate import parts_of_graphs
from edgeexport.graph.weights_apart import model_file
from edgeexport.recipe.schema import Recipe
from edgeexport.tune.form import Form, recipe_of_form

__all__ = ["FormPlans", "PredictedTimes", "whole_plan"]


class FormPlans:
    """Plans of one dense model's forms.

    Args:
        dense: Without reductions.
        model, origin: Of it, networks of reductions included.
        folder: Where plans are kept: what they depend on beside the form is the study's key.
        on_stage: Hears of what takes long.
    """

    def __init__(
        self, dense: Recipe, model: nn.Module, origin: WeightsOrigin, folder: Path, on_stage: Callable[[str], None]
    ) -> None:
        self._dense, self._model, self._origin = dense, model, origin
        self._folder, self._on_stage = folder, on_stage
        self._exported: tuple[Form, onnx.ModelProto] | None = None

    def plan(self, form: Form, precision: str) -> KernelPlan:
        """Of all that runs for an image, plugins where the deployed graph has them.

        Raises:
            EdgeExportError: TensorRT-RTX does not run, refuses the graph, or tells no kernels of it.
            RecipeError: The model does not take the form.
        """
        path = self._folder / f"{form.file_name}-{precision}.json"
        try:
            plans = plans_from_document(read_document(path, documents.KERNELS)) if path.is_file() else None
        except BundleError:  # torn: it is made again
            plans = None
        if plans is None:
            plans = self._compiled(form, precision)
            with written_to(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, plans_bytes(plans))
        return whole_plan(plans, form, precision)

    def graphs(self, form: Form, precision: str) -> BundleGraphs:
        """The graphs that a build of this form would write.

        Raises:
            RecipeError, BuildError, ParityError: As a build does.
        """
        fixed = fixed_from_model(self._model, recipe_of_form(self._dense, form))
        if self._exported is None or self._exported[0] != form:  # precisions of a form follow each other
            self._on_stage(f"export: {form.name}")
            self._exported = form, bundle_export(fixed, self._origin).model
        own = onnx.ModelProto()
        own.CopyFrom(self._exported[1])
        return graphs_from_export(fixed, own, precision)

    def _compiled(self, form: Form, precision: str) -> Plans:
        recipe = recipe_of_form(self._dense, form)
        parts = parts_of_graphs(self.graphs(form, precision), fixed_from_model(self._model, recipe).separate)
        self._on_stage(f"kernel plan: {form.name}, {precision}")
        made = []
        with temporary_folder() as folder:
            for stem, graphs in sorted(parts.items()):  # the model first
                rtx = check_tensorrt_rtx(model_file(graphs.tensorrt, folder, f"{stem}.onnx"))
                if rtx.status != "passed":
                    raise EdgeExportError("TensorRT-RTX", rtx.reason)
                label = (DENSE if form.is_dense else REDUCED) if stem == "model" else POLICY
                made.append(plan_from_check(rtx, graphs, recipe, label, precision))
        return Plans(tuple(made))


def whole_plan(plans: Plans, form: Form, precision: str) -> KernelPlan:
    """The plan of all that runs, in the deployed graph. Raises: EdgeExportError: There is none."""
    plan = plan_of(plans, DENSE if form.is_dense else REDUCED, precision, plugins=True)
    if plan is None:
        raise EdgeExportError(f"plan of {form.name}", f"is not of {precision}", "remove it: it is made again")
    return plan


class PredictedTimes:
    """Predicted time of one image on a target in its fastest power mode.

    Attributes:
        limits: None where no rates of the target are published.
    """

    def __init__(self, plans: FormPlans, target: str, precisions: Sequence[str], batch: int) -> None:
        modes = power_modes(target)
        self.limits: GpuLimits | None = gpu_limits(target, modes[0]) if modes else None
        self.plans, self.target, self.precisions, self._batch = plans, target, tuple(precisions), batch

    @property
    def source(self) -> str:
        """For people."""
        mode = "" if self.limits is None else f" at {self.limits.ceilings.power_mode}"
        return f"predicted from TensorRT-RTX's kernel plans for {self.target}{mode}"

    def prediction(self, form: Form, precision: str) -> PlanPrediction:
        """Of a run of the whole batch. Raises: As `FormPlans.plan`."""
        assert self.limits is not None
        return plan_prediction(self.plans.plan(form, precision), self.limits)

    def ms(self, form: Form, precision: str) -> float:
        """Per image. Raises: As `FormPlans.plan`."""
        return self.prediction(form, precision).total_ms / self._batch
