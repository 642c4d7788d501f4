"""A build of a model whose graphs are several: exported, linted, compared, asked of TensorRT-RTX, written as a bundle."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeexport.backends.contract import EngineOptions, EngineRecord
from edgeexport.backends.engine import build_engine_if_possible, check_engine_options
from edgeexport.backends.golden_prompt import PROMPT_ARRAYS
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.bundle import Bundle, check_replaceable, hashes_of, json_bytes, open_bundle, staged_bundle
from edgeexport.bundle.places import WEIGHTS_FILE, check_bundle_path, check_writable
from edgeexport.commands.build_log import BuildLog
from edgeexport.commands.graph_lint import accepted_findings, worst_check
from edgeexport.commands.graph_plans import plans_of_graphs, works_of, write_works
from edgeexport.cost.cache import cache_costs
from edgeexport.cost.kernel_plan import KERNELS_FILE, plans_bytes
from edgeexport.cost.work import GraphWork
from edgeexport.device.targets import Target, target_named
from edgeexport.documents.hugging_face import TOKENIZER_CONFIG
from edgeexport.documents.manifest import MANIFEST_SCHEMA
from edgeexport.documents.reading import read_document
from edgeexport.errors import LintError, ParityError, UsageError
from edgeexport.fixed.prompt_model import PromptModel, prompt_model
from edgeexport.graph.graph_list import ListedGraph, graphs_from_forms
from edgeexport.graph.lint import lint_model
from edgeexport.graph.weights_apart import write_graphs
from edgeexport.recipe.prompt import PromptRecipe
from edgeexport.report.html import write_report
from edgeexport.verify.compare import Comparison
from edgeexport.verify.prompts import (
    fixed_run,
    graph_comparison,
    prompt_cases,
    published_comparison,
    whole_comparison,
)
from edgeexport.verify.transformers_original import original_comparison
from edgeexport.version import __version__

__all__ = ["TOKENIZER", "GraphsBuild", "build_graphs", "lint_graph", "refuse_given"]

TOKENIZER = "tokenizer.json"
_VERSIONED = ("torch", "onnx", "onnxscript", "onnxruntime", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class GraphsBuild:
    """A finished build; see `edgeexport.commands.build.BuildResult`."""

    bundle: Bundle
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    peak_bytes: int
    engine: EngineRecord | None
    no_engine: str


def build_graphs(
    recipe: PromptRecipe,
    target: str,
    *,
    precision: str = "fp32",
    work_dir: Path | None = None,
    engine_options: EngineOptions | None = None,
    local_engine: bool = True,
    on_stage: Callable[[str], None] = lambda name: None,
) -> GraphsBuild:
    """Builds a bundle of several graphs.

    Args:
        recipe: See `edgeexport.recipe.prompt.prompt_recipe`.
        target, work_dir, engine_options, local_engine, on_stage: See `edgeexport.commands.build.build`.
        precision: 'fp32' alone.

    Raises:
        EdgeExportError: With the exit code that its class carries.
    """
    asked = target_named(target)
    if precision != "fp32":
        problem = "is not there yet for a bundle of several graphs, expected fp32"
        raise UsageError(f"--precision {precision}", problem, "leave it out; TensorRT may still choose TF32")
    check_engine_options(target, engine_options or EngineOptions())
    recipe.require_fixed()
    folder = work_dir if work_dir is not None else Path("work_dirs") / f"{recipe.name}-{target}-{precision}"
    check_bundle_path(folder)
    check_replaceable(folder)
    check_writable(folder, "choose another --work-dir")
    log = BuildLog(on_stage)
    with log.stage("load weights"):
        fixed = prompt_model(recipe)
    with log.stage("torch's exporter"):
        told = {"edgeexport.recipe": recipe.name, "edgeexport.weights": str(fixed.weights["statement"])}
        graphs = graphs_from_forms(fixed.forms, told)
    with log.stage("lint"):
        findings = {graph.name: lint_graph(graph, target) for graph in graphs}
    with staged_bundle(folder) as staging:
        with log.stage("write graphs"):
            write_graphs(staging, _files(graphs))
            template = _write_tokenizer(staging, recipe)
        with log.stage("verify"):
            comparisons = _verify(staging, fixed, graphs)
        _raise_for_failed(comparisons)
        checks: dict[str, Any] = {
            "lint": {"status": "passed", "graph": ", ".join(findings), "reason": _accepted(findings)}
        }
        checks["parity"] = _parity_check(comparisons)
        rtx = _rtx(staging, asked, graphs, log)
        checks |= {name: _rtx_check(check) for name, check in rtx.items()}
        with log.stage("work and kernels"):
            works = works_of(recipe, graphs)
            write_works(staging, works)
            plans = plans_of_graphs(graphs, works, rtx, precision)
            if plans is not None:
                (staging / KERNELS_FILE).write_bytes(plans_bytes(plans))
        with log.stage("manifest"):
            _write_manifest(staging, asked, fixed, graphs, works, checks, template)
        with log.stage("report"):
            write_report(staging)
        (staging / "build.log").write_text(log.text(), encoding="utf-8")
    warnings = [f"TensorRT-RTX: {name}: {check.reason}" for name, check in rtx.items() if check.status == "failed"]
    if recipe.folder is None:
        warnings.append(str(fixed.weights["statement"]))
    with log.stage("engines"):
        engine, no_engine = None, "left to another machine"
        if local_engine:
            engine, no_engine = build_engine_if_possible(folder, options=engine_options, on_stage=on_stage)
    return GraphsBuild(
        open_bundle(folder, check_hashes=False), tuple(comparisons), tuple(warnings), log.seconds, log.peak_bytes,
        engine, no_engine,
    )  # fmt: skip


def refuse_given(recipe: PromptRecipe, **options: object) -> None:
    """Refuses options that a bundle of several graphs has no use for.

    Raises:
        UsageError: One is given.
    """
    why = {
        "checkpoint": (
            "whose weights are in model.folder",
            "leave it out; model.folder in the recipe names the weights",
        )
    }
    for name, value in options.items():
        if value:
            whose, remedy = why.get(name, ("a language model", "leave it out"))
            raise UsageError(f"--{name.replace('_', '-')}", f"has no meaning for {recipe.name}, {whose}", remedy)


def lint_graph(graph: ListedGraph, target: str) -> list[str]:
    """Lints both forms of a graph; the rules whose findings are meant.

    Raises:
        LintError: Anything else is found.
    """
    meant: set[str] = set()
    for model in (graph.with_functions, graph.plain):
        standing, accepted = accepted_findings(graph.opset, lint_model(model, target=target))
        meant |= set(accepted)
        if standing:
            raise LintError(f"{graph.name}.onnx", str(standing[0]), "report it with the recipe", map(str, standing[1:]))
    return sorted(meant)


def _accepted(findings: Mapping[str, list[str]]) -> str:
    rules = sorted({rule for found in findings.values() for rule in found})
    return f"meant: {', '.join(rules)}" if rules else ""


def _files(graphs: Sequence[ListedGraph]) -> dict[str, onnx.ModelProto]:
    """Both forms of every graph by file name."""
    forms = [(f"{graph.name}.onnx", graph.with_functions) for graph in graphs]
    return dict([*forms, *((f"{graph.name}.trt.onnx", graph.plain) for graph in graphs)])


def _write_tokenizer(staging: Path, recipe: PromptRecipe) -> str | None:
    """Copies the tokenizer, where there is one; the chat template."""
    file = recipe.tokenizer
    template = recipe.chat_template
    if recipe.folder is not None:
        file = file or recipe.folder / TOKENIZER
        settings = recipe.folder / "tokenizer_config.json"
        if template is None and settings.is_file():
            given = read_document(settings, TOKENIZER_CONFIG).get("chat_template")
            template = given if isinstance(given, str) else None
    if file is not None and file.is_file():
        shutil.copyfile(file, staging / TOKENIZER)
    return template


def _verify(staging: Path, fixed: PromptModel, graphs: Sequence[ListedGraph]) -> list[Comparison]:
    facts = fixed.recipe.prompt_facts
    runner = PromptRunner({graph.name: OnnxRuntimeRunner(staging / f"{graph.name}.onnx") for graph in graphs}, facts)
    comparisons: list[Comparison] = []
    golden: dict[str, Any] = {}
    for number, case in enumerate(prompt_cases(facts)):
        run = fixed_run(fixed, case)
        if fixed.steps is not None:
            comparisons += [published_comparison(fixed, case, run), whole_comparison(fixed, case)]
        comparisons.append(graph_comparison(fixed, case, runner, run))
        del run
        logits = [runner.rewind()]
        decided = {name: value for name, value in runner.prefilled.items() if name.startswith(("pivot", "target"))}
        logits += [runner.next(token) for token in case.following]
        own = {name: getattr(case.prompt, name) for name in PROMPT_ARRAYS}
        own |= {"following": np.array(case.following), "logits": np.stack(logits)}
        own |= {} if case.pixels is None else {"pixel_values": case.pixels}
        golden |= {f"case{number}/{name}": value for name, value in {**own, **decided}.items()}
        comparisons.append(original_comparison(fixed, case, runner))
    parity = {
        "schema": "edgeexport.parity/1",
        "weights": fixed.weights["statement"],
        "comparisons": [item.as_dict() for item in comparisons],
    }
    (staging / "parity.json").write_bytes(json_bytes(parity))
    np.savez_compressed(staging / "golden.npz", **golden)
    return comparisons


def _raise_for_failed(comparisons: Sequence[Comparison]) -> None:
    failed = [item for item in comparisons if item.status == "failed"]
    if failed:
        where = f"{failed[0].check} on {', '.join(failed[0].images)}"
        raise ParityError(where, failed[0].reason, "see parity.json")


def _parity_check(comparisons: Sequence[Comparison]) -> dict[str, object]:
    missing = [item for item in comparisons if item.status not in ("passed",)]
    reason = "; ".join(dict.fromkeys(f"{item.check}: {item.reason}" for item in missing))
    return {"status": "incomplete" if missing else "passed", "comparisons": len(comparisons), "reason": reason or None}


def _rtx(staging: Path, target: Target, graphs: Sequence[ListedGraph], log: BuildLog) -> dict[str, RtxCheck]:
    """The verdict of every graph as ``tensorrt_rtx.NAME``, and the worst of them as ``tensorrt_rtx``."""
    if not target.needs_tensorrt:
        return {"tensorrt_rtx": RtxCheck("not-run", reason="the target has no TensorRT")}
    verdicts = {}
    for graph in graphs:
        with log.stage(f"TensorRT-RTX {graph.name}"):
            verdicts[graph.name] = check_tensorrt_rtx(staging / f"{graph.name}.trt.onnx")
    return {
        "tensorrt_rtx": worst_check(list(verdicts.values())) or RtxCheck("not-run"),
        **{f"tensorrt_rtx.{name}": check for name, check in verdicts.items()},
    }


def _rtx_check(check: RtxCheck) -> dict[str, Any]:
    kept = ("status", "version", "reason", "compute_capability")
    return {**{key: value for key, value in asdict(check).items() if key in kept}, "deployed_graph": True}


def _write_manifest(
    staging: Path,
    target: Target,
    fixed: PromptModel,
    graphs: Sequence[ListedGraph],
    works: Mapping[str, GraphWork],
    checks: Mapping[str, Any],
    template: str | None,
) -> None:
    recipe = fixed.recipe
    listed: list[dict[str, Any]] = []
    for graph in graphs:
        nodes = works[graph.name].nodes
        listed.append(
            {
                "name": graph.name,
                "inputs": [_info(item) for item in graph.inputs],
                "outputs": [_info(item) for item in graph.outputs],
                "opset": graph.opset,
                "macs": sum(node.product_macs for node in nodes),
                "bytes": sum(node.bytes for node in nodes),
                "weight_bytes": graph.weight_bytes,
            }
        )
    facts = recipe.prompt_facts
    decode = next(item for item in listed if item["name"] == "decode")
    costs = cache_costs(facts, int(decode["weight_bytes"]), target.name)
    names = [*_files(graphs), "golden.npz"]
    names += [name for name in (TOKENIZER, WEIGHTS_FILE) if (staging / name).is_file()]
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "name": recipe.name,
        "description": recipe.description,
        "edgeexport": __version__,
        "recipe": recipe.text,
        "weights": fixed.weights,
        "target": target.name,
        "precision": "fp32",
        "plugins": False,
        "graphs": listed,
        "prompt": facts.as_dict(),
        **({} if template is None else {"chat_template": template}),
        "cache_costs": [asdict(cost) for cost in costs],
        "checks": dict(checks),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _VERSIONED if importlib.util.find_spec(name)},
        },
        "files": hashes_of(staging, names),
    }
    (staging / "manifest.json").write_bytes(json_bytes(manifest))


def _info(item: Any) -> dict[str, object]:
    return {"name": item.name, "dtype": item.dtype, "shape": list(item.shape)}
