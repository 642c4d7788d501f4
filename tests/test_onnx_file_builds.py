"""ONNX files built: the graph against the file, against its own blocks one by one, and against the same model through timm."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_file_cases import edited, exported
from typer.testing import CliRunner

from benchmarks.onnx_files import proven
from edgeexport.cli.app import app
from edgeexport.errors import EdgeExportError, UsageError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe


def fixed_of(recipe: Recipe) -> FixedModel:
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


@pytest.mark.parametrize(
    ("options", "dynamic", "more"),
    [
        ((), True, ("input.shape=(2,3,32,32)",)),
        (("rotary", "tokens"), False, ()),
        (("rotary", "rms", "taps"), True, ("input.shape=(2,3,32,32)", "reduction.tome.rope=mean")),
        (("sequence first", "mask"), False, ()),
        pytest.param(("rows", "tokens"), False, (), marks=pytest.mark.slow),
        pytest.param(("mean", "no prefix"), True, (), marks=pytest.mark.slow),
        pytest.param(("rotary",), False, ("reduction.tome.metric=q",), marks=pytest.mark.slow),
        pytest.param(("tokens",), False, ("reduction.tome.unmerge=block",), marks=pytest.mark.slow),
    ],
)
def test_proven(options: tuple[str, ...], dynamic: bool, more: tuple[str, ...], tmp_path: Path) -> None:
    assert proven(exported(tmp_path / "m.onnx", *options, dynamic=dynamic), *more) < 1e-4


def test_the_graph_keeps_the_names_of_the_file(tmp_path: Path) -> None:
    path = exported(tmp_path / "m.onnx", "taps")
    file, graph = onnx.load(path), export_of_fixed(fixed_of(load_recipe(path, ["reduction.tome.r=2"])), {})
    names = {node.name for node in graph.graph.node}
    products = [
        node.name for node in file.graph.node if node.op_type in ("MatMul", "Gemm", "Conv", "LayerNormalization")
    ]
    assert products and names.issuperset(products)
    assert [value.name for value in graph.graph.output][:2] == ["out", "tap"]
    assert not any("stand_in" in item.domain for item in graph.opset_import)
    weights = {tensor.name for tensor in graph.graph.initializer}
    assert weights.issuperset(name for node in file.graph.node if node.op_type == "Conv" for name in node.input[1:])


def test_a_part_that_was_rewritten_wrongly_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale that changes with the number of tokens: the untouched blocks do not have it."""
    from edgeexport.hosts.onnx_file import parts

    true = parts.finishing

    def wrong(vit, number, tokens, x):  # type: ignore[no-untyped-def]
        piece = true(vit, number, tokens, x)
        if tokens != vit.tokens and number == 2:
            last = piece.nodes[-1]
            last.input[1] = last.input[0]  # adds the residual twice
        return piece

    monkeypatch.setattr(parts, "finishing", wrong)
    with pytest.raises(EdgeExportError, match="original against fixed"):
        proven(exported(tmp_path / "m.onnx", "tokens"))


def test_a_file_that_computes_something_else_than_its_graph_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeexport.hosts.onnx_file import parts

    true = parts.tail

    def wrong(vit, stages, beside, tokens):  # type: ignore[no-untyped-def]
        piece = true(vit, stages, beside, tokens)
        node = next(node for node in piece.nodes if node.op_type == "LayerNormalization")
        node.input[2] = node.input[1]  # another bias
        return piece

    monkeypatch.setattr(parts, "tail", wrong)
    with pytest.raises(EdgeExportError, match="as it was given"):
        proven(exported(tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    "name",
    [
        "deit_tiny_patch16_224",
        pytest.param("vit_small_patch14_dinov2", marks=pytest.mark.slow),
        pytest.param("vit_base_patch32_clip_224", marks=pytest.mark.slow),
    ],
)
def test_the_same_model_through_timm_agrees(name: str, tmp_path: Path) -> None:
    side = 56 if "dinov2" in name else 128 if "clip" in name else 64
    options = [f"model.img_size={side}", "model.depth=3", "model.num_classes=5", "input.preprocess=None"]
    merging = ["reduction.tome.r=2"]
    through_timm = fixed_of(load_recipe(f"timm:{name}", [*options, *merging]))
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(5))
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(through_timm.model, (image,), str(path), dynamo=False, opset_version=17)
    of_file = fixed_of(load_recipe(path, merging))
    with torch.no_grad():
        ours, theirs = through_timm.trace(image), of_file.trace(image)
    for decision in through_timm.decisions:
        assert torch.equal(ours.outputs[decision], theirs.outputs[decision]), decision
    assert (ours.prediction - theirs.prediction).abs().max() < 1e-4


def test_build_verify_and_inspect(tmp_path: Path) -> None:
    path, bundle = exported(tmp_path / "m.onnx", "rotary", "tokens"), tmp_path / "bundle"
    runner = CliRunner()
    built = runner.invoke(
        app, ["build", str(path), "--tome", "2", "--target", "cpu", "--work-dir", str(bundle), "--json"]
    )
    assert built.exit_code == 0, built.output
    parity = json.loads((bundle / "parity.json").read_text())["comparisons"]
    assert {item["check"] for item in parity if item["status"] == "passed"} >= {
        "original against fixed",
        "fixed torch against exported graph",
        "as it was given against the graph without reductions",
    }
    verified = runner.invoke(app, ["verify", str(bundle), "--checkpoint", str(path)])
    assert verified.exit_code == 0, verified.output
    other = edited(exported(tmp_path / "other.onnx", "tokens"), lambda model: None)
    refused = runner.invoke(app, ["verify", str(bundle), "--checkpoint", str(other)]).exception
    assert isinstance(refused, UsageError) and refused.exit_code == 2
    told = json.loads(runner.invoke(app, ["inspect", str(path), "--json"]).stdout)
    assert told["recognised"]["tokens"] == {"all": 18, "prefix": 2, "grid": [4, 4]}
    tokens = json.loads((bundle / "tokens.json").read_text())
    assert [block["tokens_out"] for block in tokens["blocks"]] == [16, 14, 12]
    assert np.isfinite(tokens["totals"]["macs"])


def test_refused_from_the_command_line(tmp_path: Path) -> None:
    path = exported(tmp_path / "m.onnx", "post-norm")
    refused = CliRunner().invoke(app, ["build", str(path), "--tome", "2", "--target", "cpu"]).exception
    assert isinstance(refused, UsageError) and refused.exit_code == 2
    assert "post-norm" in refused.problem and refused.remedy
