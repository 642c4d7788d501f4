"""``edgeexport evaluate --against`` on a small timm model: figures by torch alone, interruption, requests that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_cases import CommandResult

from edgeexport.commands.evaluate_against import evaluate_against
from edgeexport.documents import FIDELITY, read_document
from edgeexport.errors import UsageError
from edgeexport.evaluation.against import AgainstOptions, fidelity_on_photos
from edgeexport.evaluation.dense_beside import beside_dense
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo, open_photo, shipped_photos
from edgeexport.recipe import load_recipe

Command = Callable[..., CommandResult]

RECIPE = '''"""Small."""

model = dict(type="timm", img_size=(32, 32), patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=7, reg_tokens=1)
input = dict(shape=(3, 3, 32, 32))
reduction = dict(tome=dict(r=4))
output = "features"
extra_outputs = ("logits", "source")
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The shipped photographs, of which one is no image, in folders with numbers of classes."""
    for number, photo in enumerate(shipped_photos()):
        folder = tmp_path / "photos" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).write_bytes(photo.read_bytes())
    (folder / "damaged.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


def test_figures_are_those_of_torch_alone(recipe: Path, data: Path, tmp_path: Path) -> None:
    found = evaluate_against(recipe, "dense", AgainstOptions(data, out_dir=tmp_path / "out"))
    loaded = load_recipe(recipe)
    model, _ = model_from_recipe(loaded)
    forms = [fixed_from_model(model, form) for form in (loaded, dense_recipe(loaded))]
    patches, firsts, same, tops = [], [], [], []
    for number, path in enumerate(shipped_photos()):
        image = torch.from_numpy(np.stack([input_from_photo(open_photo(path), loaded.input)] * 3))
        with torch.no_grad():
            ours, theirs = (form.trace(image).outputs for form in forms)
        cosine = torch.nn.functional.cosine_similarity(ours["features"][0], theirs["features"][0], dim=1)
        firsts.append(float(cosine[0]))
        patches.append(float(cosine[2:].mean()))
        best = [int(outputs["logits"][0].argmax()) for outputs in (ours, theirs)]
        same.append(best[0] == best[1])
        tops.append([guess == number % 2 for guess in best])
    assert found.images == 4 and [item.name for item in found.left_out] == ["1/damaged.jpg"]
    assert found.figures["class token"].mean == pytest.approx(np.mean(firsts), abs=1e-5)
    assert found.figures["patch tokens"].mean == pytest.approx(np.mean(patches), abs=1e-5)
    assert found.figures["patch tokens"].mean < 0.9999  # it does merge
    assert found.figures["top class"].mean == np.mean(same)
    sides = found.accuracy["top-1"]
    assert (sides.reduced.mean, sides.against.mean) == tuple(100 * np.mean(tops, axis=0))
    assert "nearest neighbours" in found.accuracy and not found.not_told
    assert dict(read_document(found.file, FIDELITY)) == found.as_dict()


def test_an_interrupted_evaluation_goes_on_with_the_same_result(recipe: Path, data: Path, tmp_path: Path) -> None:
    whole = evaluate_against(recipe, "dense", AgainstOptions(data, out_dir=tmp_path / "whole"))
    notes: list[str] = []
    options = AgainstOptions(data, out_dir=tmp_path / "part")

    def stop(done: int, total: int, name: str) -> None:
        if 0 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_against(recipe, "dense", options, on_progress=stop)
    kept = (tmp_path / "part" / "fidelity.jsonl").read_bytes()
    assert 1 < kept.count(b"\n") < 6
    resumed = evaluate_against(recipe, "dense", options, on_note=notes.append)
    assert any("were done by an earlier run" in note for note in notes)
    assert (tmp_path / "part" / "fidelity.jsonl").read_bytes().startswith(kept)
    assert resumed.as_dict() == whole.as_dict()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"ranks":', '"rinks":', "lacks ranks"),
        ('"vectors":[[', '"vectors":[[0.5,', "vectors"),
        ('"figures":{', '"figures":{"x":"y",', "figures"),
    ],
)
def test_a_damaged_progress_file(old: str, new: str, message: str, recipe: Path, data: Path, tmp_path: Path) -> None:
    options = AgainstOptions(data, limit=3, out_dir=tmp_path / "out")
    evaluate_against(recipe, "dense", options)
    file = tmp_path / "out" / "fidelity.jsonl"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        evaluate_against(recipe, "dense", options)
    assert "fidelity.jsonl" in str(caught.value) and "--restart" in str(caught.value)
    assert message in str(caught.value)


def test_values_that_are_no_numbers_are_told(recipe: Path, data: Path, tmp_path: Path) -> None:
    loaded = load_recipe(recipe)
    model, origin = model_from_recipe(loaded)
    with torch.no_grad():
        model.get_parameter("blocks.0.attn.qkv.weight").fill_(float("nan"))
    with pytest.raises(UsageError, match=r"gives values for 0/.* that are no numbers"):
        fidelity_on_photos(beside_dense(loaded, model, origin), AgainstOptions(data, out_dir=tmp_path / "out"))


def test_on_the_command_line(edgeexport: Command, recipe: Path, data: Path, tmp_path: Path) -> None:
    line = ("evaluate", recipe, "--data", data, "--against", "dense", "--out-dir", tmp_path / "out", "--limit", 2)
    shown = edgeexport(*line)
    assert shown.code == 0, shown.err
    for words in ("small against dense on 2 images", "patch tokens", "nearest neighbours", "predictions mean nothing"):
        assert words in shown.out
    printed = edgeexport(*line, "--json")
    assert json.loads(printed.out) == json.loads((tmp_path / "out" / "fidelity.json").read_text())
    assert "2 of 2 images were done by an earlier run" in printed.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--cfg-options", "reduction=None", "--cfg-options", "extra_outputs=()"), "is its own dense model"),
        (("--against", "denes"), "--against denes | a recipe is compared with its dense model"),
        (("--split", "val"), "--split | belongs to labelled segmentation"),
        (("--form", "fixed", "--reduce-zero-label"), "--form, --reduce-zero-label | belongs to labelled"),
        (("--limit", "0"), "--limit 0 | uses no image"),
        (("--policy-checkpoint", "x.pth"), "--policy-checkpoint | belongs to bundles"),
        (("--cfg-options", "output=source"), "source"),
    ],
)
def test_requests_that_do_not_fit(
    more: tuple[str, ...], message: str, edgeexport: Command, recipe: Path, data: Path, tmp_path: Path
) -> None:
    result = edgeexport("evaluate", recipe, "--data", data, "--out-dir", tmp_path / "o", "--against", "dense", *more)
    assert result.code == 2 and message in result.err and not result.out


@pytest.mark.slow
def test_a_bundle_beside_the_dense_graph_and_beside_a_dense_bundle(
    edgeexport: Command, recipe: Path, data: Path, tmp_path: Path
) -> None:
    for name, more in (("reduced", ()), ("whole", ("--cfg-options", "reduction=None", "extra_outputs=('logits',)"))):
        options = [word for option in more[1:] for word in (more[0], option)]
        built = edgeexport("build", recipe, "--target", "cpu", "--no-plans", "--work-dir", tmp_path / name, *options)
        assert built.code == 0, built.err
    by_recipe = evaluate_against(recipe, "dense", AgainstOptions(data, out_dir=tmp_path / "a"))
    by_bundle = evaluate_against(tmp_path / "reduced", "dense", AgainstOptions(data, out_dir=tmp_path / "b"))
    by_both = evaluate_against(
        tmp_path / "reduced", str(tmp_path / "whole"), AgainstOptions(data, out_dir=tmp_path / "c")
    )
    assert by_bundle.runtime.startswith("ONNX Runtime") and by_recipe.runtime.startswith("torch")
    for name, figure in by_recipe.figures.items():
        assert by_bundle.figures[name].mean == pytest.approx(figure.mean, abs=1e-4)
        assert by_both.figures[name].mean == pytest.approx(figure.mean, abs=1e-4)
    assert (by_both.macs, by_both.against_macs) == (by_bundle.macs, by_bundle.against_macs)
    same = edgeexport("evaluate", tmp_path / "whole", "--data", data, "--against", tmp_path / "whole")
    assert same.code == 2 and "is the same model as whole" in same.err
