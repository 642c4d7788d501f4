"""The stages of a build, in order; the only file that sees them all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgeexport.backends.contract import EngineOptions, EngineRecord
from edgeexport.backends.engine import build_engine_if_possible, check_engine_options
from edgeexport.backends.separate import runner_of_parts
from edgeexport.backends.tensorrt_rtx import RtxCheck
from edgeexport.bundle import Bundle, check_replaceable, hashes_of, json_bytes, open_bundle, staged_bundle
from edgeexport.bundle.places import WEIGHTS_FILE, check_bundle_path, check_writable
from edgeexport.commands.build_graphs import build_graphs, refuse_given
from edgeexport.commands.build_log import BuildLog
from edgeexport.commands.checks import (
    checks_json,
    half_comparison,
    own_check,
    rtx_check,
    rtx_stage,
    tail_check,
    tensorrt_comparisons,
)
from edgeexport.commands.earlier_results import keep_results
from edgeexport.commands.manifest import manifest_of
from edgeexport.commands.plans import PLANS_STAGE, Compiler, compiler, plans_of_build, with_macs
from edgeexport.commands.request import BuildRequest, default_work_dir, request_from_arguments
from edgeexport.commands.run import predict_images
from edgeexport.cost.kernel_plan import DENSE, KERNELS_FILE, POLICY, REDUCED, Plans, plans_bytes
from edgeexport.cost.pays import pays_figures
from edgeexport.cost.work import WORK_FILE, work_bytes
from edgeexport.device.remains import temporary_folder
from edgeexport.errors import ParityError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.tokens import account, tokens_json
from edgeexport.fixed.weights import WeightsOrigin, model_from_recipe
from edgeexport.graph.export_cache import Export, kept_export
from edgeexport.graph.graphs import BundleGraphs, graphs_from_export
from edgeexport.graph.half_precision_range import HalfRange, half_range
from edgeexport.graph.lint import lint_model
from edgeexport.graph.lint_report import LintReport
from edgeexport.graph.macs import graph_macs
from edgeexport.graph.node_work import graph_work
from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.graph.separate import parts_of_graphs
from edgeexport.graph.weights_apart import IN_MEMORY_BYTES, weights_bytes, with_weights_apart, write_graphs
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.ops import DOMAIN
from edgeexport.plugin.bundle import bundle_plugins, plugin_files
from edgeexport.plugin.contract import check_nodes, contracts_from_sources
from edgeexport.plugin.sources import sources_folder
from edgeexport.recipe.decoder import DECODER_FILE
from edgeexport.recipe.prompt import prompt_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.report.html import write_report
from edgeexport.verify.compare import Comparison
from edgeexport.verify.golden import write_golden
from edgeexport.verify.reference import Reference
from edgeexport.verify.separate import part_comparisons
from edgeexport.verify.suite import golden_cases, kept_references, parity_status, run_parity, why_incomplete
from edgeexport.verify.tolerances import tolerances_of

__all__ = ["BuildResult", "build", "bundle_export", "exported_graphs"]

HALF_ON_CPU = (
    "float16 on a CPU makes files smaller, not runs faster: ONNX Runtime has no float16 kernels there for products, "
    "convolutions and softmax, and computes in float32 between casts"
)


@dataclass(frozen=True)
class BuildResult:
    """A finished build: the bundle, every comparison, warnings for people, stage durations, and the engine (None: not
    built on this machine, for the reason that ``no_engine`` gives).
    """

    bundle: Bundle
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    peak_bytes: int
    engine: EngineRecord | None
    no_engine: str


def build(
    recipe: str | Path,
    target: str,
    *,
    precision: str = "fp32",
    keep_fp32: Sequence[str] = (),
    cfg_options: Sequence[str] = (),
    checkpoint: Path | None = None,
    work_dir: Path | None = None,
    plugins: bool = True,
    plans: bool = True,
    engine_options: EngineOptions | None = None,
    local_engine: bool = True,
    export: onnx.ModelProto | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> BuildResult:
    """Builds a bundle: what `edgeexport build` does.

    Args:
        recipe: Path or name of a shipped recipe, or a model's name: see `edgeexport.recipe.load_recipe`.
        target: Name of a deployment target (`edgeexport.device.targets.TARGETS`).
        precision: 'fp32', or 'fp16': products in float16, decisions and the residual stream in float32
            (`edgeexport.graph.half_precision_policy`).
        keep_fp32: With 'fp16': patterns of nodes whose results stay in float32.
        cfg_options: ``key=value`` replacements in the recipe.
        checkpoint: Instead of the recipe's.
        work_dir: The bundle folder; `default_work_dir` if None.
        plugins: False puts the plugin-free graph into model.trt.onnx.
        plans: False skips the kernel plans: no kernels.json, and no predicted time beside the dense model's.
        engine_options: What is asked of the engine, where this machine can build it; None asks for nothing special.
        local_engine: False leaves the engine to another machine.
        export: A `bundle_export` of this very model, so that torch's exporter is not run; taken over and changed.
        on_stage: Called with each stage's name as it starts.

    Raises:
        EdgeExportError: With the exit code that its class carries.
    """
    listed = prompt_recipe(recipe, cfg_options)
    if listed is not None:
        refuse_given(listed, checkpoint=checkpoint, keep_fp32=keep_fp32, export=export)
        several = build_graphs(
            listed, target, precision=precision, work_dir=work_dir, on_stage=on_stage, engine_options=engine_options,
            local_engine=local_engine,
        )  # fmt: skip
        told = (several.bundle, several.comparisons, several.warnings, several.seconds, several.peak_bytes)
        return BuildResult(*told, engine=several.engine, no_engine=several.no_engine)
    log = BuildLog(on_stage)
    asked = engine_options or EngineOptions()
    with log.stage("read recipe"):
        request = request_from_arguments(recipe, target, precision, cfg_options, checkpoint, plugins, keep_fp32)
        check_engine_options(target, asked)
    log.expected = _stages(request, plans)
    folder = work_dir if work_dir is not None else default_work_dir(request.recipe, target, precision)
    check_bundle_path(folder)
    check_replaceable(folder)
    check_writable(folder, "choose another --work-dir")
    with log.stage("load weights"):
        model, origin = model_from_recipe(request.recipe)
        fixed = fixed_from_model(model, request.recipe)
    with log.stage("torch's exporter"):
        exported = _apart(bundle_export(fixed, origin) if export is None else Export(export, reused=True))
        untouched = onnx.ModelProto()
        if plans and request.target.needs_tensorrt:  # for the plan in the other precision
            untouched.CopyFrom(exported.model)
    with log.stage("graph passes"):
        graphs = graphs_from_export(fixed, exported.model, precision, keep_fp32)
        parts = parts_of_graphs(graphs, fixed.separate)
    with log.stage("lint"):
        *_, lint = (_lint(part, target) for part in parts.values())
    with staged_bundle(folder) as staging, compiler(graphs) as compiling:
        with log.stage("write graphs"):
            _write_graphs(staging, request, graphs, parts, origin)
            if request.target.kind == "tensorrt":
                compiling.start(staging, request, parts, plans)
        with log.stage("verify"):
            comparisons, references, ranges = _verify(staging, request, fixed, graphs, parts, origin)
        if ranges is not None:
            ranges.raise_for_overflow()
        tail, warnings = tail_check(fixed, references)
        _raise_for_failed(comparisons, warnings)
        rtx = {stem: rtx_check(request, compiling.checks.get(stem), log, stem) for stem in parts}
        made = _plans(staging, request, fixed, origin, untouched, rtx, compiling, log) if plans else None
        log.child_bytes = compiling.peak_bytes
        library = _plugin_library(staging, request, log)
        log.notes += [f"weights: {origin.statement}", *([graphs.half.text] if graphs.half is not None else [])]
        log.notes += ["torch's exporter was not run: an export made before was used"] if exported.reused else []
        with log.stage("manifest"):
            checks = checks_json(request, lint, comparisons, rtx, tail, graphs.half, ranges)
            pays = pays_figures(made, _macs(request.recipe), target, plugins)
            _write_manifest(staging, {**manifest_of(request, fixed, origin, parts, checks), "pays": pays}, library)
        warnings += [*_warnings(request, comparisons, rtx["model"], library), *(() if made is None else made.missing)]
        warnings += made.taken_apart if made is not None and plugins else ()
        warnings += ranges.warnings if ranges is not None else []
        del model, fixed, exported, untouched, graphs, parts, references  # the engine's builder wants the memory
        with log.stage("engine"):
            engine, no_engine = None, "left to another machine"
            if local_engine:
                options = replace(asked, plugins=plugins)
                engine, no_engine = build_engine_if_possible(staging, options=options, on_stage=on_stage)
        if engine is None and local_engine and not request.target.jetson_models:  # a Jetson's is built there
            warnings.append(f"engine not built: {no_engine}")
        earlier = keep_results(folder, staging)
        warnings += [earlier.warning] if earlier.warning else []
        log.notes += [f"kept of the earlier bundle: {', '.join(earlier.kept)}"] if earlier.kept else []
        with log.stage("report"):
            write_report(staging, overlays=_overlays(staging, _pictures(request.recipe, origin)))
        (staging / "build.log").write_text(log.text(), encoding="utf-8")
    bundle = open_bundle(folder, check_hashes=False)
    return BuildResult(bundle, tuple(comparisons), tuple(warnings), log.seconds, log.peak_bytes, engine, no_engine)


def _stages(request: BuildRequest, plans: bool) -> tuple[str, ...]:
    """What a build goes through, in order; a policy network with a graph of its own adds one that has no number."""
    first = ("read recipe", "load weights", "torch's exporter", "graph passes", "lint", "write graphs", "verify")
    tensorrt = (rtx_stage(), *((PLANS_STAGE,) if plans else ())) if request.target.needs_tensorrt else ()
    return (*first, *tensorrt, *(("plugin library",) if request.plugins else ()), "manifest", "engine", "report")


def bundle_export(fixed: FixedModel, origin: WeightsOrigin) -> Export:
    """Torch's export of a fixed model with the metadata of a bundle, made now or kept from before.

    Raises:
        BuildError: Torch's exporter fails.
        UsageError: The environment names a folder for exports that cannot be used.
    """
    return kept_export(fixed, {"edgeexport.recipe": fixed.recipe.name, "edgeexport.weights": origin.statement})


def _apart(exported: Export) -> Export:
    return replace(exported, model=with_weights_apart(exported.model))


def exported_graphs(fixed: FixedModel, origin: WeightsOrigin, precision: str = "fp32") -> BundleGraphs:
    """The graphs that a build would write."""
    return graphs_from_export(fixed, bundle_export(fixed, origin).model, precision)


def _lint(graphs: BundleGraphs, target: str) -> LintReport:
    """Lints every graph that a bundle may hold, and the plugins' nodes against their sources; the report of model.onnx.

    Raises:
        LintError: A finding that keeps a graph off the target.
    """
    report = lint_model(graphs.with_functions, target=target)
    report.raise_for_findings()
    lint_model(graphs.tensorrt, target=target).raise_for_findings()
    check_nodes(graphs.for_plugins, contracts_from_sources(sources_folder()))
    bare = frozenset(f"{DOMAIN}::{name}" for name in PLUGIN_OPS)
    lint_model(graphs.for_plugins, target=target, allowed_ops=bare).raise_for_findings()
    return report


def _write_graphs(
    staging: Path,
    request: BuildRequest,
    graphs: BundleGraphs,
    parts: Mapping[str, BundleGraphs],
    origin: WeightsOrigin,
) -> None:
    """Writes both graphs of every part, and what is counted of the whole: tokens.json and work.json."""
    if request.recipe.decoder is not None:
        shutil.copyfile(request.recipe.decoder.path, staging / DECODER_FILE)
    written = {f"{stem}.onnx": part.with_functions for stem, part in parts.items()}
    written |= {
        f"{stem}.trt.onnx": part.for_plugins if request.plugins else part.tensorrt for stem, part in parts.items()
    }
    write_graphs(staging, written)
    tokens = {**tokens_json(request.recipe), "graph": _macs_json(graphs.plain), "weights": origin.statement}
    (staging / "tokens.json").write_bytes(json_bytes(tokens))
    work = graph_work(graphs.with_functions, graphs.plain, request.recipe)
    (staging / WORK_FILE).write_bytes(work_bytes(work))


def _macs_json(plain: onnx.ModelProto) -> dict[str, object]:
    cost = graph_macs(plain)
    return {
        "provenance": "counted in the exported graph, constants folded",
        "product_macs": cost.of_category("product"),
        "norm_macs": cost.of_category("norm"),
        "resize_macs": cost.of_category("resize"),
    }


def _verify(
    staging: Path,
    request: BuildRequest,
    fixed: FixedModel,
    graphs: BundleGraphs,
    parts: Mapping[str, BundleGraphs],
    origin: WeightsOrigin,
) -> tuple[list[Comparison], list[Reference], HalfRange | None]:
    """Compares original, fixed form, model.onnx and the graph for TensorRT on photographs; writes parity.json and golden.npz,
    whatever was found.

    Returns:
        Every comparison, what fixed torch computed for the photographs that were drawn, and how large float16 values become.
    """
    inner = {stem: part.inner for stem, part in parts.items()}
    prepacked = weights_bytes(graphs.with_functions) <= IN_MEMORY_BYTES
    runner = runner_of_parts(staging, inner, fixed.separate, prepacked=prepacked)
    references: list[Reference] = []
    batches = image_batches(request.recipe.input, shipped_photos())
    kept = kept_references(fixed, batches, references, tolerances_of(request.precision))
    comparisons = run_parity(fixed, runner, kept)
    comparisons += part_comparisons(fixed, references, runner)
    comparisons += own_check(fixed, lambda form: _apart(bundle_export(form, origin)).model, references)
    cases = golden_cases(references, comparisons)
    del runner
    if request.target.needs_tensorrt:
        comparisons += tensorrt_comparisons(fixed, graphs, references)
    ranges = None
    if graphs.half is not None:
        executed = graphs.tensorrt_functions if request.target.needs_tensorrt else graphs.with_functions
        ranges = half_range(executed, [reference.batch for reference in references])
        comparisons.append(half_comparison(fixed, executed, graphs.inner, references[0]))
    parity = {
        "schema": "edgeexport.parity/1",
        "weights": origin.statement,
        "comparisons": [item.as_dict() for item in comparisons],
        **({} if ranges is None else {"float16_range": ranges.as_dict()}),
    }
    (staging / "parity.json").write_bytes(json_bytes(parity))
    write_golden(staging / "golden.npz", cases or references, origin.statement)
    return comparisons, references, ranges


def _plans(
    staging: Path,
    request: BuildRequest,
    fixed: FixedModel,
    origin: WeightsOrigin,
    untouched: onnx.ModelProto,
    rtx: Mapping[str, RtxCheck],
    compiling: Compiler,
    log: BuildLog,
) -> Plans | None:
    """The kernel plans, written into kernels.json."""

    def export(form: FixedModel) -> onnx.ModelProto:
        return untouched if form is fixed else bundle_export(form, origin).model

    plans = plans_of_build(request, fixed, export, rtx, compiling, log)
    if plans is not None:
        plans = with_macs(plans, _plan_macs(fixed))
        (staging / KERNELS_FILE).write_bytes(plans_bytes(plans))
    return plans


def _macs(recipe: Recipe) -> dict[str, int]:
    """Multiply-accumulates of the reduced and of the dense model, everything counted."""
    counted = account(recipe)
    return {REDUCED: counted.reduced.total, DENSE: counted.dense.total}


def _plan_macs(fixed: FixedModel) -> dict[str, int]:
    """The same by plan: where the policy network has a graph of its own, the model's is without it."""
    macs = _macs(fixed.recipe)
    if fixed.separate is None:
        return macs
    policy = account(fixed.recipe).reduced.policy
    return {**macs, REDUCED: macs[REDUCED] - policy, POLICY: policy}


def _raise_for_failed(comparisons: Sequence[Comparison], warnings: Sequence[str]) -> None:
    """Raises `ParityError` for the first comparison that failed; ``warnings`` may tell why."""
    for item in comparisons:
        if item.status == "failed":
            where = f"{item.check} on {', '.join(item.images)}"
            raise ParityError(where, item.reason, "; ".join(["see parity.json", *warnings]))


def _plugin_library(staging: Path, request: BuildRequest, log: BuildLog) -> dict[str, object] | None:
    """Writes the plugins' sources, and their library where it can be compiled; the manifest's record of it."""
    if not request.plugins:
        return None
    with log.stage("plugin library"):
        return bundle_plugins(staging, request.target, on_stage=log.on_stage)


def _write_manifest(staging: Path, manifest: dict[str, object], library: dict[str, object] | None) -> None:
    some = [name for name in (WEIGHTS_FILE, KERNELS_FILE) if (staging / name).is_file()]
    written_once = [
        *sorted(path.name for path in staging.glob("*.onnx")),
        "tokens.json",
        WORK_FILE,
        *some,
        "golden.npz",
        *plugin_files(staging),
    ]
    complete = {**manifest, "plugin_library": library, "files": hashes_of(staging, written_once)}
    (staging / "manifest.json").write_bytes(json_bytes(complete))


def _warnings(
    request: BuildRequest, comparisons: Sequence[Comparison], rtx: RtxCheck, library: dict[str, object] | None
) -> list[str]:
    """What people should know of checks that were not made, of a missing library and of float16 on a CPU."""
    warnings = [*request.recipe.warnings]
    on_tensorrt = request.target.kind == "tensorrt"
    if on_tensorrt and rtx.status == "not-run":
        warnings.append(f"TensorRT-RTX check not run: {rtx.reason}")
    if on_tensorrt and library is not None and library["status"] == "not-built":
        warnings.append(f"plugin library not built: {library['reason']}")
    if parity_status(comparisons) == "incomplete":
        warnings.append(why_incomplete(comparisons))
    if request.precision == "fp16" and request.target.name == "cpu":
        warnings.append(HALF_ON_CPU)
    return warnings


def _pictures(recipe: Recipe, origin: WeightsOrigin) -> Sequence[Path]:
    """What the report shows: the recipe's own, else two shipped photographs; nothing of random weights, which draw noise."""
    if not recipe.input.is_photo or origin.origin == "random":
        return ()
    return shipped_photos()[:2] if recipe.pictures is None else recipe.pictures


def _overlays(staging: Path, pictures: Sequence[Path]) -> dict[str, bytes]:
    """What `edgeexport run` draws of ``pictures``: name -> PNG; empty if it draws nothing."""
    if not pictures:
        return {}
    with temporary_folder() as folder:
        predicted = predict_images(staging, pictures, folder, engine="none")
        return {item.image.name: item.pictures[0].read_bytes() for item in predicted.images if item.pictures}
