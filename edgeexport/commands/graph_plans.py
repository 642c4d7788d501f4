"""Work and kernel plans of a model that is exported as several graphs: one of each for every graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeexport.backends.plan_log import rows_from_log
from edgeexport.backends.tensorrt_rtx import RtxCheck
from edgeexport.cost.kernel_plan import KernelPlan, Plans, plan_with_work
from edgeexport.cost.work import GraphWork, work_bytes, work_file
from edgeexport.errors import EdgeExportError
from edgeexport.graph.graph_list import ListedGraph
from edgeexport.graph.node_work import graph_work
from edgeexport.recipe.prompt import PromptRecipe

__all__ = ["plans_of_graphs", "works_of", "write_works"]

_TOO_SMALL = "TensorRT-RTX tells no kernels of a graph that is too small to be fused"


def works_of(recipe: PromptRecipe, graphs: Sequence[ListedGraph]) -> dict[str, GraphWork]:
    """The work of every graph by its name.

    Raises:
        LintError: A shape is unknown.
    """
    return {graph.name: graph_work(graph.with_functions, graph.plain, recipe) for graph in graphs}


def write_works(folder: Path, works: Mapping[str, GraphWork]) -> None:
    """``NAME.work.json`` for every graph.

    Raises:
        OSError: One cannot be written.
    """
    for name, work in works.items():
        (folder / work_file(name)).write_bytes(work_bytes(work))


def plans_of_graphs(
    graphs: Sequence[ListedGraph], works: Mapping[str, GraphWork], rtx: Mapping[str, RtxCheck], precision: str
) -> Plans | None:
    """The plan of every graph, its ``model`` the graph's name; None where TensorRT-RTX built none of them.

    Args:
        graphs: See `edgeexport.graph.graph_list.graphs_from_forms`.
        works: See `works_of`.
        rtx: ``tensorrt_rtx.NAME`` -> the verdict, with its plan.
        precision: Of the graphs.
    """
    checks = {graph.name: rtx[key] for graph in graphs if (key := f"tensorrt_rtx.{graph.name}") in rtx}
    if not any(check.status == "passed" for check in checks.values()):
        return None
    plans, missing = [], []
    for name, check in checks.items():
        try:
            rows = rows_from_log(check.plan) if check.status == "passed" else ()
        except EdgeExportError as error:
            missing.append(f"no plan of {name}.trt.onnx: {error.problem}")
            continue
        if not rows:
            missing.append(f"no plan of {name}.trt.onnx: {check.reason or _TOO_SMALL}")
            continue
        macs = sum(node.macs for node in works[name].nodes)
        compiler = f"TensorRT-RTX {check.version}"
        plan = KernelPlan(name, precision, check.compute_capability, compiler, rows, macs=macs)
        plans.append(plan_with_work(plan, works[name], {}))
    return Plans(tuple(plans), tuple(missing))
