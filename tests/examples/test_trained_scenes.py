"""The shipped weights: what they were trained on, and that they still see what they saw."""

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
from examples.scenes.classes import CLASSES, PALETTE
from examples.scenes.scene import draw_scene
from examples.scenes.training_forward import class_fractions, forward_for_training, uniform_windows

TRAINING = Path(__file__).resolve().parents[2] / "examples" / "scenes" / "training"
HELD_OUT = 24


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


def test_recipe_names_the_generators_classes() -> None:
    recipe = load_recipe("scenes_dense.py")
    assert recipe.classes == CLASSES
    assert recipe.palette == PALETTE


def test_weights_segment_held_out_scenes(scenes: list[tuple[Image.Image, np.ndarray]]) -> None:
    dense = _miou("scenes_dense.py", scenes)
    assert 70 < dense < 92
    assert _miou("scenes_cts_dtop.py", scenes) > dense - 2.5  # 24 scenes; the table has 300
    assert _miou("scenes_tome.py", scenes) > dense - 2.5


def test_log_and_settings_belong_to_one_training() -> None:
    settings = json.loads((TRAINING / "run.json").read_text())["settings"]
    lines = [json.loads(line) for line in (TRAINING / "log.jsonl").read_text().splitlines()]
    for phase, key in (("policy", "policy_steps"), ("segmenter", "steps")):
        assert max(line.get("step", 0) for line in lines if line["phase"] == phase) == settings[key]
    losses = [line["loss"] for line in lines if line["phase"] == "segmenter" and "loss" in line]
    assert losses[-1] < losses[0] / 3


@pytest.mark.parametrize(("num_shared", "prune"), [(0, {}), (24, {3: 48, 4: 24}), (0, {4: 128})])
def test_training_computes_what_the_fixed_form_does(
    num_shared: int, prune: dict[int, int], scenes: list[tuple[Image.Image, np.ndarray]]
) -> None:
    reduction: dict[str, object] = {"cts": {"num_shared": num_shared}} if num_shared else {}
    reduction |= {"dtop": {"prune": prune}} if prune else {}
    recipe = load_recipe("scenes_dense.py", [f"reduction={reduction!r}", "output='scores'"])
    model, _ = model_from_recipe(recipe)
    execution = FixedExecution(model, recipe)
    photo, label = scenes[0]
    pixels = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(v)[None, :, None, None] for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    pixels = (pixels - mean) / std
    with torch.no_grad():
        fractions = class_fractions(torch.from_numpy(label)[None], len(CLASSES), 16)
        policy = None
        if num_shared:
            assert model.policy_net is not None
            logits = model.policy_net(pixels)
            policy = (logits[:, 1] - logits[:, 0]).flatten(1)
        found = forward_for_training(model, pixels, fractions, policy, num_shared, prune)
        large = torch.nn.functional.interpolate(found.scores, size=label.shape, mode="bilinear", align_corners=False)
    assert (large.argmax(dim=1)[0].numpy() == execution.run([photo])[0].class_map).mean() > 0.9999


def test_uniform_windows_are_those_of_one_class() -> None:
    label = torch.zeros(1, 64, 64, dtype=torch.int64)
    label[0, 5, 40] = 3
    assert uniform_windows(label, 32)[0].tolist() == [[True, False], [True, True]]
