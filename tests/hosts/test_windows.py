"""Windows that slide: mmsegmentation's own function, every form of the model, counts, and what a device is told."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_cases import TINY, TINY_ATM, TINY_SEGMENTER

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.commands.request import request_from_arguments
from edgeexport.errors import RecipeError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.tokens import account, tokens_json
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model
from edgeexport.inputs.batches import ImageBatch
from edgeexport.recipe.schema import Recipe
from edgeexport.tokens.windows import CutWindows, JoinedWindows, WindowGrid
from edgeexport.verify.parity import batch_comparison, original_comparison, reference_of, runtime_comparison

SLIDE = {"mode": "slide", "crop_size": (64, 96), "stride": (48, 64)}
SHAPE, TEST = ("input", "shape"), ("model", "test_cfg")
# 100 x 150 is no multiple of a patch: only windows have to be. 2 x 2 windows, the last of each axis moved back.
SLID = {TEST: SLIDE, SHAPE: (1, 3, 100, 150)}


def fixed_of(recipe: Recipe) -> FixedModel:
    return fixed_from_model(model_from_recipe(recipe)[0], recipe)


def slide_inference(image: torch.Tensor, grid: WindowGrid, predict: Callable, classes: int) -> torch.Tensor:
    """mmsegmentation's own, with ``predict`` as the model: a window (B, 3, h, w) -> logits (B, K, h, w)."""
    segmentor = pytest.importorskip("mmseg.models.segmentors.encoder_decoder").EncoderDecoder
    stands_in = SimpleNamespace(
        test_cfg=SimpleNamespace(stride=grid.stride, crop_size=grid.window),
        out_channels=classes,
        encode_decode=lambda window, metas: predict(window),
    )
    return segmentor.slide_inference(stands_in, image, [{}])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_windows_are_mmsegmentations(data: st.DataObject) -> None:
    """Any image, window and stride: the same places, the same averages."""
    window = tuple(data.draw(st.integers(1, 6)) for _ in range(2))
    image = tuple(side + data.draw(st.integers(0, 9)) for side in window)
    stride = tuple(data.draw(st.integers(1, side)) for side in window)
    grid = WindowGrid(image, window, stride)
    pixels = torch.randn(2, 3, *image, generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []

    def predict(crop: torch.Tensor) -> torch.Tensor:
        seen.append(crop)
        return crop * (1 + len(seen))

    wanted = slide_inference(pixels, grid, predict, 3)
    cut = CutWindows(grid)(pixels)
    assert grid.count == len(seen)
    torch.testing.assert_close(cut.unflatten(0, (2, -1)), torch.stack(seen, dim=1))
    weights = torch.arange(2, 2 + grid.count, dtype=torch.float32).repeat(2)[:, None, None, None]
    torch.testing.assert_close(JoinedWindows(grid)(cut * weights), wanted)


@pytest.mark.parametrize("base", [TINY_SEGMENTER, TINY, TINY_ATM], ids=["Segmenter", "PruneHead", "ATMHead"])
def test_scores_are_those_of_slide_inference(base: dict, validated: Callable[..., Recipe]) -> None:
    recipe = validated({**SLID, ("output",): "scores"}, base)
    assert recipe.facts.windows == 4 and recipe.facts.grid == (4, 6) and recipe.facts.image == (64, 96)
    fixed = fixed_of(recipe)
    whole = fixed_from_model(fixed.model, validated({SHAPE: (1, 3, 64, 96), ("output",): "scores"}, base))
    image = torch.randn(1, 3, 100, 150, generator=torch.Generator().manual_seed(1))
    grid = WindowGrid((100, 150), (64, 96), (48, 64))
    with torch.no_grad():
        wanted = slide_inference(image, grid, lambda crop: whole.trace(crop.contiguous()).outputs["scores"], 5)
        found = fixed.trace(image).outputs["scores"]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


_CTS = {"num_shared": 3, "align_tokens": 1}
_DTOP = {"prune": {2: 4}, "protect_per_class": 0}
CASES = {
    "Segmenter, CTS": (TINY_SEGMENTER, {"cts": _CTS}),
    "Segmenter, ALGM": (TINY_SEGMENTER, {"algm": {"windows": 2, "r": 4}}),
    "SegViT, CTS and DToP": (TINY, {"cts": _CTS, "dtop": _DTOP}),
    "ATMHead, ToMe": (TINY_ATM, {"tome": {"r": 4}}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "Segmenter" in name else [pytest.mark.slow]) for name in CASES]
)
def test_every_form_agrees_window_by_window(name: str, validated: Callable[..., Recipe]) -> None:
    """As published, fixed and exported (both graphs), two images at a time, decisions of every window among it."""
    base, reduction = CASES[name]
    recipe = validated({TEST: SLIDE, SHAPE: (2, 3, 100, 150), ("reduction",): reduction}, base)
    fixed = fixed_of(recipe)
    pixels = torch.randn(2, 3, 100, 150, generator=torch.Generator().manual_seed(1)).numpy()
    reference = reference_of(fixed, ImageBatch(("one", "two"), pixels, {}))
    windows = recipe.facts.windows
    assert reference.outputs["class_map"].shape == (2, 100, 150)
    for decision in fixed.decisions:
        rows = reference.outputs[decision]
        assert rows.shape[0] == 2 * windows
        assert len({tuple(row) for row in rows.tolist()}) > 1, "windows decide by themselves"
    assert original_comparison(fixed, reference).status == "passed"
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    for graph in (graphs.with_functions, graphs.tensorrt):
        lint_model(graph).raise_for_findings()
        runner = OnnxRuntimeRunner(graph.SerializeToString(), extra_outputs=graphs.inner)
        assert runtime_comparison(fixed, reference, runner).status == "passed"
    assert batch_comparison(fixed, reference, runner).status == "passed"


def test_work_is_all_windows(validated: Callable[..., Recipe]) -> None:
    reduction = {("reduction",): {"cts": {"num_shared": 3, "align_tokens": 1}}}
    slid = account(validated({**SLID, **reduction}, TINY_SEGMENTER)).reduced
    one = account(validated({SHAPE: (1, 3, 64, 96), **reduction}, TINY_SEGMENTER)).reduced
    assert slid.total == 4 * one.total and slid.policy == 4 * one.policy
    document = tokens_json(validated({**SLID, **reduction}, TINY_SEGMENTER))
    assert document["windows"] == {"count": 4, "size": [64, 96]}
    assert document["blocks"][0]["tokens_in"] == 24 - 9
    assert "windows" not in tokens_json(validated({}, TINY_SEGMENTER))


def test_a_device_is_told(validated: Callable[..., Recipe]) -> None:
    assert fixed_of(validated(SLID, TINY_SEGMENTER)).manifest["windows"] == 4
    assert "windows" not in fixed_of(validated({}, TINY_SEGMENTER)).manifest


def test_the_fast_tail_is_for_whole_images(validated: Callable[..., Recipe], refused: Callable[..., str]) -> None:
    assert validated(SLID, TINY_SEGMENTER).tail.form == "plain"
    message = refused({**SLID, ("tail",): {"form": "fast"}}, TINY_SEGMENTER)
    assert "tail.form = 'fast' | unsupported: windows are averaged at the image's resolution" in message


def test_windows_of_cts_are_whole(refused: Callable[..., str]) -> None:
    slide = {**SLID, TEST: {**SLIDE, "crop_size": (64, 80)}, ("reduction",): {"cts": {"num_shared": 3}}}
    message = refused(slide, TINY_SEGMENTER)
    assert "model.test_cfg.crop_size = (64, 80) | the width 80 is not divisible by 32" in message


def test_the_class_map_is_the_argmax_of_the_average(validated: Callable[..., Recipe]) -> None:
    fixed = fixed_of(validated(SLID, TINY_SEGMENTER))
    with torch.no_grad():
        outputs = fixed.trace(torch.randn(1, 3, 100, 150)).outputs
    np.testing.assert_array_equal(outputs["class_map"].numpy(), outputs["class_scores"].argmax(dim=1).numpy())


def test_too_many_tokens_for_tensorrt_are_told_before_anything_is_computed() -> None:
    """Whole, the image's 8192 patches exceed TopK's limit; by windows, and without a choice of tokens, it is fine."""
    size = "input.shape=(1, 3, 1024, 2048)"
    slide = "model.test_cfg={'mode': 'slide', 'crop_size': (512, 512), 'stride': (512, 512)}"
    with pytest.raises(RecipeError, match=r"reduction.cts \| sorts 8192 tokens of 1024 x 2048 pixels, .* at most 3840"):
        request_from_arguments("segmenter_cts", "orin", cfg_options=[size])
    assert request_from_arguments("segmenter_cts", "orin", cfg_options=[size, slide]).recipe.facts.windows == 8
    request_from_arguments("segmenter", "orin", cfg_options=[size])
    request_from_arguments("segmenter_cts", "cpu", cfg_options=[size])
