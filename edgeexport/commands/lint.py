"""What `edgeexport lint` does: an ONNX file, a bundle's graphs or the graph of a recipe judged, asked about, made static."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.bundle import open_bundle
from edgeexport.commands.graph_lint import joined_reports, worst_check
from edgeexport.device.remains import temporary_folder
from edgeexport.device.targets import target_named
from edgeexport.errors import UsageError
from edgeexport.graph.fixed_shapes import FixedFile, fixed_file, input_shapes_from_options
from edgeexport.graph.inline import inlined_model
from edgeexport.graph.lint import LintReport, lint_model
from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.graph.weights_apart import graph_of_file, model_file
from edgeexport.ops import DOMAIN
from edgeexport.ops.onnx_reading import model_from_file
from edgeexport.plugin.contract import check_nodes, contracts_from_sources
from edgeexport.plugin.sources import sources_folder

_KINDS = (".onnx", ".trt.onnx")

__all__ = ["LintResult", "fix_and_lint", "lint_subject"]


@dataclass(frozen=True)
class LintResult:
    """What was found: by the lint, by TensorRT-RTX where it was asked, and of the file that was made static."""

    report: LintReport
    tensorrt: RtxCheck | None = None
    fixed: FixedFile | None = None

    @property
    def ok(self) -> bool:
        """Neither the lint nor TensorRT-RTX has an error; one that was not run has none."""
        return self.report.ok and (self.tensorrt is None or self.tensorrt.status != "failed")


def lint_subject(
    subject: str,
    target: str,
    cfg_options: Sequence[str],
    *,
    ask_tensorrt: bool = False,
    on_stage: Callable[[str], None] = lambda name: None,
) -> LintResult:
    """Lints an ONNX file, both graphs of a bundle, or the graph that a recipe exports to.

    Args:
        subject: Path of a file or a bundle's folder, or a recipe.
        target: Whose TensorRT has to parse it.
        cfg_options: For a recipe.
        ask_tensorrt: TensorRT-RTX builds it as well, if it is installed; a graph with plugins in standard operators.

    Raises:
        UsageError, RecipeError: Nothing to lint (exit code 2).
        BundleError: A damaged bundle (exit code 9).
        LintError: A bundle's plugin node that is not as the plugins' sources declare it.
    """
    target_named(target)
    path = Path(subject)
    if path.is_dir():
        on_stage("lint")
        listed = open_bundle(path)
        if "graphs" in listed.manifest:
            names = [graph.name for graph in listed.graphs]
            own = {graph["name"]: graph["opset"] for graph in listed.manifest["graphs"]}
            reports = [lint_model(path / f"{name}{kind}", target=target) for name in names for kind in _KINDS]
            opsets = [own[name] for name in names for _ in _KINDS]
            report = joined_reports(subject, reports, opsets)
            checks = [check_tensorrt_rtx(path / f"{name}.trt.onnx") for name in names] if ask_tensorrt else []
            return LintResult(report, worst_check(checks))
        report = _lint_bundle(path, target)
        plain = inlined_model(graph_of_file(path / "model.onnx")) if ask_tensorrt else None
    elif subject.endswith(".onnx"):
        on_stage("lint")
        report, plain = lint_model(path, target=target), None
    else:
        from edgeexport.commands.build import exported_graphs  # these need torch
        from edgeexport.fixed.model import fixed_from_model
        from edgeexport.fixed.prompt_model import prompt_model
        from edgeexport.fixed.weights import model_from_recipe
        from edgeexport.graph.graph_list import graphs_from_forms
        from edgeexport.recipe import load_recipe
        from edgeexport.recipe.prompt import prompt_recipe

        on_stage("export")
        prompts = prompt_recipe(subject, cfg_options)
        if prompts is not None:
            graphs_of = graphs_from_forms(prompt_model(prompts).forms, {})
            on_stage("lint")
            pairs = [(form, graph.opset) for graph in graphs_of for form in (graph.with_functions, graph.plain)]
            reports = [lint_model(form, target=target) for form, _ in pairs]
            checked = [_check_model(graph.plain) for graph in graphs_of] if ask_tensorrt else []
            return LintResult(joined_reports(subject, reports, [n for _, n in pairs]), worst_check(checked))
        recipe = load_recipe(subject, cfg_options)
        model, origin = model_from_recipe(recipe)
        graphs = exported_graphs(fixed_from_model(model, recipe), origin)
        on_stage("lint")
        report, plain = lint_model(graphs.with_functions, target=target), graphs.plain
    if not ask_tensorrt:
        return LintResult(report)
    on_stage("TensorRT-RTX parses and builds (SM86)")
    return LintResult(report, check_tensorrt_rtx(path) if plain is None else _check_model(plain))


def fix_and_lint(
    path: Path,
    fixed: Path,
    input_shapes: Sequence[str],
    target: str,
    *,
    ask_tensorrt: bool = False,
    on_stage: Callable[[str], None] = lambda name: None,
) -> LintResult:
    """Writes a static form of an ONNX file, compared with it in ONNX Runtime, and lints that.

    Args:
        path: ONNX file.
        fixed: File to write.
        input_shapes: ``NAME=1,3,224,224`` for each dynamic input.
        target: As for `lint_subject`.
        ask_tensorrt: As for `lint_subject`.

    Raises:
        UsageError, ParityError, BuildError: See `edgeexport.graph.fixed_shapes.fixed_file`.
    """
    if path.suffix != ".onnx" or path.is_dir():
        raise UsageError("--fix", f"is for ONNX files, {path} is none", "a recipe or a bundle is static")
    target_named(target)
    shapes = input_shapes_from_options(input_shapes)
    on_stage("make it static and compare")
    written = fixed_file(path, fixed, shapes)
    return replace(lint_subject(str(fixed), target, (), ask_tensorrt=ask_tensorrt, on_stage=on_stage), fixed=written)


def _lint_bundle(path: Path, target: str) -> LintReport:
    """The report of model.onnx, with what is wrong with the other graphs alone behind it."""
    bundle = open_bundle(path)
    report = lint_model(bundle.path / "model.onnx", target=target)
    more = list(report.findings)
    if bundle.policy is not None:
        more += lint_model(bundle.path / bundle.policy.graph("model.onnx"), target=target).findings
    for part in filter(None, (bundle, bundle.policy)):
        for_plugins = bundle.path / part.graph("model.trt.onnx")
        if not for_plugins.is_file():
            continue
        check_nodes(model_from_file(for_plugins), contracts_from_sources(sources_folder()))
        known = frozenset(f"{DOMAIN}::{name}" for name in PLUGIN_OPS)
        more += lint_model(for_plugins, target=target, allowed_ops=known).findings
        report = replace(report, model=str(path))
    return replace(report, findings=tuple(dict.fromkeys(more)))


def _check_model(plain: onnx.ModelProto) -> RtxCheck:
    with temporary_folder() as folder:
        file = model_file(plain, folder, "plain.onnx")
        try:
            return check_tensorrt_rtx(file)
        finally:
            file.unlink()
