"""ALGM: its steps against brute force, its fixed form against its published one, its graph, and what it refuses."""

# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_cases import TINY, TINY_ATM, TINY_SEGMENTER, TINY_TIMM

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.schedule import token_schedule
from edgeexport.fixed.tokens import tokens_json
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model
from edgeexport.inputs.batches import ImageBatch
from edgeexport.pictures.merge_map import merge_map_from_decisions
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.algm import _adaptive_count
from edgeexport.reductions.window_merge import (
    WindowLayout,
    merge_windows,
    ranked_windows,
    window_similarity,
    window_similarity_reference,
    windows_reference,
)
from edgeexport.verify.decisions import decisions_between
from edgeexport.verify.parity import original_comparison, reference_of

ALGM = ("reduction", "algm")


def fixed_of(recipe: Recipe) -> FixedModel:
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def image_of(batch: int, seed: int = 1) -> torch.Tensor:
    """Patches of several likenesses: flat regions beside noise, so that windows differ."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=128, mode="bilinear")
    return smooth + 0.3 * torch.randn(batch, 3, 128, 128, generator=generator) * (smooth > 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_merge_as_in_loops(data: st.DataObject) -> None:
    rows, across, prefix, batch = (data.draw(st.integers(*ends)) for ends in ((1, 3), (1, 3), (0, 2), (1, 3)))
    windows = rows * across
    merged = data.draw(st.integers(1, windows))
    layout = WindowLayout(prefix + 4 * windows, prefix, 2 * across, merged)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    x = torch.randn(batch, layout.tokens, 5, generator=generator)
    if data.draw(st.booleans()):  # ties, and a token of no length
        x = x.round()
        x[:, -1] = 0.0
    similarity = window_similarity(x, layout)
    chosen = ranked_windows(similarity, merged)
    found = merge_windows(x, chosen, layout)
    for row in range(batch):
        wanted = window_similarity_reference(x[row], layout)
        np.testing.assert_allclose(similarity[row].numpy(), wanted, atol=1e-5)
        own = similarity[row].tolist()
        ranked = sorted(range(windows), key=lambda window: (-own[window], window))[:merged]
        assert chosen[row].tolist() == ranked
        tokens, sizes, place = windows_reference(x[row], ranked, layout)
        torch.testing.assert_close(found.x[row], tokens)
        assert found.size[row, :, 0].tolist() == sizes.tolist()
        assert found.position[row].tolist() == place


def test_a_small_case_by_hand() -> None:
    """2 x 4 patches behind a class token: the right window is uniform, the left one is not."""
    layout = WindowLayout(9, 1, 4, 1)
    x = torch.tensor([[9.0, 9], [1, 0], [0, 1], [2, 0], [4, 0], [1, 0], [0, 1], [6, 0], [8, 0]])[None]
    torch.testing.assert_close(window_similarity(x, layout), torch.tensor([[1 / 3, 1.0]]))
    found = merge_windows(x, torch.tensor([[1]], dtype=torch.int32), layout)
    assert found.x[0].tolist() == [[9, 9], [5, 0], [1, 0], [0, 1], [1, 0], [0, 1]]
    assert found.position[0].tolist() == [0, 2, 3, 1, 1, 4, 5, 1, 1]


@pytest.mark.parametrize("prefix", [0, 1])
def test_the_global_count_is_by_mean_and_deviation(prefix: int) -> None:
    """As the published code counts: of all best cosines but the first source's."""
    tokens = torch.randn(30, 6, generator=torch.Generator().manual_seed(4))
    unit = (tokens / tokens.norm(dim=1, keepdim=True)).numpy()
    scores = unit[0::2] @ unit[1::2].T
    best = scores.max(axis=1)
    if prefix:
        best[0] = -np.inf
    threshold = best[1:].mean() + best[1:].std(ddof=1) / 5
    assert _adaptive_count(tokens, prefix, 5) == (best >= threshold).sum() > 0


@pytest.mark.parametrize("base", [TINY_SEGMENTER, TINY, TINY_ATM], ids=["Segmenter", "PruneHead", "ATMHead"])
def test_as_published_it_is_the_fixed_form_at_its_counts(base: dict, validated: Callable[..., Recipe]) -> None:
    """The adaptive form's own counts, image by image; the fixed form with them merges the same tokens and predicts the same."""
    asked = {"windows": 1, "r": 1, "threshold": 0.4, "blocks": (1, 3)}
    model, _ = model_from_recipe(validated({ALGM: asked, ("output",): "scores"}, base))
    counts = set()
    for seed in (1, 2, 3):
        image = image_of(1, seed)
        adaptive = PublishedModel(model, validated({ALGM: asked, ("output",): "scores"}, base))
        (published,) = adaptive.run([image])
        windows, r = (published.outputs[name].numel() for name in ("merged_windows_1", "merge_source_3"))
        assert windows and r
        counts.add((windows, r))
        fixed = fixed_from_model(
            model, validated({ALGM: {**asked, "windows": windows, "r": r}, ("output",): "scores"}, base)
        )
        with torch.no_grad():
            outputs = fixed.trace(image).outputs
        for name in ("merged_windows_1", "merge_source_3", "merge_target_3", "merge_kept_3", "source"):
            assert outputs[name][0].tolist() == published.outputs[name].tolist(), name
        torch.testing.assert_close(outputs["scores"][0], published.outputs["scores"], atol=1e-4, rtol=1e-3)
    assert len(counts) > 1, "counts are the image's own"


@pytest.mark.parametrize("base", [TINY_SEGMENTER, TINY], ids=["Segmenter", "SegViT"])
def test_the_exported_graph_is_the_fixed_form(base: dict, validated: Callable[..., Recipe]) -> None:
    """Batch 2 with different windows, both graphs, another image than the export's."""
    recipe = validated(
        {ALGM: {"windows": 6, "r": 9}, ("input", "shape"): (2, 3, 128, 128), ("output",): "scores"}, base
    )
    fixed = fixed_of(recipe)
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    image = image_of(2)
    with torch.no_grad():
        trace = fixed.trace(image)
    assert trace.outputs["merged_windows_1"][0].tolist() != trace.outputs["merged_windows_1"][1].tolist()
    for graph in (graphs.with_functions, graphs.tensorrt):
        lint_model(graph).raise_for_findings()
        found = OnnxRuntimeRunner(graph.SerializeToString(), extra_outputs=graphs.inner).run(image.numpy())
        for name in fixed.decisions:
            np.testing.assert_array_equal(found[name], trace.outputs[name].numpy(), err_msg=name)
        np.testing.assert_allclose(found["scores"], trace.outputs["scores"].numpy(), atol=1e-4, rtol=1e-3)


def test_patches_are_followed_on_a_device(validated: Callable[..., Recipe]) -> None:
    fixed = fixed_of(validated({ALGM: {"windows": 6, "r": 9}}, TINY_SEGMENTER))
    with torch.no_grad():
        outputs = fixed.trace(image_of(1)).outputs
    decisions = {name: outputs[name][0].numpy() for name in fixed.decisions}
    followed = merge_map_from_decisions((8, 8), fixed.manifest["merges"], decisions)
    np.testing.assert_array_equal(followed.final_token.ravel(), outputs["source"][0, 1:].numpy())
    assert [(block.merged, block.left) for block in followed.blocks] == [(18, 47), (9, 38)]


def test_windows_that_swap_places_are_another_decision() -> None:
    """Their order decides what the global step compares: a near tie where their scores are close, else an error."""
    score = np.array([[0.5, 0.9, 0.9 + 1e-7, 0.1]])
    name = "merged_windows_1"
    for other, near in (([1, 2], True), ([2, 0], False)):
        reference = {name: np.array([[2, 1]] if near else [[0, 2]])}
        (found,) = decisions_between({name: np.array([other])}, reference, {name: score}, {})
        assert not found.equal and found.near_tie is near
    (same,) = decisions_between({name: np.array([[2, 1]])}, {name: np.array([[2, 1]])}, {name: score}, {})
    assert same.equal


def test_an_imposed_decision_is_carried_out(validated: Callable[..., Recipe]) -> None:
    fixed = fixed_of(validated({ALGM: {"windows": 3, "r": 9}}, TINY_SEGMENTER))
    image = image_of(1)
    with torch.no_grad():
        own = fixed.trace(image).outputs["merged_windows_1"]
        imposed = torch.tensor([[w for w in range(16) if w not in own[0].tolist()][:3]], dtype=torch.int32)
        trace = fixed.trace(image, imposed={"merged_windows_1": imposed})
    assert torch.equal(trace.outputs["merged_windows_1"], own), "the own one is told"
    places = trace.origin[0, 1:].reshape(4, 2, 4, 2).permute(0, 2, 1, 3).reshape(16, 4)
    together = [window for window in range(16) if len(set(places[window].tolist())) == 1]
    assert set(imposed[0].tolist()) <= set(together)


def test_verification_passes_and_documents_agree(validated: Callable[..., Recipe]) -> None:
    recipe = validated({ALGM: {"windows": 6, "r": 9}}, TINY_SEGMENTER)
    fixed = fixed_of(recipe)
    batch = ImageBatch(("one",), image_of(1).numpy(), {})
    assert original_comparison(fixed, reference_of(fixed, batch)).status == "passed"
    assert [block.tokens_out for block in token_schedule(recipe).blocks] == [47, 38, 38, 38]
    merging = tokens_json(recipe)["merging"]
    assert merging["realised"] == [18, 9, 0, 0] and merging["windows"] == [2, 0, 0, 0] and merging["tokens_out"] == 38


def test_defaults(validated: Callable[..., Recipe]) -> None:
    spec = validated({ALGM: {"windows": 0, "r": 100}}, TINY_SEGMENTER).reductions["algm"]
    assert (spec.blocks, spec.threshold) == ((1, 2), 0.88)
    deep = validated({ALGM: {"windows": 1, "r": 1}, ("model", "backbone", "num_layers"): 12}, TINY_SEGMENTER)
    assert deep.reductions["algm"].blocks == (1, 5), "as published"


@pytest.mark.parametrize(
    ("base", "entry", "message"),
    [
        (TINY_SEGMENTER, {"r": 1}, "reduction.algm | required key 'windows' is missing"),
        (TINY_SEGMENTER, {"windows": 1}, "reduction.algm | required key 'r' is missing"),
        (TINY_SEGMENTER, {"windows": 17, "r": 1}, "reduction.algm.windows = 17 | exceeds the 16 windows of 2x2 patches | use 0 to 16"),
        (TINY_SEGMENTER, {"windows": 1, "r": 1, "blocks": (3, 3)}, "reduction.algm.blocks = (3, 3) | expected two blocks, the first before the second, of 1 to 4"),
        (TINY_SEGMENTER, {"windows": 1, "r": 1, "blocks": (1, 5)}, "reduction.algm.blocks = (1, 5) | expected two blocks"),
        (TINY_SEGMENTER, {"windows": 1, "r": 1, "threshold": 1.5}, "reduction.algm.threshold = 1.5 | out of range"),
        (TINY_SEGMENTER, {"windows": 1, "r": 1, "window": 2}, "reduction.algm.window = 2 | unknown key 'window' | did you mean 'windows'?"),
        (TINY_TIMM, {"windows": 1, "r": 1}, "unsupported: ALGM is for SegViT and Segmenter; a timm ViT takes"),
    ],
)  # fmt: skip
def test_what_is_refused(base: dict, entry: dict, message: str, refused: Callable[..., str]) -> None:
    assert message in refused({ALGM: entry}, base)


def test_an_odd_grid_has_no_windows(refused: Callable[..., str]) -> None:
    message = refused({ALGM: {"windows": 1, "r": 1}, ("input", "shape"): (1, 3, 112, 128)}, TINY_SEGMENTER)
    assert "a grid of 7 x 8 patches does not divide into 2 x 2 windows" in message
