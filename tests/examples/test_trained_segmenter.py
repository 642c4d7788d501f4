"""The shipped weights of the scenes Segmenter: what they were trained with, and that they still see what they saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas
from edgeexport.evaluation.executions import FixedExecution
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe import load_recipe
from edgeexport.tokens.preprocess import normalised_image
from examples.scenes.classes import CLASSES
from examples.scenes.scene import draw_scene
from examples.scenes.train_segmenter import SegmenterSettings, forward_masks

TRAINING = Path(__file__).resolve().parents[2] / "examples" / "scenes" / "training_segmenter"
HELD_OUT = 10


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Image.Image, np.ndarray]]:
    """Test scenes, which training never saw."""
    drawn = [draw_scene(1, "test", index) for index in range(HELD_OUT)]
    return [(Image.fromarray(scene.image), scene.label.astype(np.int64)) for scene in drawn]


def _miou(name: str, scenes: list[tuple[Image.Image, np.ndarray]]) -> float:
    recipe = load_recipe(name)
    execution = FixedExecution(model_from_recipe(recipe)[0], recipe)
    total = Areas.zero(len(CLASSES))
    for photo, label in scenes:
        total = total + areas_of(execution.run([photo])[0].class_map, label, len(CLASSES))
    return scores_from_areas(total).miou


def test_weights_segment_held_out_scenes(scenes: list[tuple[Image.Image, np.ndarray]]) -> None:
    dense = _miou("scenes_segmenter.py", scenes)
    assert 65 < dense < 92  # 10 scenes; the table has all
    for form in ("cts", "algm", "tome"):
        assert _miou(f"scenes_segmenter_{form}.py", scenes) > dense - 4


def test_the_log_is_of_these_settings() -> None:
    settings = json.loads((TRAINING / "run.json").read_text())["settings"]
    assert settings == {**vars(SegmenterSettings()), "shared": list(SegmenterSettings().shared)}
    lines = [json.loads(line) for line in (TRAINING / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 500 and lines[-1]["loss"] < lines[0]["loss"] / 3
    assert lines[-1]["miou_percent_0_shared"] > 75


@pytest.mark.parametrize("shared", [0, 24])
def test_training_computes_what_is_exported(shared: int) -> None:
    """The pass that is trained gives the scores of the fixed model, dense and with the windows that it shares."""
    recipe = load_recipe("scenes_segmenter_cts.py" if shared else "scenes_segmenter.py")
    model, _ = model_from_recipe(recipe)
    execution = FixedExecution(model, recipe)
    image = torch.randint(0, 256, recipe.input.shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        trace = execution._model.trace(image)
        scores = None
        if shared:
            scores = torch.from_numpy(trace.evidence["shared_windows"].scores(0.0))
        found = forward_masks(model, normalised_image(image, recipe.input), scores, shared)
    torch.testing.assert_close(found, trace.outputs["class_scores"], atol=1e-4, rtol=1e-3)
