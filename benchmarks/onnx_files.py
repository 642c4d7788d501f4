"""Which exports of Vision Transformers are recognised as ONNX files, and proven: the table of docs/onnx-files.md.

    python -m benchmarks.onnx_files --out work_dirs/onnx_files --page docs/onnx-files.md

Every model has 4 blocks and random weights and is exported on the spot; files that other programs optimise are optimised here.
Recognised: `edgeexport build` takes the file. Proven: without reductions the graph equals the file, and with ToMe it equals the
file's own blocks run one by one with the merging between them. What fails is listed with its reason.
Needs transformers, onnxslim and onnxsim beside edgeexport[export]; what is not installed is said, and its rows are left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from torch import Tensor, nn

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.errors import EdgeExportError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.export import exported_model
from edgeexport.graph.graphs import graphs_from_export
from edgeexport.graph.stand_ins import put_pieces_in
from edgeexport.hosts.onnx_file.vit import FileVit
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe import load_recipe
from edgeexport.verify.own import own_comparisons
from edgeexport.verify.parity import original_comparison, reference_of, runtime_comparison

__all__ = ["Case", "Outcome", "cases", "exported", "optimised", "outcome_of", "proven"]

SIDE, PATCH, WIDTH, HEADS, BLOCKS = 64, 16, 48, 4, 4
FORMS = ("plain", "onnxslim", "onnxsim", "ort basic", "ort extended")
_SEED = 7
_MARKS = ("<!-- coverage:", "<!-- end of coverage -->")


@dataclass(frozen=True)
class Case:
    """One file: a model, how it attends, exporter ('old' or 'new'), opset, batch ('static' or 'dynamic'), and its form."""

    model: str
    attention: str
    exporter: str
    opset: int
    batch: str
    form: str = "plain"

    @property
    def label(self) -> str:
        """For people and file names."""
        return "-".join(str(value).replace(" ", "_") for value in asdict(self).values() if value)


@dataclass(frozen=True)
class Outcome:
    """'proven', 'not exported' (the exporter or optimiser fails), 'refused' or 'failed'; why, and the largest error."""

    case: Case
    status: str
    reason: str = ""
    error: float = 0.0
    seconds: float = 0.0


class _Pixels(nn.Module):
    """A model that takes pixels and gives one tensor."""

    def __init__(self, model: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.read = model, read

    def forward(self, pixels: Tensor) -> Tensor:
        return self.read(self.model(pixels))


def _timm(name: str, attention: str, **arguments: Any) -> _Pixels:
    import timm
    from timm.layers import set_fused_attn

    set_fused_attn(attention == "sdpa")
    options = {"img_size": SIDE, "depth": BLOCKS, "embed_dim": WIDTH, "num_heads": HEADS, "num_classes": 7, **arguments}
    return _Pixels(timm.create_model(name, **options), lambda y: y)


def _torchvision() -> _Pixels:
    from torchvision.models import VisionTransformer

    return _Pixels(VisionTransformer(SIDE, PATCH, BLOCKS, HEADS, WIDTH, 2 * WIDTH, num_classes=7), lambda y: y)


def _transformers(name: str, attention: str) -> _Pixels:
    import transformers

    common = {
        "hidden_size": WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    mlp = {"mlp_ratio": 2} if name == "Dinov2" else {"intermediate_size": 2 * WIDTH}
    more = {"CLIPVision": {"projection_dim": 16}, "DINOv3ViT": {"num_register_tokens": 4}}.get(name, {})
    kind = {"CLIPVision": "CLIPVisionModelWithProjection"}.get(name, f"{name}Model")
    config = getattr(transformers, f"{name}Config")(**common, **mlp, **more)
    model = getattr(transformers, kind)(config)
    model.set_attn_implementation(attention)
    reads = {"CLIPVision": "image_embeds", "SiglipVision": "pooler_output"}
    return _Pixels(model, lambda y: getattr(y, reads.get(name, "last_hidden_state")))


_MODELS: dict[str, Callable[[str], _Pixels]] = {
    "timm ViT": lambda attention: _timm("vit_tiny_patch16_224", attention),
    "timm DINOv2": lambda attention: _timm("vit_small_patch14_reg4_dinov2", attention, patch_size=PATCH, num_classes=0),
    "timm EVA-02": lambda attention: _timm("eva02_tiny_patch14_336", attention, patch_size=PATCH),
    "torchvision": lambda attention: _torchvision(),
    "HF ViT": lambda attention: _transformers("ViT", attention),
    "HF DINOv2": lambda attention: _transformers("Dinov2", attention),
    "HF DINOv3": lambda attention: _transformers("DINOv3ViT", attention),
    "HF SigLIP": lambda attention: _transformers("SiglipVision", attention),
    "HF CLIP": lambda attention: _transformers("CLIPVision", attention),
}
_EXPORTS = (("old", 13), ("old", 17), ("new", 20), ("new", 23))
_OPTIMISED = (("old", 17), ("new", 20))
"""Exports that are optimised by other programs too."""


def cases() -> Iterator[Case]:
    """Every combination; optimised forms of models that attend in one way, or eagerly. The widest apart come first, so that a
    run that is stopped has seen something of each.
    """
    every = [
        Case(model, attention, exporter, opset, batch, form)
        for model in _MODELS
        for attention in (("",) if model == "torchvision" else ("eager", "sdpa"))
        for exporter, opset in _EXPORTS
        for batch in ("static", "dynamic")
        for form in (FORMS if (exporter, opset) in _OPTIMISED and attention != "sdpa" else FORMS[:1])
    ]
    places: dict[str, int] = {}
    order = {}
    for case in every:
        order[case] = places[case.model] = places.get(case.model, -1) + 1
    return iter(sorted(every, key=lambda case: (order[case] * 7 % 31, order[case])))


def exported(case: Case, path: Path) -> None:
    """Exports the model of a case as it is, before any optimisation."""
    torch.manual_seed(_SEED)
    model = _MODELS[case.model](case.attention).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(0.15 * torch.randn_like(value) + (0.5 if value.ndim == 1 else 0.0))
    names: dict[str, Any] = {"input_names": ["pixels"], "output_names": ["out"]}
    image = torch.randn(1, 3, SIDE, SIDE)
    dynamic = case.batch == "dynamic"
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        if case.exporter == "old":
            axes: dict[str, Any] = {"dynamic_axes": {"pixels": {0: "batch"}, "out": {0: "batch"}}} if dynamic else {}
            torch.onnx.export(model, (image,), str(path), dynamo=False, opset_version=case.opset, **axes, **names)
        else:
            shapes: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamic else {}
            example = torch.cat([image, image]) if dynamic else image
            torch.onnx.export(
                model,
                (example,),
                str(path),
                dynamo=True,
                external_data=False,
                opset_version=case.opset,
                verbose=False,
                **shapes,
                **names,
            )


def optimised(form: str, source: Path, path: Path) -> None:
    """What another program makes of an exported file."""
    if form == "plain":
        path.write_bytes(source.read_bytes())
    elif form.startswith("ort"):
        options = onnxruntime.SessionOptions()
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_BASIC if "basic" in form else level.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    elif form == "onnxslim":
        import onnxslim

        onnx.save(onnxslim.slim(onnx.load(source)), path)
    else:
        import onnxsim

        onnx.save(onnxsim.simplify(onnx.load(source))[0], path)


def proven(path: Path, *options: str) -> float:
    """Builds the graph of a file with ToMe and holds it to the file, without writing a bundle: the largest error of outputs.

    Raises:
        EdgeExportError: The file is refused, or a comparison fails.
    """
    recipe = load_recipe(path, ["reduction.tome.r=2", *options])
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    graphs = graphs_from_export(fixed, _export(fixed))
    dense = fixed_from_model(model, dense_recipe(recipe))
    plain = graphs_from_export(dense, _export(dense))
    pixels = np.random.default_rng(_SEED).normal(size=recipe.input.shape).astype(np.float32)
    batch = ImageBatch(tuple(f"image {number}" for number in range(recipe.input.batch)), pixels, {})
    reference = reference_of(fixed, batch)
    runner = OnnxRuntimeRunner(graphs.with_functions.SerializeToString(), extra_outputs=graphs.inner)
    comparisons = [
        runtime_comparison(fixed, reference, runner),
        original_comparison(fixed, reference),
        *own_comparisons(dense, [reference], OnnxRuntimeRunner(plain.with_functions.SerializeToString())),
    ]
    for item in comparisons:
        if item.status != "passed":
            raise EdgeExportError(item.check, f"{item.status}: {item.reason}")
    return max((output.max_abs or 0.0 for item in comparisons for output in item.outputs), default=0.0)


_SKELETONS: dict[str, onnx.ModelProto] = {}


def _export(fixed: FixedModel) -> onnx.ModelProto:
    """`export_of_fixed`; what torch's exporter makes of the stand-ins is kept, for files that differ in their nodes alone."""
    vit = fixed.walk.vit
    assert isinstance(vit, FileVit)
    key = repr((fixed.schedule, fixed.exported_names, fixed.input_names, vit.image, fixed.recipe.model.output_shapes))
    if key not in _SKELETONS:
        examples = fixed.example_inputs()
        _SKELETONS[key] = exported_model(fixed, examples, fixed.input_names, fixed.exported_names, {})
    model = onnx.ModelProto()
    model.CopyFrom(_SKELETONS[key])
    put_pieces_in(model, fixed.walk)
    return model


def outcome_of(case: Case, folder: Path) -> Outcome:
    """Exports, optimises and proves one case in ``folder``."""
    plain = folder / f"{Case(case.model, case.attention, case.exporter, case.opset, case.batch).label}.onnx"
    path, start = folder / f"{case.label}.onnx", time.perf_counter()
    try:
        if not plain.is_file():
            exported(case, plain)
        if path != plain:
            optimised(case.form, plain, path)
    except Exception as error:  # of any exporter or optimiser
        reason = " ".join(str(error).split())[:160]
        return Outcome(case, "not exported", f"{type(error).__name__}: {reason}")
    try:
        largest = proven(path)
    except EdgeExportError as refused:
        status = "refused" if refused.exit_code == 2 else "failed"
        return Outcome(case, status, str(refused), seconds=time.perf_counter() - start)
    finally:
        if path != plain:
            path.unlink(missing_ok=True)
    return Outcome(case, "proven", "", largest, time.perf_counter() - start)


def _installed(case: Case) -> bool:
    needed = ["transformers"] if case.model.startswith("HF") else []
    needed += [case.form] if case.form.startswith("onnx") else []
    return all(importlib.util.find_spec(name) is not None for name in needed)


def table(outcomes: list[Outcome]) -> str:
    """A row per model and exporter; a cell says of how many files all were proven."""
    lines = ["| Model | Exporter, opset | " + " | ".join(FORMS) + " |", "|---|---|" + "---|" * len(FORMS)]
    groups: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for item in outcomes:
        case = item.case
        model = f"{case.model}, {case.attention}" if case.attention else case.model
        groups.setdefault((model, f"{case.exporter}, {case.opset}"), {}).setdefault(case.form, []).append(item)
    for (model, exporter), forms in groups.items():
        cells = []
        for form in FORMS:
            own = forms.get(form, [])
            made = [item for item in own if item.status != "not exported"]
            count = sum(item.status == "proven" for item in made)
            cells.append(f"{count} of {len(made)}" if made else "not exported" if own else "")
        lines.append(f"| {model} | {exporter} | {' | '.join(cells)} |")
    every = [item for item in outcomes if item.status != "not exported"]
    proofs = [item for item in every if item.status == "proven"]
    largest = max((item.error for item in proofs), default=0.0)
    lines += ["", f"{len(proofs)} of {len(every)} files proven, largest error of an output {largest:.1e}.", ""]
    others: dict[str, list[Case]] = {}
    for item in outcomes:
        if item.status != "proven":
            text = item.reason.replace("|", "/").split(".onnx", 1)[-1] if item.status == "refused" else item.reason
            others.setdefault(f"{item.status}: {text}", []).append(item.case)
    lines += [f"- {len(found)} x {reason} (first: {found[0].label})" for reason, found in others.items()]
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Option(help="Folder for the files and the table.")],
    only: Annotated[str, typer.Option(help="Only cases whose label holds this; 'nothing' runs none.")] = "",
    page: Annotated[Path | None, typer.Option(help="The page whose table is written anew.")] = None,
) -> None:
    """Runs every case and writes coverage.md; a case that coverage.jsonl holds already is not run again."""
    out.mkdir(parents=True, exist_ok=True)
    record = out / "coverage.jsonl"
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    outcomes = {Case(**row["case"]): Outcome(**{**row, "case": Case(**row["case"])}) for row in done}
    for case in cases():
        if only not in case.label or case in outcomes or not _installed(case):
            continue
        outcomes[case] = outcome_of(case, out)
        print(case.label, outcomes[case].status, outcomes[case].reason, f"{outcomes[case].seconds:.1f} s", flush=True)
        with record.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(outcomes[case])) + "\n")
    known = {case: place for place, case in enumerate(sorted(outcomes, key=lambda case: [*_MODELS].index(case.model)))}
    text = table([outcomes[case] for case in known])
    text += f"\n{len(known)} of {sum(1 for _ in cases())} combinations were run.\n"
    (out / "coverage.md").write_text(text, encoding="utf-8")
    if page is not None:
        content = page.read_text(encoding="utf-8")
        start, end = (content.index(mark) for mark in _MARKS)
        start = content.index("\n", start) + 1
        page.write_text(f"{content[:start]}\n{text}\n{content[end:]}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    typer.run(main)
