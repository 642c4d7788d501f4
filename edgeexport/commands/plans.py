"""The kernel plans of a build: of its graph, of its dense form, and of both in the other precision.

The dense form is exported as well, for only its own graph tells its kernels. No plan depends on what the weights are, only on
which of them are zero, so that plans are kept in the user's cache: a family's dense plans are made once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import onnx

from edgeexport.backends.layer_types import precision_problem
from edgeexport.backends.plan_log import rows_from_log
from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.bundle.files import write_file
from edgeexport.commands.build_log import BuildLog
from edgeexport.commands.request import BuildRequest
from edgeexport.cost.composed_plan import rows_with_plugins
from edgeexport.cost.kernel_plan import (
    DENSE,
    POLICY,
    REDUCED,
    KernelPlan,
    PlannedKernel,
    Plans,
    plan_with_work,
    plans_bytes,
    read_plan_file,
)
from edgeexport.cost.pays import PRECISIONS
from edgeexport.cost.work import GraphWork
from edgeexport.device.remains import temporary_folder
from edgeexport.errors import BuildError, EdgeExportError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.graph.export_cache import FOLDER_VARIABLE
from edgeexport.graph.export_key import structure_key
from edgeexport.graph.graphs import BundleGraphs, graphs_from_export
from edgeexport.graph.node_work import graph_work
from edgeexport.graph.opaque_plugins import opaque_plugins
from edgeexport.graph.separate import parts_of_graphs
from edgeexport.graph.weights_apart import model_file
from edgeexport.plugin.contract import contracts_from_sources
from edgeexport.plugin.search import cache_folder
from edgeexport.plugin.sources import sources_folder
from edgeexport.recipe.schema import Recipe

__all__ = ["PLANS_STAGE", "plan_from_check", "plans_of_build", "with_macs"]

PLANS_STAGE = "kernel plans, dense model beside it"

_KEPT = 200
"""Plans in the cache; of more, those used least recently go."""

_AT_ONCE = 2
_PLUGINS = "compiled around"
"""How plans with plugins came about; plans in the cache that came otherwise are made again."""

_TOO_SMALL = "TensorRT-RTX tells no kernels of a graph that is too small to be fused"


def plans_of_build(
    request: BuildRequest,
    fixed: FixedModel,
    parts: Mapping[str, BundleGraphs],
    export: Callable[[FixedModel], onnx.ModelProto],
    rtx: Mapping[str, RtxCheck],
    log: BuildLog,
) -> Plans | None:
    """All plans that can be had; None where TensorRT-RTX did not run. What fails beside the build's own check fails no build.

    Args:
        request: The build's.
        fixed, parts: What is built (see `edgeexport.graph.separate.parts_of_graphs`).
        export: Torch's export of a fixed model, the caller's own to change.
        rtx: The verdict on each part, with its plan.
        log: Hears of the stage.

    Raises:
        BuildError: FP16 was asked for, and no product of the plan is in it.
    """
    if any(check.status != "passed" for check in rtx.values()):
        return None
    with log.stage(PLANS_STAGE):
        plans: list[KernelPlan] = []
        missing: list[str] = []
        own = REDUCED if request.recipe.reductions else DENSE
        for stem, graphs in sorted(parts.items()):  # the model first
            label = own if stem == "model" else POLICY
            with _noted(missing, label, request.precision):
                plans.append(plan_from_check(rtx[stem], graphs, request.recipe, label, request.precision))
        wrong = precision_problem(request.precision, plans[0].product_dtypes) if plans else ""
        if wrong:
            raise BuildError("TensorRT-RTX", wrong, "report it with build.log; --precision fp32 can be built meanwhile")
        models = {own: fixed}
        if own == REDUCED:
            with _noted(missing, DENSE, request.precision):
                models[DENSE] = fixed_from_model(fixed.model, dense_recipe(request.recipe))
        with temporary_folder() as folder, ThreadPoolExecutor(_AT_ONCE) as pool:
            made = []
            for model, form in models.items():
                wanted = [name for name in PRECISIONS if (model, name) != (own, request.precision)]
                version = str(rtx["model"].version)
                made += _submitted(form, model, wanted, request.keep_fp32, version, export, folder, pool, missing)
            for (model, precision), plan in made:
                with _noted(missing, model, precision):
                    plans.append(plan if isinstance(plan, KernelPlan) else plan.result())
    order = [(model, precision) for model in (REDUCED, POLICY, DENSE) for precision in (request.precision, *PRECISIONS)]
    plans.sort(key=lambda plan: order.index((plan.model, plan.precision)))
    made_plans = Plans(tuple(plans), tuple(missing))
    log.notes += [*missing, *(made_plans.taken_apart if request.plugins else ())]
    return made_plans


def plan_from_check(rtx: RtxCheck, graphs: BundleGraphs, recipe: Recipe, model: str, precision: str) -> KernelPlan:
    """The plan behind a verdict, with what the graph tells of its kernels.

    Raises:
        PlanLogError: The log is not understood.
        BuildError: It holds no plan, or the plugins' sources declare no launches.
    """
    rows = rows_from_log(rtx.plan)
    if not rows:
        raise EdgeExportError("kernel plan", _TOO_SMALL)
    work = graph_work(graphs.tensorrt_functions, graphs.tensorrt, recipe, constant_nodes=True)
    launches = {contract.name: contract.launches for contract in contracts_from_sources(sources_folder())}
    plan = KernelPlan(model, precision, rtx.compute_capability, f"TensorRT-RTX {rtx.version}", rows)
    around: tuple[PlannedKernel, ...] = ()
    not_around = ""
    try:
        around = _around_plugins(graphs, recipe, plan, work, launches)
    except EdgeExportError as error:  # the plan with plugins is composed of this one then
        not_around = error.problem
    return replace(plan_with_work(plan, work, launches), around=around, not_around=not_around)


def _around_plugins(
    graphs: BundleGraphs, recipe: Recipe, plan: KernelPlan, work: GraphWork, launches: Mapping[str, tuple[str, ...]]
) -> tuple[PlannedKernel, ...]:
    """Kernels of the graph with plugins; empty where it has none.

    Raises:
        EdgeExportError: TensorRT-RTX refuses what is around them, fuses across one or tells no kernels, or its plan is not
            understood.
    """
    opaque, calls = opaque_plugins(graphs.for_plugins)
    if not calls:
        return ()
    with temporary_folder() as folder:
        rtx = check_tensorrt_rtx(model_file(opaque, folder, "around.onnx"))
    if rtx.status != "passed":
        raise EdgeExportError("kernel plan with plugins", rtx.reason)
    rows = rows_from_log(rtx.plan)
    if not rows:
        raise EdgeExportError("kernel plan with plugins", _TOO_SMALL)
    own = graph_work(graphs.tensorrt_functions, opaque, recipe, constant_nodes=True)
    around = plan_with_work(replace(plan, rows=rows), own, {})
    return rows_with_plugins(around.rows, own.nodes, calls, work.units, launches)


_Made = tuple[tuple[str, str], "KernelPlan | Future[KernelPlan]"]


def _submitted(
    form: FixedModel,
    model: str,
    precisions: list[str],
    keep_fp32: tuple[str, ...],
    planner: str,
    export: Callable[[FixedModel], onnx.ModelProto],
    folder: Path,
    pool: ThreadPoolExecutor,
    missing: list[str],
) -> list[_Made]:
    """Plans of one model, and of its policy network where that has a graph of its own, in some precisions: kept ones, and those
    that are being made.
    """
    made: list[_Made] = []
    exported: onnx.ModelProto | None = None
    stems = {model: "model"} if form.separate is None else {model: "model", POLICY: "policy"}
    for precision, (label, stem) in product(precisions, stems.items()):
        patterns = keep_fp32 if precision == "fp16" else ()
        told = {
            "precision": precision,
            "planner": planner,
            "keep_fp32": repr(patterns),
            "graph": stem,
            "plugins": _PLUGINS,
        }
        kept = _kept(structure_key(form, told))
        plan = read_plan_file(kept)
        if plan is not None:
            with contextlib.suppress(OSError):
                os.utime(kept)
            made.append(((label, precision), plan))
            continue
        with _noted(missing, label, precision):
            if exported is None:
                exported = export(form)
            own = onnx.ModelProto()
            own.CopyFrom(exported)
            graphs = parts_of_graphs(graphs_from_export(form, own, precision, patterns), form.separate)[stem]
            path = model_file(graphs.tensorrt, folder, f"{label}-{precision}.onnx")
            made.append(((label, precision), pool.submit(_checked, path, graphs, form.recipe, label, precision, kept)))
    return made


def _checked(path: Path, graphs: BundleGraphs, recipe: Recipe, model: str, precision: str, kept: Path) -> KernelPlan:
    rtx = check_tensorrt_rtx(path)
    path.unlink()
    if rtx.status != "passed":
        raise EdgeExportError("TensorRT-RTX", rtx.reason)
    plan = plan_from_check(rtx, graphs, recipe, model, precision)
    if plan.not_around:  # for a reason that may pass, such as want of memory
        return plan
    with contextlib.suppress(OSError):  # it is made again
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_file(kept, plans_bytes(Plans((plan,))))
        for old in sorted(kept.parent.glob("*.json"), key=lambda file: -file.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)
    return plan


def _kept(key: str) -> Path:
    named = os.environ.get(FOLDER_VARIABLE, "")
    return (Path(named) if named else cache_folder(os.environ)) / "plans" / f"{key}.json"


@contextlib.contextmanager
def _noted(missing: list[str], model: str, precision: str) -> Iterator[None]:
    try:
        yield
    except EdgeExportError as error:
        missing.append(f"no plan of the {model} model in {precision}: {error.problem}")


def with_macs(plans: Plans, macs: Mapping[str, int]) -> Plans:
    """The plans with the multiply-accumulates of the whole reduced and dense model, everything counted."""
    return replace(plans, plans=tuple(replace(plan, macs=macs[plan.model]) for plan in plans.plans))
