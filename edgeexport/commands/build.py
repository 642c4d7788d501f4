"""The stages of a build, in order; the only file that sees them all."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from edgeexport.backends.contract import EngineOptions, EngineRecord
from edgeexport.backends.engine import build_engine_if_possible, check_engine_options
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.bundle import SCHEMA, Bundle, check_replaceable, hashes_of, json_bytes, open_bundle, staged_bundle
from edgeexport.commands.run import predict_images
from edgeexport.cost.work import WORK_FILE, work_bytes
from edgeexport.device.targets import Target, target_named
from edgeexport.errors import BuildError, ParityError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.tokens import tokens_json
from edgeexport.fixed.weights import WeightsOrigin, model_from_recipe
from edgeexport.graph.graphs import BundleGraphs, export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model
from edgeexport.graph.lint_report import LintReport
from edgeexport.graph.macs import graph_macs
from edgeexport.graph.node_work import graph_work
from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.ops import DOMAIN
from edgeexport.ops.upsample_argmax import candidates_needed
from edgeexport.plugin.bundle import bundle_plugins, plugin_files
from edgeexport.plugin.contract import check_nodes, contracts_from_sources
from edgeexport.plugin.sources import sources_folder
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.report.html import write_report
from edgeexport.verify.compare import IMAGES_NEEDED, Comparison
from edgeexport.verify.golden import write_golden
from edgeexport.verify.parity import followed_reference, reference_of
from edgeexport.verify.reference import FOLLOWED, RUNTIME_CHECK, Reference
from edgeexport.verify.suite import parity_status, run_parity
from edgeexport.verify.tolerances import Tolerances, tolerances_of
from edgeexport.version import __version__

__all__ = ["BuildLog", "BuildResult", "build", "default_work_dir", "exported_graphs", "request_from_arguments"]

HALF_ON_CPU = (
    "float16 on a CPU makes files smaller, not runs faster: ONNX Runtime has no float16 kernels there for products, "
    "convolutions and softmax, and computes in float32 between casts"
)
_VERSIONED = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "onedl-mmengine", "onedl-mmsegmentation", "numpy")


@dataclass
class BuildLog:
    """Stage durations and peak memory; what build.log holds. ``on_stage`` hears the name of every stage that starts."""

    on_stage: Callable[[str], None] = lambda name: None
    seconds: dict[str, float] = field(default_factory=dict)
    child_bytes: int = 0
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage."""
        self.on_stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start

    @property
    def peak_bytes(self) -> int:
        """Upper bound of resident memory: the peak of this process and that of the TensorRT-RTX check, added."""
        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + self.child_bytes

    def text(self) -> str:
        """The log as lines."""
        total = sum(self.seconds.values())
        lines = [f"{name:<40s} {seconds:9.2f} s {seconds / total:6.1%}" for name, seconds in self.seconds.items()]
        lines += [f"{'total':<40s} {total:9.2f} s", f"{'peak memory':<40s} {self.peak_bytes / 1e9:9.2f} GB"]
        return "\n".join([*lines, *self.notes]) + "\n"


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


@dataclass(frozen=True)
class _Request:
    recipe: Recipe
    target: Target
    precision: str
    plugins: bool


def request_from_arguments(
    recipe: str | Path,
    target: str,
    precision: str = "fp32",
    cfg_options: Sequence[str] = (),
    checkpoint: Path | None = None,
    plugins: bool = True,
) -> _Request:
    """Checks the arguments of a build before anything is computed.

    Raises:
        UsageError, RecipeError, CheckpointError: Exit code 2.
    """
    chosen = target_named(target)
    tolerances_of(precision)
    return _Request(load_recipe(recipe, cfg_options, checkpoint), chosen, precision, plugins)


def default_work_dir(recipe: Recipe, target: str, precision: str) -> Path:
    """Where a build goes without --work-dir."""
    return Path("work_dirs") / f"{recipe.name}-{target}-{precision}"


def build(
    recipe: str | Path,
    target: str,
    *,
    precision: str = "fp32",
    cfg_options: Sequence[str] = (),
    checkpoint: Path | None = None,
    work_dir: Path | None = None,
    plugins: bool = True,
    engine_options: EngineOptions | None = None,
    local_engine: bool = True,
    on_stage: Callable[[str], None] = lambda name: None,
) -> BuildResult:
    """Builds a bundle: what `edgeexport build` does.

    Args:
        recipe: Path or name of a shipped recipe.
        target: Name of a deployment target (`edgeexport.device.targets.TARGETS`).
        precision: 'fp32', or 'fp16': products in float16, decisions and the residual stream in float32
            (`edgeexport.graph.half_precision_policy`).
        cfg_options: ``key=value`` replacements in the recipe.
        checkpoint: Instead of the recipe's.
        work_dir: The bundle folder; `default_work_dir` if None.
        plugins: False puts the plugin-free graph into model.trt.onnx.
        engine_options: What is asked of the engine, where this machine can build it; None asks for nothing special.
        local_engine: False leaves the engine to another machine.
        on_stage: Called with each stage's name as it starts.

    Raises:
        EdgeExportError: With the exit code that its class carries.
    """
    log = BuildLog(on_stage)
    with log.stage("read recipe"):
        request = request_from_arguments(recipe, target, precision, cfg_options, checkpoint, plugins)
        check_engine_options(target, engine_options or EngineOptions())
    folder = work_dir if work_dir is not None else default_work_dir(request.recipe, target, precision)
    check_replaceable(folder)
    with log.stage("load weights"):
        model, origin = model_from_recipe(request.recipe)
        fixed = fixed_from_model(model, request.recipe)
    with log.stage("torch's exporter"):
        exported = export_of_fixed(fixed, _metadata(fixed.recipe, origin))
    with log.stage("graph passes"):
        graphs = graphs_from_export(fixed, exported, precision)
    with log.stage("lint"):
        report = lint_model(graphs.with_functions, target=target)
        report.raise_for_findings()
        check_nodes(graphs.for_plugins, contracts_from_sources(sources_folder()))
        bare = frozenset(f"{DOMAIN}::{name}" for name in PLUGIN_OPS)
        lint_model(graphs.for_plugins, target=target, allowed_ops=bare).raise_for_findings()
    with staged_bundle(folder) as staging:
        comparisons, warnings = _fill(staging, request, fixed, origin, graphs, report, log)
        with log.stage("engine"):
            asked = replace(engine_options or EngineOptions(), plugins=plugins)
            engine, no_engine = None, "left to another machine"
            if local_engine:
                engine, no_engine = build_engine_if_possible(staging, options=asked, on_stage=on_stage)
        if graphs.half is not None and request.target.name == "cpu":
            warnings.append(HALF_ON_CPU)
        if engine is None and local_engine and not request.target.jetson_models:  # a Jetson's is built there
            warnings.append(f"engine not built: {no_engine}")
        with log.stage("report"):
            write_report(staging, overlays=_overlays(staging) if request.recipe.input.is_photo else None)
        (staging / "build.log").write_text(log.text(), encoding="utf-8")
    bundle = open_bundle(folder, check_hashes=False)
    return BuildResult(bundle, tuple(comparisons), tuple(warnings), log.seconds, log.peak_bytes, engine, no_engine)


def exported_graphs(fixed: FixedModel, origin: WeightsOrigin, precision: str = "fp32") -> BundleGraphs:
    """The graphs that a build would write."""
    return graphs_from_export(fixed, export_of_fixed(fixed, _metadata(fixed.recipe, origin)), precision)


def _metadata(recipe: Recipe, origin: WeightsOrigin) -> dict[str, str]:
    return {"edgeexport.recipe": recipe.name, "edgeexport.weights": origin.statement}


def _fill(
    staging: Path,
    request: _Request,
    fixed: FixedModel,
    origin: WeightsOrigin,
    graphs: BundleGraphs,
    report: LintReport,
    log: BuildLog,
) -> tuple[list[Comparison], list[str]]:
    """Writes every file of the bundle into ``staging``."""
    recipe = request.recipe
    with log.stage("write graphs"):
        _write_model(staging / "model.onnx", graphs.with_functions)
        _write_model(staging / "model.trt.onnx", graphs.for_plugins if request.plugins else graphs.plain)
        tokens = {**tokens_json(recipe), "graph": _graph_macs(graphs.plain), "weights": origin.statement}
        (staging / "tokens.json").write_bytes(json_bytes(tokens))
        (staging / WORK_FILE).write_bytes(work_bytes(graph_work(graphs.with_functions, graphs.plain, recipe)))
    with log.stage("verify"):
        runner = OnnxRuntimeRunner(staging / "model.onnx", extra_outputs=graphs.inner)
        references: list[Reference] = []
        batches = image_batches(recipe.input, shipped_photos())
        tolerances = tolerances_of(request.precision)
        comparisons = run_parity(fixed, runner, _kept(fixed, batches, references, tolerances))
        cases = _golden_cases(fixed, runner, references, comparisons)
        del runner
        (staging / "parity.json").write_bytes(
            json_bytes(
                {
                    "schema": "edgeexport.parity/1",
                    "weights": origin.statement,
                    "comparisons": [item.as_dict() for item in comparisons],
                }
            )
        )
        write_golden(staging / "golden.npz", cases or references, origin.statement)
    failed = [item for item in comparisons if item.status == "failed"]
    tail, warnings = _tail_check(fixed, references)
    if failed:
        raise ParityError(
            f"{failed[0].check} on {', '.join(failed[0].images)}",
            failed[0].reason,
            "; ".join(["see parity.json", *warnings]),
        )
    if request.target.kind == "tensorrt":
        with log.stage("TensorRT-RTX parses and builds (SM86)"):
            rtx = _check_rtx(staging, request.plugins, graphs.plain)
        log.notes.append(
            f"TensorRT-RTX {rtx.version}: {rtx.status} {rtx.reason} parse {rtx.parse_s} s, build {rtx.build_s} s"
        )
    else:
        rtx = RtxCheck("not-run", None, f"target {request.target.name} does not use TensorRT", None, None, None, None)
    if rtx.status == "failed":
        remedy = "the message names the node; a bundle for --target cpu can be built meanwhile"
        raise BuildError("TensorRT-RTX", f"refuses the plugin-free graph: {rtx.reason}", remedy)
    if rtx.status == "not-run" and request.target.kind == "tensorrt":
        warnings.append(f"TensorRT-RTX check not run: {rtx.reason}")
    log.child_bytes = rtx.peak_rss_bytes or 0
    library = None
    if request.plugins:
        with log.stage("plugin library"):
            library = bundle_plugins(staging, request.target, on_stage=log.on_stage)
        if library["status"] == "not-built" and request.target.kind == "tensorrt":
            warnings.append(f"plugin library not built: {library['reason']}")
    log.notes.append(f"weights: {origin.statement}")
    if graphs.half is not None:
        log.notes.append(graphs.half.text)
    if parity_status(comparisons) == "incomplete":
        warnings.append(_why_incomplete(comparisons))
    checks = {
        "lint": {"status": "passed", "nodes": report.node_count},
        "parity": {"status": parity_status(comparisons), "comparisons": len(comparisons)},
        "tensorrt_rtx": {
            "status": rtx.status,
            "version": rtx.version,
            "reason": rtx.reason,
            "graph": "model.onnx in standard operators only" if request.plugins else "model.trt.onnx",
            "compute_capability": rtx.compute_capability,
        },
        "tail": tail,
    }
    if graphs.half is not None:
        checks["half_precision"] = {"status": "converted", **graphs.half.as_dict()}
    with log.stage("manifest"):
        manifest = _manifest(request, fixed, origin, graphs, checks)
        manifest["plugin_library"] = library
        written_once = ["model.onnx", "model.trt.onnx", "tokens.json", WORK_FILE, "golden.npz", *plugin_files(staging)]
        manifest["files"] = hashes_of(staging, written_once)
        (staging / "manifest.json").write_bytes(json_bytes(manifest))
    return comparisons, warnings


def _why_incomplete(comparisons: Sequence[Comparison]) -> str:
    """One line about the check that could not be made on enough images."""
    reasons = [f"{item.check} on {', '.join(item.images)}: {item.reason}" for item in comparisons if item.reason]
    return f"parity incomplete: a check needs {IMAGES_NEEDED} images; {reasons[0] if reasons else 'too few were given'}"


def _kept(
    fixed: FixedModel, batches: Iterator[Any], references: list[Reference], tolerances: Tolerances
) -> Iterator[Reference]:
    """References of batches as they are asked for, remembered in ``references``."""
    for batch in batches:
        references.append(reference_of(fixed, batch, tolerances=tolerances))
        yield references[-1]


def _golden_cases(
    fixed: FixedModel, runner: OnnxRuntimeRunner, references: Sequence[Reference], comparisons: Sequence[Comparison]
) -> list[Reference]:
    """References that the exported graph was compared with; where it decided near ties its own way, with that way taken."""
    passed = {item.images: item for item in comparisons if item.check == RUNTIME_CHECK and item.status == "passed"}
    cases = []
    for reference in references:
        batch = reference.batch
        if batch.names not in passed:
            continue
        if FOLLOWED in passed[batch.names].facts:
            reference = followed_reference(fixed, reference, runner.run(batch.pixels, batch.extra))
        cases.append(reference)
    return cases


def _tail_check(fixed: FixedModel, references: Sequence[Reference]) -> tuple[dict[str, object], list[str]]:
    """What the manifest says about the class-map tail, and warnings where pixels are uncertified."""
    made = fixed.walk.class_map_tail
    if made is None or not made.fast:
        return {"form": "plain" if fixed.recipe.output == "class_map" else "none"}, []
    uncertified = sum(int(reference.outputs["uncertified_pixels"].sum()) for reference in references)
    needed = 0
    for reference in references:
        needed = max(needed, candidates_needed(reference.trace.outputs["class_scores"], *made.size))
    tail = {
        "form": "fast",
        "candidates": made.candidates,
        "uncertified_pixels": uncertified,
        "candidates_needed": needed,
        "images": sum(len(reference.batch.names) for reference in references),
    }
    if not uncertified:
        return tail, []
    classes = made.num_classes
    remedy = (
        f"tail.candidates={needed} certifies all, tail.form='plain' needs no certificate"
        if 2 * needed <= classes
        else f"they need {needed} of {classes} candidates, where tail.form='plain' is no slower and needs no certificate"
    )
    return tail, [
        f"tail.candidates = {made.candidates} leaves {uncertified} pixels of the test images uncertified; {remedy}"
    ]


def _overlays(staging: Path) -> dict[str, bytes]:
    """What `edgeexport run` draws of the first two shipped photographs: name -> PNG; empty if it draws nothing."""
    with tempfile.TemporaryDirectory() as folder:
        found = predict_images(staging, shipped_photos()[:2], Path(folder), engine="none")
        return {item.image.name: item.pictures[0].read_bytes() for item in found.images if item.pictures}


def _check_rtx(staging: Path, plugins: bool, plain: onnx.ModelProto) -> RtxCheck:
    if not plugins:
        return check_tensorrt_rtx(staging / "model.trt.onnx")
    path = staging / "plain.onnx"
    _write_model(path, plain)
    try:
        return check_tensorrt_rtx(path)
    finally:
        path.unlink()


def _graph_macs(plain: onnx.ModelProto) -> dict[str, object]:
    cost = graph_macs(plain)
    return {
        "provenance": "counted in the exported graph, constants folded",
        "product_macs": cost.of_category("product"),
        "norm_macs": cost.of_category("norm"),
        "resize_macs": cost.of_category("resize"),
    }


def _manifest(
    request: _Request, fixed: FixedModel, origin: WeightsOrigin, graphs: BundleGraphs, checks: dict[str, object]
) -> dict[str, Any]:
    recipe = request.recipe
    rule = recipe.input.preprocess
    return {
        "schema": SCHEMA,
        "name": recipe.name,
        "description": recipe.description,
        "edgeexport": __version__,
        "recipe": recipe.text,
        "weights": origin.as_dict(),
        "target": request.target.name,
        "precision": request.precision,
        "plugins": request.plugins,
        "input": {
            **_info(graphs.input),
            "height": recipe.input.height,
            "width": recipe.input.width,
            "num_channels": recipe.input.channels,
            "frames": recipe.input.frames,
            "context": None if recipe.input.context is None else list(recipe.input.context),
            "channels": "RGB" if rule is None or not rule.bgr_to_rgb else "BGR",
            "preprocess": None
            if rule is None
            else {"mean": list(rule.mean), "std": list(rule.std), "bgr_to_rgb": rule.bgr_to_rgb},
        },
        "extra_inputs": [_info(item) for item in graphs.extra_inputs],
        "outputs": [_info(item) for item in graphs.outputs],
        "inner_outputs": [_info(item) for item in graphs.inner],
        **fixed.manifest,
        "classes": list(recipe.classes),
        "palette": [list(colour) for colour in recipe.palette],
        "checks": checks,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _VERSIONED},
        },
    }


def _info(item: Any) -> dict[str, object]:
    return {"name": item.name, "dtype": item.dtype, "shape": list(item.shape)}


def _write_model(path: Path, model: onnx.ModelProto) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))
