"""The table of `python -m benchmarks segmenters`, on two scenes, and of made-up figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.segmenters import measure_segmenters, segmenters_table
from examples.scenes.scene import draw_scene


@pytest.mark.slow
def test_every_form_is_measured_on_the_same_scenes(tmp_path: Path) -> None:
    for index in range(2):
        scene = draw_scene(1, "test", index)
        for kind, pixels in (("images", scene.image), ("annotations", scene.label)):
            folder = tmp_path / kind / "test"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    document = measure_segmenters(tmp_path, "test", None)
    assert [(row["row"], row["form"]) for row in document["rows"]] == [
        ("dense", "fixed"), ("CTS", "fixed"), ("ALGM", "fixed"), ("ALGM", "as published"), ("ToMe", "fixed"),
    ]  # fmt: skip
    dense, *others = document["rows"]
    assert dense["drop"] == 0 and document["data"]["images"] == 2
    for row in others:
        assert row["miou"] == pytest.approx(dense["miou"] - row["drop"], abs=1e-3)
        assert row["tokens_left"] < dense["tokens_left"] == 256
    assert len({row["checkpoint_sha256"] for row in document["rows"] if "checkpoint_sha256" in row}) == 1


def test_a_loss_is_shown_as_a_change_with_its_interval() -> None:
    figures = {"recipe": "x", "form": "fixed", "tokens_left": 184, "gmac": 0.61234, "gmac_with_policy": 1.1}
    interval = {"low": -0.1, "high": 0.6}
    rows = [
        {"row": "dense", "miou": 77.0, "drop": 0.0, "drop_from_dense": {"low": 0.0, "high": 0.0}, **figures},
        {"row": "CTS", "miou": 76.75, "drop": 0.25, "drop_from_dense": interval, **figures},
    ]
    dense, shared = segmenters_table({"rows": rows})
    assert dense["against dense"] == "" and dense["mIoU %"] == "77.00"
    assert shared["against dense"] == "-0.25 (-0.60 to +0.10)" and shared["GMAC"] == "0.612"
