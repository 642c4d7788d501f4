"""The token-grid oracles, against torch and against cases worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from examples.scenes.ceiling import app, oracle_ceiling, token_fractions, upsample_bilinear


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    scale=st.sampled_from([1, 2, 3, 8, 16]),
    seed=st.integers(0, 2**31),
)
def test_upsampling_equals_torch(rows: int, columns: int, scale: int, seed: int) -> None:
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(seed).random((3, rows, columns), dtype=np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], scale_factor=scale, mode="bilinear", align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(upsample_bilinear(maps, scale), expected, atol=1e-6)


def test_fractions_count_pixels_per_token() -> None:
    label = np.zeros((4, 8), np.uint8)
    label[0, :3] = 1
    label[3, 7] = 255
    fractions = token_fractions(label, 4, 2)
    assert fractions.shape == (2, 1, 2)
    np.testing.assert_allclose(fractions[:, 0, 0], [13 / 16, 3 / 16])
    np.testing.assert_allclose(fractions[:, 0, 1], [15 / 16, 0])


def test_regions_on_the_grid_are_reached_in_full() -> None:
    label = np.zeros((64, 64), np.uint8)
    label[:, 32:] = 1
    ceiling = oracle_ceiling([label], 16, 3)
    assert ceiling.majority[:2] == (100.0, 100.0) and np.isnan(ceiling.majority[2])
    assert ceiling.bilinear_miou == ceiling.majority_miou == 100.0
    assert ceiling.pure_windows == 1.0


def test_majority_by_hand() -> None:
    label = np.zeros((32, 32), np.uint8)
    label[:, :12] = 1  # 12 of the left tokens' 16 columns: they become class 1 whole
    ceiling = oracle_ceiling([label], 16, 2)
    assert ceiling.majority == pytest.approx((100 * 16 / 20, 100 * 12 / 16))
    assert ceiling.pure_windows == 0.0


def test_areas_are_summed_before_the_iou() -> None:
    clean = np.ones((32, 32), np.uint8)
    mixed = np.ones((32, 32), np.uint8)
    mixed[:, :12] = 0
    together = oracle_ceiling([clean, mixed], 16, 2)
    assert together.images == 2
    assert together.majority[1] == pytest.approx(100 * (1024 + 32 * 16) / (1024 + 32 * 20))


def test_ignored_pixels_do_not_count() -> None:
    label = np.zeros((32, 32), np.uint8)
    label[:, 16:] = 1
    label[:4, :] = 255
    ceiling = oracle_ceiling([label], 16, 2)
    assert ceiling.majority == (100.0, 100.0)


@pytest.mark.parametrize("shape", [(30, 32), (16, 32)])
def test_sizes_off_the_grid_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        oracle_ceiling([np.zeros(shape, np.uint8)], 16, 2)


def test_no_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        oracle_ceiling([], 16, 2)


def test_command_prints_both_ceilings(tmp_path: Path) -> None:
    folder = tmp_path / "annotations" / "val"
    folder.mkdir(parents=True)
    label = np.zeros((32, 32), np.uint8)
    label[:, :12] = 1
    Image.fromarray(label).save(folder / "a.png")
    result = CliRunner().invoke(app, [str(tmp_path), "--split", "val"])
    assert result.exit_code == 0
    assert "mIoU" in result.output and "77.50" in result.output


def test_command_without_labels_exits_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert result.exit_code == 2 and "no .png found" in result.output
