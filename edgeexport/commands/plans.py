"""The kernel plans of a build: of its graph, of its dense form, and of both in the other precision.

TensorRT-RTX compiles in children, beside what else the build does. The dense form is exported as well, for only its own graph
tells its kernels. No plan depends on what the weights are, only on which of them are zero, so that plans are kept in the user's
cache: a family's dense plans are made once. What a build deploys is planned in full; of everything else only what is compared
with it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from edgeexport.backends.layer_types import precision_problem
from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.bundle.files import write_file
from edgeexport.commands.build_log import BuildLog
from edgeexport.commands.plan_source import PlanSource, plan_source
from edgeexport.commands.request import BuildRequest
from edgeexport.cost.kernel_plan import DENSE, POLICY, REDUCED, KernelPlan, Plans, plans_bytes, read_plan_file
from edgeexport.cost.pays import PRECISIONS
from edgeexport.device.remains import temporary_folder
from edgeexport.errors import BuildError, EdgeExportError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.graph.export_cache import FOLDER_VARIABLE
from edgeexport.graph.export_key import structure_key
from edgeexport.graph.graphs import BundleGraphs, graphs_from_export
from edgeexport.graph.separate import parts_of_graphs
from edgeexport.graph.weights_apart import model_file, weights_bytes, with_weights_apart
from edgeexport.plugin.search import cache_folder

__all__ = ["PLANS_STAGE", "Compiler", "compiler", "plans_of_build", "with_macs"]

PLANS_STAGE = "kernel plans, dense model beside it"

_LARGE_BYTES = 128 << 20
"""Weights of a model that is compiled alone."""

_KEPT = 200
"""Plans in the cache; of more, those used least recently go."""


@dataclass(frozen=True)
class Compiler:
    """TensorRT-RTX at work in children, while the build goes on.

    Attributes:
        folder: For files that they read.
        pool: One child per thread.
        at_once: So many threads.
        checks: By stem the verdict on the graph in standard operators.
        sources: By stem what the plan of the build's own graph is read by, where plans are made; or why there will be none.
        around: By stem the verdict on the graph around the plugins.
        peaks: Highest resident memory of every child that ended, in bytes.
        running: Children.
        stopped: Set when the build fails.
    """

    folder: Path
    pool: ThreadPoolExecutor
    at_once: int
    checks: dict[str, Future[RtxCheck]] = field(default_factory=dict)
    sources: dict[str, PlanSource | EdgeExportError] = field(default_factory=dict)
    around: dict[str, Future[RtxCheck]] = field(default_factory=dict)
    peaks: list[int] = field(default_factory=list)
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def start(self, staging: Path, request: BuildRequest, parts: Mapping[str, BundleGraphs], plans: bool) -> None:
        """Starts on the graphs of a build, whose files are in ``staging``."""
        for stem, part in parts.items():
            path = staging / f"{stem}.trt.onnx"
            if request.plugins:
                path = model_file(part.tensorrt, self.folder, f"{stem}.plain.onnx")
            self.checks[stem] = self.pool.submit(self.compiled, path, kept=not request.plugins)
        for stem, part in parts.items() if plans else ():
            try:
                source = plan_source(part, request.recipe, self.folder, stem, plugins=request.plugins)
            except EdgeExportError as error:  # which fails no build
                self.sources[stem] = error
                continue
            self.sources[stem] = source
            if source.around is not None:
                self.around[stem] = self.pool.submit(self._compiled_if_passed, source.around, self.checks[stem])

    def compiled(self, path: Path, kept: bool = False) -> RtxCheck:
        """The verdict on a file, which goes unless it is ``kept``."""
        try:
            rtx = check_tensorrt_rtx(path, on_start=self._begun)
        finally:
            if not kept:
                path.unlink()
        self.peaks.append(rtx.peak_rss_bytes or 0)
        return rtx

    def _compiled_if_passed(self, path: Path, ahead: Future[RtxCheck]) -> RtxCheck:
        """No child where there is no TensorRT-RTX, and nothing to plan where it refuses the whole."""
        first = ahead.result()
        if first.status == "passed" and first.plan:
            return self.compiled(path)
        path.unlink()
        return first

    def source(self, stem: str) -> PlanSource:
        """What a plan of the build's own graph is read by.

        Raises:
            EdgeExportError: There is none.
        """
        found = self.sources[stem]
        if isinstance(found, EdgeExportError):
            raise found
        return found

    @property
    def peak_bytes(self) -> int:
        """Upper bound of what children took at once."""
        return sum(sorted(self.peaks)[-self.at_once :])

    def _begun(self, child: subprocess.Popen[str]) -> None:
        self.running.append(child)
        if self.stopped.is_set():  # between the end of the build and this child's beginning
            child.kill()

    def _stop(self) -> None:
        self.stopped.set()
        self.pool.shutdown(wait=False, cancel_futures=True)
        for child in self.running:
            child.kill()  # of one that ended nothing happens


@contextlib.contextmanager
def compiler(graphs: BundleGraphs) -> Iterator[Compiler]:
    """A compiler for a build of ``graphs``; what it works on when the build fails is stopped.

    Two children share the machine, of a large model one: each takes several times the weights' memory.
    """
    at_once = 1 if weights_bytes(graphs.with_functions) > _LARGE_BYTES else 2
    with temporary_folder() as folder, ThreadPoolExecutor(at_once) as pool:
        made = Compiler(folder, pool, at_once)
        try:
            yield made
        except BaseException:
            made._stop()
            raise


def plans_of_build(
    request: BuildRequest,
    fixed: FixedModel,
    export: Callable[[FixedModel], onnx.ModelProto],
    rtx: Mapping[str, RtxCheck],
    compiler: Compiler,
    log: BuildLog,
) -> Plans | None:
    """All plans that can be had; None where TensorRT-RTX did not run. What fails beside the build's own check fails no build.

    Args:
        request: The build's.
        fixed: What is built.
        export: Torch's export of a fixed model, the caller's own to change.
        rtx: The verdict on each part of the graph, with its plan.
        compiler: That was started on them.
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
        labels = {stem: own if stem == "model" else POLICY for stem in sorted(rtx)}  # the model first
        first: dict[str, KernelPlan] = {}
        for stem, label in labels.items():
            with _noted(missing, label, request.precision):
                first[stem] = compiler.source(stem).plan(rtx[stem], label, request.precision)
        wrong = precision_problem(request.precision, first["model"].product_dtypes) if "model" in first else ""
        if wrong:
            raise BuildError("TensorRT-RTX", wrong, "report it with build.log; --precision fp32 can be built meanwhile")
        models = {own: fixed}
        if own == REDUCED:
            with _noted(missing, DENSE, request.precision):
                models[DENSE] = fixed_from_model(fixed.model, dense_recipe(request.recipe))
        made = []
        for model, form in models.items():
            wanted = [name for name in PRECISIONS if (model, name) != (own, request.precision)]
            others = _Others(request, str(rtx["model"].version), compiler, missing)
            made += others.submitted(form, model, wanted, export)
        for stem, plan in first.items():
            around = compiler.around.get(stem)
            plans.append(compiler.source(stem).with_around(plan, None if around is None else around.result()))
        for (model, precision), planned in made:
            with _noted(missing, model, precision):
                plans.append(planned if isinstance(planned, KernelPlan) else planned.result())
    order = [(model, precision) for model in (REDUCED, POLICY, DENSE) for precision in (request.precision, *PRECISIONS)]
    plans.sort(key=lambda plan: order.index((plan.model, plan.precision)))
    found = Plans(tuple(plans), tuple(missing))
    log.notes += [*missing, *(found.taken_apart if request.plugins else ())]
    return found


_Made = tuple[tuple[str, str], "KernelPlan | Future[KernelPlan]"]


@dataclass(frozen=True)
class _Others:
    """Plans beside the one of the graph that is built: kept ones, and those that are being made."""

    request: BuildRequest
    planner: str
    compiler: Compiler
    missing: list[str]

    def submitted(
        self, form: FixedModel, model: str, precisions: list[str], export: Callable[[FixedModel], onnx.ModelProto]
    ) -> list[_Made]:
        """Of one model, and of its policy network where that has a graph of its own, in some precisions."""
        made: list[_Made] = []
        exported: onnx.ModelProto | None = None
        stems = {model: "model"} if form.separate is None else {model: "model", POLICY: "policy"}
        for precision in precisions:
            patterns = self.request.keep_fp32 if precision == "fp16" else ()
            parts: dict[str, BundleGraphs] = {}
            for label, stem in stems.items():
                kept = self._kept(form, precision, patterns, stem)
                plan = read_plan_file(kept)
                if plan is not None:
                    with contextlib.suppress(OSError):
                        os.utime(kept)
                    made.append(((label, precision), plan))
                    continue
                with _noted(self.missing, label, precision):
                    if exported is None:  # of which no form holds weights then
                        exported = with_weights_apart(export(form), always=True)
                    if not parts:
                        own = onnx.ModelProto()
                        own.CopyFrom(exported)
                        whole = graphs_from_export(form, own, precision, patterns, plans_only=True)
                        parts = parts_of_graphs(whole, form.separate)
                    planned = self._submitted(parts[stem], form, label, precision, kept)
                    made.append(((label, precision), planned))
        return made

    def _kept(self, form: FixedModel, precision: str, patterns: tuple[str, ...], stem: str) -> Path:
        told = {"precision": precision, "planner": self.planner, "keep_fp32": repr(patterns), "graph": stem}
        key = structure_key(form, told | {"plugins": str(self.request.plugins)})
        named = os.environ.get(FOLDER_VARIABLE, "")
        return (Path(named) if named else cache_folder(os.environ)) / "plans" / f"{key}.json"

    def _submitted(
        self, graphs: BundleGraphs, form: FixedModel, label: str, precision: str, kept: Path
    ) -> Future[KernelPlan]:
        name, folder = f"{label}-{precision}", self.compiler.folder
        source = plan_source(graphs, form.recipe, folder, name, plugins=self.request.plugins)
        path = model_file(graphs.tensorrt, folder, f"{name}.onnx")
        return self.compiler.pool.submit(_planned, self.compiler, source, path, label, precision, kept)


def _planned(compiler: Compiler, source: PlanSource, path: Path, label: str, precision: str, kept: Path) -> KernelPlan:
    """With plugins where the graph has some; where that cannot be had, the plan without, and why."""
    around = None if source.around is None else compiler.compiled(source.around)
    plan: KernelPlan | None = None
    if around is not None:
        with contextlib.suppress(EdgeExportError):  # which is told below
            plan = source.plan_around(around, label, precision)
    if plan is None:
        rtx = compiler.compiled(path)
        if rtx.status != "passed":
            raise EdgeExportError("TensorRT-RTX", rtx.reason)
        plan = source.with_around(source.plan(rtx, label, precision), around)
    path.unlink(missing_ok=True)
    if plan.not_around:  # for a reason that may pass, such as want of memory
        return plan
    with contextlib.suppress(OSError):  # it is made again
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_file(kept, plans_bytes(Plans((plan,))))
        for old in sorted(kept.parent.glob("*.json"), key=lambda file: -file.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)
    return plan


@contextlib.contextmanager
def _noted(missing: list[str], model: str, precision: str) -> Iterator[None]:
    try:
        yield
    except EdgeExportError as error:
        missing.append(f"no plan of the {model} model in {precision}: {error.problem}")


def with_macs(plans: Plans, macs: Mapping[str, int]) -> Plans:
    """The plans with the multiply-accumulates of the whole reduced and dense model, everything counted."""
    return replace(plans, plans=tuple(replace(plan, macs=macs[plan.model]) for plan in plans.plans))
