"""The golden references, through every form of the model: as published, fixed, and the exported graph in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shared_cases import GoldenCase, golden_case

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import BundleGraphs, export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config

ATOL, RTOL = 1e-4, 1e-3
DTOP = ["dtop_nothing_pruned", "dtop_one_head", "dtop_two_heads", "dtop_two_heads_batch2"]
SEGVIT = ["segvit_three_stages", "segvit_batch2"]
TOME = {"tome_vit_tiny_grid": 4, "tome_vit_no_class_token": 2, "tome_vit_batch2_no_prop": 2}  # name -> cases


def recipe_of(case: GoldenCase, *, batch: int = 1, reduction: dict | None = None, output: str = "scores") -> Recipe:
    image = case.arrays["image"]
    config = {
        "model": case.model,
        "checkpoint": str(case.checkpoint),
        "input": {"shape": (batch, 3, *image.shape[2:]), "preprocess": None},
        "output": output,
        "reduction": reduction or {},
    }
    return recipe_from_config(config, case.folder.absolute() / "config.json")


def fixed_model(recipe: Recipe) -> FixedModel:
    model, origin = model_from_recipe(recipe)
    assert origin.origin == "checkpoint"
    return fixed_from_model(model, recipe)


def exported_outputs(fixed: FixedModel, image: np.ndarray, tmp_path: Path) -> dict[str, np.ndarray]:
    return outputs_of_graphs(graphs_from_export(fixed, export_of_fixed(fixed, {})), image, tmp_path)


def outputs_of_graphs(graphs: BundleGraphs, image: np.ndarray, tmp_path: Path) -> dict[str, np.ndarray]:
    lint_model(graphs.with_functions).raise_for_findings()
    path = tmp_path / "model.onnx"
    path.write_bytes(graphs.with_functions.SerializeToString())
    found = OnnxRuntimeRunner(path, extra_outputs=graphs.inner).run(image)
    lint_model(graphs.tensorrt).raise_for_findings()
    for_tensorrt = OnnxRuntimeRunner(graphs.tensorrt.SerializeToString(), extra_outputs=graphs.inner).run(image)
    assert for_tensorrt.keys() == found.keys()
    for name, values in for_tensorrt.items():  # the same decisions, and the same outputs but for rounding
        np.testing.assert_allclose(values, found[name], atol=ATOL, rtol=RTOL, err_msg=f"model.trt.onnx: {name}")
    return found


def head_blocks(case: GoldenCase) -> list[int]:
    out_indices = case.model["backbone"]["out_indices"]
    return [out_indices[head["in_index"]] + 1 for head in case.model["auxiliary_head"]]


@pytest.mark.parametrize("name", DTOP)
def test_dtop_as_published_is_the_reference(name: str) -> None:
    case = golden_case(name)
    batch = case.arrays["image"].shape[0]
    blocks = head_blocks(case)
    recipe = recipe_of(case, batch=batch, reduction={"dtop": {"prune": dict.fromkeys(blocks, 1)}})
    model, _ = model_from_recipe(recipe)
    images = PublishedModel(model, recipe).run([torch.from_numpy(case.arrays["image"])])
    assert len(images) == batch
    for i, image in enumerate(images):
        outputs = image.outputs
        np.testing.assert_allclose(outputs["scores"], case.arrays["prediction"][i], atol=ATOL, rtol=RTOL)
        np.testing.assert_allclose(outputs["token_scores"], case.arrays["token_prediction"][i], atol=ATOL, rtol=RTOL)
        left = np.zeros(case.arrays["pruned_mask_per_stage"].shape[2], dtype=bool)
        for stage, block in enumerate(blocks):
            assert image.pruned[block] == case.arrays["pruned_per_stage"][stage, i]
            left[outputs[f"pruned_tokens_{block}"].numpy()] = True
            np.testing.assert_array_equal(left, case.arrays["pruned_mask_per_stage"][stage, i])


@pytest.mark.parametrize(
    ("name", "image"),
    [*((name, 0) for name in DTOP), pytest.param("dtop_two_heads_batch2", 1, marks=pytest.mark.slow)],
)
def test_dtop_exported_graph_is_the_reference(name: str, image: int, tmp_path: Path) -> None:
    """The counts differ between the images of a batch, so each gets a graph with its own k."""
    case = golden_case(name)
    blocks = head_blocks(case)
    counts = {block: int(k) for block, k in zip(blocks, case.arrays["pruned_per_stage"][:, image], strict=True)}
    fixed = fixed_model(recipe_of(case, reduction={"dtop": {"prune": counts}}))
    found = exported_outputs(fixed, case.arrays["image"][image : image + 1], tmp_path)
    np.testing.assert_allclose(found["scores"][0], case.arrays["prediction"][image], atol=ATOL, rtol=RTOL)
    left = np.zeros(case.arrays["pruned_mask_per_stage"].shape[2], dtype=bool)
    for stage, block in enumerate(blocks):
        if counts[block]:
            left[found[f"pruned_tokens_{block}"][0]] = True
        np.testing.assert_array_equal(left, case.arrays["pruned_mask_per_stage"][stage, image])


@pytest.mark.parametrize("name", SEGVIT)
def test_segvit_exported_graph_is_the_reference(name: str, tmp_path: Path) -> None:
    case = golden_case(name)
    fixed = fixed_model(recipe_of(case, batch=case.arrays["image"].shape[0]))
    found = exported_outputs(fixed, case.arrays["image"], tmp_path)
    np.testing.assert_allclose(found["scores"], case.arrays["prediction"], atol=ATOL, rtol=RTOL)


# The exported class map rests on the same scores; DToP's graphs below give theirs in full.
@pytest.mark.parametrize("output", [pytest.param("scores", marks=pytest.mark.slow), "class_map"])
def test_hybrid_exported_graph_is_the_reference(output: str, tmp_path: Path) -> None:
    case = golden_case("hybrid")
    prune = {int(block): k for block, k in case.config["prune"].items()}
    reduction = {"cts": {"num_shared": case.config["num_shared"], "align_tokens": 1}, "dtop": {"prune": prune}}
    fixed = fixed_model(recipe_of(case, reduction=reduction, output=output))
    with torch.no_grad():
        trace = fixed.trace(torch.from_numpy(case.arrays["image"]))
    # The policy network's 49 convolutions accumulate rounding: 1.05e-4 where its logits reach several units.
    logits = case.arrays["policy_logits"]
    windows = (logits[:, 1] - logits[:, 0]).reshape(len(logits), -1)
    np.testing.assert_allclose(trace.evidence["shared_windows"].scores(0.0), windows, atol=2 * ATOL, rtol=RTOL)
    found = exported_outputs(fixed, case.arrays["image"], tmp_path)
    if output == "scores":
        np.testing.assert_allclose(found["scores"], case.arrays["prediction"], atol=ATOL, rtol=RTOL)
    else:
        of_patches = case.arrays["token_prediction"][0][:, trace.share[0]]
        scores = trace.outputs["class_scores"][0].flatten(1)
        np.testing.assert_allclose(scores, of_patches, atol=ATOL, rtol=RTOL)
        best = np.sort(case.arrays["prediction"], axis=1)
        clear = best[:, -1] - best[:, -2] > 1e-5
        expected = case.arrays["prediction"].argmax(axis=1)
        np.testing.assert_array_equal(found["class_map"][clear], expected[clear])
        assert clear.mean() > 0.99


def tome_recipe(case: GoldenCase, r: object, extra_outputs: tuple[str, ...]) -> Recipe:
    config = {
        "model": {"type": "timm", **case.model},
        "checkpoint": str(case.checkpoint),
        "input": {"shape": case.arrays["image"].shape, "preprocess": None},
        "output": "logits",
        "reduction": {"tome": {"r": r, "proportional_attention": case.config["prop_attn"]}},
        "extra_outputs": extra_outputs,
    }
    return recipe_from_config(config, case.folder.absolute() / "config.json")


def tome_fixed(case: GoldenCase, number: int) -> FixedModel:
    """Of a case as written in the config: r, (r, inflection) or a list."""
    given = case.config["cases"][str(number)]
    recipe = tome_recipe(case, given["r"], ("source", "size"))
    assert list(recipe.reductions["tome"].r) == given["parsed"]
    return fixed_model(recipe)


def assert_tome_reference(outputs: dict[str, np.ndarray], case: GoldenCase, number: int) -> None:
    """Logits, final sizes and where every token went."""
    np.testing.assert_allclose(outputs["logits"], case.arrays[f"logits_{number}"], atol=ATOL, rtol=RTOL)
    np.testing.assert_array_equal(outputs["source"], case.arrays[f"source_{number}"])
    np.testing.assert_array_equal(outputs["size"], case.arrays[f"size_{number}"])


TOME_CASES = [(name, number) for name, cases in TOME.items() for number in range(cases)]


@pytest.mark.parametrize(("name", "number"), TOME_CASES)
def test_tome_fixed_form_is_the_reference(name: str, number: int) -> None:
    case = golden_case(name)
    fixed = tome_fixed(case, number)
    with torch.no_grad():
        found = fixed.trace(torch.from_numpy(case.arrays["image"])).outputs
    assert_tome_reference({key: value.numpy() for key, value in found.items()}, case, number)


# One schedule per host; the others differ in their counts, and their fixed form is the reference above.
@pytest.mark.parametrize(
    ("name", "number"),
    [pytest.param(*case, marks=[pytest.mark.slow] if case[1] else []) for case in TOME_CASES],
)
def test_tome_exported_graph_is_the_reference(name: str, number: int, tmp_path: Path) -> None:
    case = golden_case(name)
    found = exported_outputs(tome_fixed(case, number), case.arrays["image"], tmp_path)
    assert_tome_reference(found, case, number)


@pytest.mark.parametrize("name", list(TOME))
def test_host_without_merging_is_the_reference(name: str, tmp_path: Path) -> None:
    case = golden_case(name)
    fixed = fixed_model(tome_recipe(case, 0, ()))
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    assert not [node for node in graphs.with_functions.graph.node if node.domain == "edgeexport"], (
        "r = 0 emits no nodes"
    )
    found = outputs_of_graphs(graphs, case.arrays["image"], tmp_path)
    np.testing.assert_allclose(found["logits"], case.arrays["logits_r0"], atol=ATOL, rtol=RTOL)
