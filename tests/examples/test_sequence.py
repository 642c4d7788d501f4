"""Scenes from a camera that drives: the same place from nearer, frame by frame, and written as a folder per sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.scenes.generate import generate
from examples.scenes.sequence import draw_frame


def test_a_frame_hangs_on_its_arguments_alone() -> None:
    first = draw_frame(7, "test", 1, 3, 128)
    draw_frame(7, "test", 2, 3, 128)
    again = draw_frame(7, "test", 1, 3, 128)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.label, again.label)
    with pytest.raises(ValueError, match=r"split \| 'tset' found"):
        draw_frame(7, "tset", 1, 0)


def test_what_is_seen_changes_little_from_frame_to_frame_and_more_over_time() -> None:
    """Frames of one sequence are alike, those of different ones are not."""
    sequences = [[draw_frame(3, "test", index, frame, 128).label for frame in range(0, 6, 1)] for index in range(4)]
    equal = [[float((labels[0] == label).mean()) for label in labels] for labels in sequences]
    near, far = np.mean([row[1] for row in equal]), np.mean([row[5] for row in equal])
    apart = np.mean([(sequences[a][0] == sequences[b][0]).mean() for a in range(4) for b in range(a)])
    assert 1 > near > far > apart
    assert all(row[1] < 1 for row in equal)


def test_every_sequence_is_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    content = generate(out, 5, {"test": 2}, workers=1, sequence=2)
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert names == [
        f"{kind}/test/scene_0000{scene}/frame_00{frame}.png"
        for kind in ("annotations", "images")
        for scene in (0, 1)
        for frame in (0, 1)
    ]
    assert content["sequence"] == 2 and content["counts"]["test"] == 2
    frame = draw_frame(5, "test", 1, 1)
    assert np.array_equal(np.asarray(Image.open(out / "images/test/scene_00001/frame_001.png")), frame.image)
    assert np.array_equal(np.asarray(Image.open(out / "annotations/test/scene_00001/frame_001.png")), frame.label)
    assert generate(out, 5, {"test": 2}, workers=2, sequence=2)["sha256"] == content["sha256"]
