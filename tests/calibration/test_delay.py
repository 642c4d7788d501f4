"""DSM's delay: similarity against a brute force, the rule that proposes, and the command with what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shared_cases import CommandResult

from edgeexport.calibration.calibrate_delay import DelayCalibration, calibrate_delay
from edgeexport.calibration.delay import DelayEvidence, proposed_delay, token_similarity
from edgeexport.calibration.delay_files import delay_recipe_text
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe import load_recipe

RECIPE = '''"""A tiny host."""
model = dict(type="timm", img_size=64, patch_size=8, embed_dim=24, depth=4, num_heads=2, num_classes=5)
input = dict(shape=(1, 3, 64, 64))
reduction = dict({method}=dict(r=4))
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(RECIPE.format(method="dsm"))
    return path


def delay_calibrated(recipe: str | Path, **options: Any) -> DelayCalibration:
    return calibrate_delay(recipe, CalibrationOptions(**options))


def test_similarity_is_the_mean_over_all_pairs() -> None:
    tokens = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    tokens[1, 3] = 0
    found = token_similarity(tokens)
    for image in range(2):
        pairs = []
        for i in range(7):
            for j in range(7):
                if i != j:
                    lengths = tokens[image, i].norm() * tokens[image, j].norm()
                    pairs.append(float(tokens[image, i] @ tokens[image, j] / lengths) if lengths > 0 else 0.0)
        assert found[image].item() == pytest.approx(np.mean(pairs), abs=1e-6)


def test_equal_tokens_are_fully_alike_whatever_their_length() -> None:
    tokens = torch.ones(1, 5, 3) * torch.tensor([1.0, 2.0, 0.5, 7.0, 3.0])[None, :, None]
    assert token_similarity(tokens).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("similarity", "delay"),
    [
        ([0.1, 0.2, 0.3], 0),
        ([0.5, 0.3, 0.2, 0.4], 2),
        ([0.5, 0.4, 0.3], 2),
        ([0.3, 0.3, 0.3], 2),
        ([0.4, 0.2, 0.2, 0.5], 2),
    ],
)
def test_merging_starts_where_similarity_starts_to_rise(similarity: list[float], delay: int) -> None:
    assert proposed_delay(similarity) == delay


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_nothing_after_the_delay_is_lower(similarity: list[float]) -> None:
    delay = proposed_delay(similarity)
    assert all(value > similarity[delay] for value in similarity[delay + 1 :])
    assert all(value >= similarity[delay] for value in similarity[:delay])


def test_evidence_equals_the_models_own_tokens(recipe: Path, tmp_path: Path) -> None:
    """Against timm's forward with hooks that read every block's input and attention."""
    found = delay_calibrated(recipe, out_dir=tmp_path / "out")
    loaded = load_recipe(recipe)
    model, _ = model_from_recipe(loaded)
    seen: list[torch.Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for block in model.blocks:
        block.norm2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    from edgeexport.inputs.batches import image_batches
    from edgeexport.inputs.photos import shipped_photos

    for number, batch in enumerate(image_batches(loaded.input, shipped_photos())):
        seen.clear()
        with torch.no_grad():
            model(torch.from_numpy(batch.pixels))
        expected = [token_similarity(tokens[:, 1:]).item() for tokens in seen]
        np.testing.assert_allclose(found.evidence.similarity[number], expected, atol=1e-5)


def test_files_say_what_they_rest_on(recipe: Path, tmp_path: Path) -> None:
    found = delay_calibrated(recipe, out_dir=tmp_path / "out")
    stored = json.loads(found.files.evidence.read_text())
    assert stored["schema"] == "edgeexport.delay/1"
    assert stored["provenance"] == "measured"
    assert stored["weights"] == "random weights, seed 0: predictions mean nothing"
    assert len(stored["images"]) == len(stored["delay_per_image"]) == len(stored["similarity"]) == 4
    assert len(stored["similarity_mean"]) == 5
    with Image.open(found.files.plot) as plot:
        assert plot.width > 600
    assert found.files.recipe is not None
    written = load_recipe(found.files.recipe)
    assert list(written.reductions) == ["dsm"]
    assert written.reductions["dsm"].delay == found.evidence.delay
    assert written.reductions["dsm"].r == (4, 4, 4, 4)


def test_recipe_with_tome_becomes_dsm(tmp_path: Path) -> None:
    path = tmp_path / "tiny.py"
    path.write_text(RECIPE.format(method="tome"))
    found = delay_calibrated(path, out_dir=tmp_path / "out")
    assert found.files.recipe is not None
    ((key, merge),) = load_recipe(found.files.recipe).reductions.items()
    assert (key, merge.method, merge.r, merge.delay) == ("dsm", "dsm", (4, 4, 4, 4), found.evidence.delay)


def test_what_the_command_line_changed_is_in_the_recipe(recipe: Path, tmp_path: Path) -> None:
    model, _ = model_from_recipe(load_recipe(recipe))
    torch.save(model.state_dict(), tmp_path / "w.pth")
    options = ["reduction.dsm.r=[1, 2, 3, 1]", "reduction.dsm.window=3", "reduction.dsm.metric='q'"]
    found = delay_calibrated(
        recipe, checkpoint=tmp_path / "w.pth", cfg_options=tuple(options), out_dir=tmp_path / "out"
    )
    assert found.files.recipe is not None
    written = load_recipe(found.files.recipe)
    assert written.reductions["dsm"].r == (1, 2, 3, 1)
    assert (written.reductions["dsm"].window, written.reductions["dsm"].metric) == (3, "q")
    assert written.checkpoint is not None
    assert written.checkpoint.samefile(tmp_path / "w.pth")


def test_clips_are_called_clips(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="timm hosts on images, found clips"):
        delay_calibrated("tome_video_vit_l.py", out_dir=tmp_path)


def test_similarity_that_never_rises_gives_no_recipe(recipe: Path, tmp_path: Path) -> None:
    falling = DelayEvidence(("a",), np.array([[0.5, 0.4, 0.3, 0.2, 0.1]]), 4, (4,))
    assert not falling.rises
    assert delay_recipe_text(load_recipe(recipe), falling, tmp_path) is None


def test_the_users_images_are_used(recipe: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        Image.new("RGB", (80, 60), (40 * number, 90, 200 - 40 * number)).save(data / f"{number}.png")
    found = delay_calibrated(recipe, data=data, cfg_options=("input.shape=(2, 3, 64, 64)",), out_dir=tmp_path / "out")
    assert found.evidence.images == ("0.png", "1.png", "2.png"), "no image counts twice, whatever the recipe's batch"


def test_model_that_dsm_cannot_merge_in(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="timm hosts on images") as caught:
        delay_calibrated("segvit_ti.py", out_dir=tmp_path)
    assert caught.value.exit_code == 2


def test_command(recipe: Path, tmp_path: Path, edgeexport: Callable[..., CommandResult]) -> None:
    out = tmp_path / "out"
    done = edgeexport("calibrate", str(recipe), "--delay", "--out-dir", str(out), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["files"]["plot"] == str(out / "delay.png")
    shown = edgeexport("calibrate", str(recipe), "--delay", "--out-dir", str(out))
    assert "delay" in shown.out
    assert "random weights" in shown.out
    refused = edgeexport("calibrate", str(recipe))
    assert refused.code == 2
    assert "--delay" in refused.err
