"""ALGM's constant counts from what its published thresholds merge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shared_cases import CommandResult

from edgeexport.calibration.calibrate_algm import calibrate_algm, reached
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError

RECIPE = '''"""A Segmenter of a few thousand weights."""

model = dict(
    type="EncoderDecoder",
    backbone=dict(type="VisionTransformer", img_size=64, embed_dims=32, num_layers=3, num_heads=2, final_norm=True),
    decode_head=dict(type="FCNHead", in_channels=32, channels=32, num_classes=4, num_convs=0, concat_input=False),
)
input = dict(shape=(1, 3, 64, 64), preprocess=dict(mean=[127.5] * 3, std=[127.5] * 3))
reduction = dict(algm=dict(windows=1, r=1, blocks=(1, 3), threshold=0.3))
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_algm.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "images" / "val"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(1)
    for number in range(4):
        pixels = np.full((64, 64, 3), 60 * number, dtype=np.uint8)
        pixels[: 16 * (number + 1)] = noise.integers(0, 256, (16 * (number + 1), 64, 3))
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.floats(0.01, 1.0))
def test_so_many_images_reach_the_count(counts: list[int], coverage: float) -> None:
    found = reached(counts, coverage)
    assert sum(count >= found for count in counts) >= coverage * len(counts)
    assert sum(count >= found + 1 for count in counts) < coverage * len(counts), "and it is the largest such"


def test_counts_follow_the_published_form(recipe: Path, images: Path) -> None:
    every = calibrate_algm(recipe, CalibrationOptions(data=images, split="val", coverage=1.0))
    half = calibrate_algm(recipe, CalibrationOptions(data=images, split="val"))
    assert len(every.per_image) == 4 and every.per_image == half.per_image
    assert len({windows for windows, _ in every.per_image}) > 1, "counts are the image's own"
    assert every.windows == min(windows for windows, _ in every.per_image)
    assert every.r == min(r for _, r in every.per_image)
    assert half.windows >= every.windows and half.macs <= every.macs < every.dense_macs
    none = calibrate_algm(recipe, CalibrationOptions(data=images, split="val", threshold=1.0))
    assert none.windows == 0 and none.threshold == 1.0


def test_the_command_proposes_an_entry(recipe: Path, images: Path, edgeexport: Callable[..., CommandResult]) -> None:
    done = edgeexport("calibrate", recipe, "--data", images, "--split", "val", "--limit", 2, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["schema"] == "edgeexport.algm_calibration/1" and len(document["per_image"]) == 2
    told = edgeexport("calibrate", recipe, "--data", images, "--split", "val", "--limit", 2)
    assert f"reduction = dict(algm=dict(windows={document['windows']}, r={document['r']}))" in told.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_miou_drop": 0.5}, "--max-miou-drop: is not for reduction.algm"),
        ({"coverage": 1.5}, "--coverage 1.5: expected a share of images above 0 and at most 1"),
        ({"data": None}, "--data: is missing"),
    ],
)
def test_what_is_refused(recipe: Path, images: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        calibrate_algm(recipe, CalibrationOptions(**{"data": images, **options}))
    assert message.replace(": ", " | ") in str(caught.value) or message in str(caught.value)
    assert caught.value.exit_code == 2
