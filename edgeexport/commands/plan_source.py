"""Of one graph, what TensorRT-RTX compiles and what its answers are read by.

Made as soon as the graph is there, into files, so that no graph waits in memory until it is compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeexport.backends.plan_log import rows_from_log
from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.cost.composed_plan import PluginCall, rows_with_plugins
from edgeexport.cost.kernel_plan import KernelPlan, PlannedKernel, launches_of_calls, plan_with_work
from edgeexport.cost.work import GraphWork
from edgeexport.device.remains import temporary_folder
from edgeexport.errors import EdgeExportError
from edgeexport.graph.graphs import BundleGraphs
from edgeexport.graph.node_work import graph_work
from edgeexport.graph.opaque_plugins import opaque_plugins
from edgeexport.graph.weights_apart import model_file
from edgeexport.plugin.contract import contracts_from_sources
from edgeexport.plugin.sources import sources_folder
from edgeexport.recipe.schema import Recipe

__all__ = ["PlanSource", "plan_from_check", "plan_source"]

_TOO_SMALL = "TensorRT-RTX tells no kernels of a graph that is too small to be fused"


@dataclass(frozen=True)
class PlanSource:
    """A graph for TensorRT, ready to be compiled.

    Attributes:
        work: Of the graph in standard operators.
        launches: Operator -> kernels that its plugin launches.
        around: File of the graph around its plugins; None where it has none, they are not asked for, or ``problem`` tells why.
        around_work: Of that graph.
        calls: What was taken out of it.
        problem: Why plugins could not be taken out; else empty.
    """

    work: GraphWork
    launches: Mapping[str, tuple[str, ...]]
    around: Path | None = None
    around_work: GraphWork | None = None
    calls: tuple[PluginCall, ...] = ()
    problem: str = ""

    def plan(self, rtx: RtxCheck, model: str, precision: str) -> KernelPlan:
        """The plan of the graph in standard operators, by the verdict on it.

        Raises:
            EdgeExportError: The verdict holds no plan, or one that is not understood.
        """
        empty = _without_rows(rtx, model, precision)
        return plan_with_work(replace(empty, rows=_rows(rtx)), self.work, self.launches)

    def with_around(self, plan: KernelPlan, around: RtxCheck | None) -> KernelPlan:
        """The same with the kernels of the graph with plugins beside it, by the verdict on ``around``, or with why not."""
        if around is None:
            return replace(plan, not_around=self.problem)
        try:
            return replace(plan, around=self._composed(plan, around))
        except EdgeExportError as error:  # the plan with plugins is composed of this one then
            return replace(plan, not_around=error.problem)

    def plan_around(self, around: RtxCheck, model: str, precision: str) -> KernelPlan:
        """The plan of the graph with plugins alone.

        Raises:
            EdgeExportError: The graph around them was refused or compiled to a plan that is not understood.
        """
        plan = _without_rows(around, model, precision)
        launches = launches_of_calls(self.work, self.launches)
        return replace(plan, rows=self._composed(plan, around), launches=launches, composed=True)

    def _composed(self, plan: KernelPlan, around: RtxCheck) -> tuple[PlannedKernel, ...]:
        """Kernels around the plugins, with the plugins' own.

        Raises:
            EdgeExportError: TensorRT-RTX refuses the graph, fuses across a plugin or tells no kernels, or its plan is not
                understood.
        """
        if around.status != "passed":
            raise EdgeExportError("kernel plan with plugins", around.reason)
        assert self.around_work is not None
        read = plan_with_work(replace(plan, rows=_rows(around)), self.around_work, {})
        return rows_with_plugins(read.rows, self.around_work.nodes, self.calls, self.work.units, self.launches)


def _without_rows(rtx: RtxCheck, model: str, precision: str) -> KernelPlan:
    return KernelPlan(model, precision, rtx.compute_capability, f"TensorRT-RTX {rtx.version}", ())


def _rows(rtx: RtxCheck) -> tuple[PlannedKernel, ...]:
    rows = rows_from_log(rtx.plan)
    if not rows:
        raise EdgeExportError("kernel plan", _TOO_SMALL)
    return rows


def plan_source(graphs: BundleGraphs, recipe: Recipe, folder: Path, name: str, *, plugins: bool = True) -> PlanSource:
    """Writes the graph around the plugins, and counts what is needed of both.

    Args:
        graphs: Of a bundle, or of a part of it.
        recipe: Of the model.
        folder: For the file (`edgeexport.graph.weights_apart.model_file`), which the caller removes.
        name: What it is called after; another for each source of this process.
        plugins: False leaves out what is with plugins.

    Raises:
        BuildError: The plugins' sources declare no launches.
        LintError: See `graph_work`.
    """
    work = graph_work(graphs.tensorrt_functions, graphs.tensorrt, recipe, constant_nodes=True)
    launches = {contract.name: contract.launches for contract in contracts_from_sources(sources_folder())}
    source = PlanSource(work, launches)
    if not plugins:
        return source
    try:
        opaque, calls = opaque_plugins(graphs.for_plugins)
    except EdgeExportError as error:
        return replace(source, problem=error.problem)
    if not calls:
        return source
    own = graph_work(graphs.tensorrt_functions, opaque, recipe, constant_nodes=True)
    return replace(source, around=model_file(opaque, folder, f"{name}.around.onnx"), around_work=own, calls=calls)


def plan_from_check(rtx: RtxCheck, graphs: BundleGraphs, recipe: Recipe, model: str, precision: str) -> KernelPlan:
    """The plan behind a verdict, with what the graph tells of its kernels; what is around plugins is compiled here.

    Raises:
        PlanLogError: The log is not understood.
        EdgeExportError: It holds no plan, or the plugins' sources declare no launches.
    """
    with temporary_folder() as folder:
        source = plan_source(graphs, recipe, folder, f"{model}-{precision}")
        plan = source.plan(rtx, model, precision)
        return source.with_around(plan, None if source.around is None else check_tensorrt_rtx(source.around))
