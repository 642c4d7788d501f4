"""CTS: the batched layout against the one by sets, patches and positions against their definition, golden data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cts_graph import OUTPUTS, CtsGraph, cts_model
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from edgeexport.graph.inline import inlined_model
from edgeexport.reductions.cts_layout import (
    SharingLayout,
    layout_fixed,
    layout_reference,
    share_patches,
    share_positions,
    window_scores,
)
from edgeexport.tokens.patches import patches_from_image

GOLDEN_CASES = ["cts_tokens_512", "cts_tokens_batch2"]


def assert_equal_layouts(found: SharingLayout, expected: SharingLayout) -> None:
    for name in ("unshared_patches", "shared_windows", "source"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype == torch.int32
        assert a.tolist() == b.tolist(), name


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, int, int]:
    """Scores (B, rows * columns), S, columns: grids of any aspect, ties, S up to every window."""
    rows, columns, batch = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    windows = rows * columns
    num_shared = draw(st.integers(1, windows) | st.sampled_from([1, windows]))
    value = draw(st.sampled_from([st.sampled_from([-1.0, 0.0, 2.0]), st.floats(-50, 50, width=32)]))
    scores = draw(st.lists(st.lists(value, min_size=windows, max_size=windows), min_size=batch, max_size=batch))
    return torch.tensor(scores, dtype=torch.float32), num_shared, columns


@settings(deadline=None, max_examples=150)
@given(cases())
def test_fixed_layout_equals_reference(case: tuple[Tensor, int, int]) -> None:
    assert_equal_layouts(layout_fixed(*case), layout_reference(*case))


@settings(deadline=None, max_examples=100)
@given(cases())
def test_layout_is_what_its_docstring_says(case: tuple[Tensor, int, int]) -> None:
    """From the definition, patch by patch, without either implementation."""
    scores, num_shared, window_columns = case
    layout = layout_fixed(*case)
    batch, windows = scores.shape
    patches, columns = 4 * windows, 2 * window_columns
    tokens = patches - 3 * num_shared
    assert layout.unshared_patches.shape == (batch, patches - 4 * num_shared)
    assert layout.shared_windows.shape == (batch, num_shared)
    assert layout.source.shape == (batch, patches)
    assert layout.token_source.shape == (batch, tokens)
    for image in range(batch):
        shared = layout.shared_windows[image].tolist()
        assert shared == sorted(set(shared))
        others = [scores[image, w].item() for w in range(windows) if w not in shared]
        assert not others or max(others) <= min(scores[image, w].item() for w in shared)
        unshared = layout.unshared_patches[image].tolist()
        assert unshared == sorted(set(unshared))
        for patch, token in enumerate(layout.source[image].tolist()):
            row, column = divmod(patch, columns)
            window = (row // 2) * window_columns + column // 2
            if window in shared:
                assert token == len(unshared) + shared.index(window)
            else:
                assert token == unshared.index(patch)
        assert layout.token_source[image].tolist() == unshared + [patches + window for window in shared]


def test_equal_scores_share_the_lowest_windows() -> None:
    layout = layout_fixed(torch.zeros(2, 6), 2, 3)
    assert layout.shared_windows.tolist() == [[0, 1], [0, 1]]
    assert layout.unshared_patches[0].tolist() == [4, 5, 10, 11, *range(12, 24)]


def test_every_window_shared_leaves_one_token_each() -> None:
    layout = layout_fixed(torch.rand(2, 6), 6, 2)
    assert layout.unshared_patches.shape == (2, 0)
    assert layout.shared_windows.tolist() == [list(range(6))] * 2
    assert layout.source[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3, 4, 4, 5, 5, 4, 4, 5, 5]


def test_images_of_a_batch_choose_for_themselves() -> None:
    scores = torch.rand(3, 12, generator=torch.Generator().manual_seed(4))
    together = layout_fixed(scores, 4, 4)
    assert len({tuple(row) for row in together.shared_windows.tolist()}) == 3
    for image in range(3):
        alone = layout_fixed(scores[image : image + 1], 4, 4)
        for name in ("unshared_patches", "shared_windows", "source", "token_source"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[image])


def test_window_scores_order_like_the_probability_of_sharing() -> None:
    logits = torch.randn(2, 2, 3, 5, generator=torch.Generator().manual_seed(1))
    scores = window_scores(logits)
    assert scores.shape == (2, 15)
    assert scores[1, 7] == logits[1, 1, 1, 2] - logits[1, 0, 1, 2]
    probability = logits.softmax(dim=1)[:, 1].flatten(1)
    assert torch.equal(scores.argsort(dim=1), probability.argsort(dim=1))


def test_window_scores_keep_their_order_where_the_probability_saturates() -> None:
    logits = torch.tensor([[[[0.0, 0.0]], [[40.0, 50.0]]]])
    assert logits.softmax(dim=1)[0, 1].tolist() == [[1.0, 1.0]]
    assert layout_fixed(window_scores(logits), 1, 2).shared_windows.tolist() == [[1]]


@pytest.mark.parametrize("grid", [(4, 6), (2, 8), (6, 2)])
@pytest.mark.parametrize("num_shared", [1, 3])
def test_shared_patches_are_means_of_2x2_pixels(grid: tuple[int, int], num_shared: int) -> None:
    rows, columns = grid
    patch = 4
    image = torch.rand(2, 3, rows * patch, columns * patch, generator=torch.Generator().manual_seed(rows))
    layout = layout_fixed(torch.rand(2, rows * columns // 4), num_shared, columns // 2)
    found = share_patches(image, layout, patch).unflatten(2, (3, patch, patch))
    for b in range(2):
        tokens = [divmod(p, columns) for p in layout.unshared_patches[b].tolist()]
        for token, (row, column) in enumerate(tokens):
            expected = image[b, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            assert torch.equal(found[b, token], expected)
        for number, window in enumerate(layout.shared_windows[b].tolist()):
            row, column = divmod(window, columns // 2)
            area = image[b, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            expected = area.unflatten(1, (4, 2)).unflatten(3, (4, 2)).mean(dim=(2, 4))
            torch.testing.assert_close(found[b, len(tokens) + number], expected)


def test_pooled_window_equals_bilinear_at_half_scale() -> None:
    """The paper downsamples bilinearly; at scale 1/2 that is the 2x2 mean."""
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    layout = layout_fixed(torch.rand(1, 6), 6, 3)
    half = torch.nn.functional.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(share_patches(image, layout, 16), patches_from_image(half, 16))


@pytest.mark.parametrize("grid", [(4, 6), (6, 2)])
def test_shared_position_is_the_mean_of_its_four(grid: tuple[int, int]) -> None:
    rows, columns = grid
    position = torch.rand(1, rows * columns, 5, generator=torch.Generator().manual_seed(2))
    layout = layout_fixed(torch.rand(3, rows * columns // 4), 2, columns // 2)
    found = share_positions(position, layout, grid)
    assert found.shape == (3, rows * columns - 6, 5)
    for b in range(3):
        for token in range(found.shape[1]):
            covered = [patch for patch, source in enumerate(layout.source[b].tolist()) if source == token]
            assert len(covered) in (1, 4)
            torch.testing.assert_close(found[b, token], position[0, covered].mean(dim=0))


# --- Golden data: what the published implementation selected, and the same through an exported graph ---


@pytest.fixture(params=GOLDEN_CASES)
def golden(request: pytest.FixtureRequest) -> tuple[dict[str, NDArray], int]:
    """Arrays and S of a golden case."""
    default = Path(__file__).resolve().parents[3] / "shared" / "golden"
    folder = Path(os.environ.get("EDGEEXPORT_GOLDEN", default)) / request.param
    if not folder.is_dir():
        pytest.skip(f"golden data not found at {folder}; set EDGEEXPORT_GOLDEN to their folder")
    with np.load(folder / "io.npz") as stored:
        return dict(stored), json.loads((folder / "config.json").read_text())["num_shared"]


def code_from_tokens(token_source: NDArray, columns: int) -> NDArray:
    """(B, n) rows of [patches | windows] -> (B, n, 3): scale, row and column in units of patches."""
    patches = columns * columns
    shared = token_source >= patches
    window = token_source - patches
    row = np.where(shared, window // (columns // 2) * 2, token_source // columns)
    column = np.where(shared, window % (columns // 2) * 2, token_source % columns)
    return np.stack([1 + shared, row, column], axis=2)


def assert_equals_golden(found: dict[str, NDArray], arrays: dict[str, NDArray]) -> None:
    columns = arrays["unshared_grid"].shape[3]
    np.testing.assert_array_equal(code_from_tokens(found["token_source"], columns), arrays["patch_code"])
    grid = found["unshared"].transpose(0, 2, 1).reshape(arrays["unshared_grid"].shape)
    # The reference replicates by interpolating, which rounds: 1 ulp.
    np.testing.assert_allclose(grid, arrays["unshared_grid"], atol=1e-7, rtol=1e-6)
    if "patches" in arrays:
        patches = found["patches"].reshape(arrays["patches"].shape)
        np.testing.assert_allclose(patches, arrays["patches"], atol=1e-4, rtol=1e-3)


def graph_inputs(arrays: dict[str, NDArray]) -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.from_numpy(arrays["policy_logits"])
    size = 32 * logits.shape[2]
    image = torch.from_numpy(arrays["image"]) if "image" in arrays else torch.rand(logits.shape[0], 3, size, size)
    return logits, image, torch.from_numpy(arrays["token_values"])


def test_torch_forms_equal_golden(golden: tuple[dict[str, NDArray], int]) -> None:
    arrays, num_shared = golden
    logits, image, values = graph_inputs(arrays)
    assert logits.shape[0] > 1
    for form in (layout_fixed, layout_reference):
        layout = form(window_scores(logits), num_shared, logits.shape[3])
        rows = torch.stack([value[source.long()] for value, source in zip(values, layout.source, strict=True)])
        patches = share_patches(image, layout, 16)
        tensors = (layout.token_source, layout.source, patches, rows)
        assert_equals_golden({name: t.numpy() for name, t in zip(OUTPUTS, tensors, strict=True)}, arrays)


def test_exported_graph_equals_golden_in_onnxruntime(golden: tuple[dict[str, NDArray], int]) -> None:
    arrays, num_shared = golden
    parts = graph_inputs(arrays)
    module = CtsGraph(*(tuple(part.shape[1:]) for part in parts), num_shared)
    packed = module.pack(*parts)
    # Exported at an example of zeros: nothing of the image may be baked in.
    model = cts_model(module, torch.zeros_like(packed))
    for graph in (model, inlined_model(model)):
        assert_equals_golden(run(graph, packed), arrays)
    # A second, different batch through the same graph: the images in the other order.
    swapped = run(model, packed.flip(0))
    assert_equals_golden({name: value[::-1] for name, value in swapped.items()}, arrays)


@pytest.mark.parametrize(("rows", "columns", "num_shared"), [(2, 3, 6), (3, 1, 2)])
def test_exported_graph_equals_torch_at_limits_and_on_other_grids(rows: int, columns: int, num_shared: int) -> None:
    """S = every window; one column of windows; scores with ties."""
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randint(0, 2, (2, 2, rows, columns), generator=generator).to(torch.float32)
    image = torch.rand(2, 3, 32 * rows, 32 * columns, generator=generator)
    values = torch.rand(2, 4 * rows * columns - 3 * num_shared, 3, generator=generator)
    module = CtsGraph((2, rows, columns), image.shape[1:], values.shape[1:], num_shared)
    packed = module.pack(logits, image, values)
    expected = dict(zip(OUTPUTS, module(packed), strict=True))
    model = cts_model(module, torch.zeros_like(packed))
    for graph in (model, inlined_model(model)):
        found = run(graph, packed)
        for name in ("token_source", "source", "unshared"):
            np.testing.assert_array_equal(found[name], expected[name].numpy())
        np.testing.assert_allclose(found["patches"], expected["patches"].numpy(), atol=1e-6)


def run(model: onnx.ModelProto, packed: Tensor) -> dict[str, NDArray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"packed": packed.numpy()}), strict=True))
