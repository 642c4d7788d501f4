"""`predict_images` on a small hand-made graph whose class map and decisions can be read off the photograph."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image
from predict_cases import (
    PALETTE,
    SIDE,
    bundle_of,
    labels_of,
    pattern_of,
    photo_of,
)

from edgeexport.bundle import Bundle
from edgeexport.commands.run import default_output_folder, predict_images
from edgeexport.errors import BundleError, ImageError, UsageError
from edgeexport.inputs.spec import InputSpec


@pytest.mark.parametrize("output", ["class_map", "scores"])
def test_label_map_holds_class_numbers_and_colours(tmp_path: Path, output: str) -> None:
    photo = photo_of(tmp_path / "x.png", pattern_of(0))
    found = predict_images(bundle_of(tmp_path / "b", output=output), [photo], tmp_path / "out")
    assert found.error is None
    (result,) = found.images
    assert result.labels == tmp_path / "out" / "x_labels.png"
    assert np.array_equal(labels_of(result.labels), pattern_of(0))
    with Image.open(result.labels) as labels:
        assert labels.mode == "P"
        assert np.array_equal(np.asarray(labels.convert("RGB")), np.array(PALETTE, np.uint8)[pattern_of(0)])
    shares = {entry.name: entry.share for entry in result.classes}
    assert shares["blue"] == pytest.approx(float((pattern_of(0) == 2).mean()))
    assert [entry.share for entry in result.classes] == sorted(shares.values(), reverse=True)
    json.dumps(found.as_dict())
    with Image.open(result.overlay) as overlay:
        assert overlay.width >= 960


def test_result_has_the_photographs_size(tmp_path: Path) -> None:
    halves = np.zeros((SIDE, SIDE), int)
    halves[:, SIDE // 2 :] = 3
    photo = photo_of(tmp_path / "x.png", np.kron(halves, np.ones((5, 3), int)))
    (result,) = predict_images(bundle_of(tmp_path / "b"), [photo], tmp_path / "out").images
    labels = labels_of(result.labels)
    assert labels.shape == (SIDE * 5, SIDE * 3) == (result.height, result.width)
    assert (labels[:, :40] == 0).all() and (labels[:, -40:] == 3).all()


def test_orientation_tag_is_respected(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    top = np.zeros((SIDE, SIDE * 2), int)
    top[: SIDE // 2] = 3
    photo = photo_of(tmp_path / "x.png", top, exif=exif)
    (result,) = predict_images(bundle_of(tmp_path / "b"), [photo], tmp_path / "out").images
    labels = labels_of(result.labels)
    assert labels.shape == (SIDE * 2, SIDE)
    assert (labels[:, -12:] == 3).all() and (labels[:, :12] == 0).all()  # the top went to the right


def test_decisions_of_each_image_reach_its_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, str, str]] = []

    def record(photo: Image.Image, class_map: NDArray, **given: Any) -> Image.Image:
        drawn.append((given["tokens"], given["title"], given["notice"]))
        return photo

    monkeypatch.setattr("edgeexport.commands.drawn_photo.draw_overlay", record)
    photos = [photo_of(tmp_path / f"{i}.png", pattern_of(i), window=i, token=5 + i) for i in range(3)]
    found = predict_images(bundle_of(tmp_path / "b", batch=2), photos, tmp_path / "out")
    for index, (tokens, title, notice) in enumerate(drawn):
        row, column = 2 * (index // 2), 2 * (index % 2)
        assert tokens.shared[row : row + 2, column : column + 2].all() and tokens.shared.sum() == 4
        unshared = np.argwhere(~tokens.shared)
        assert [tuple(at) for at in np.argwhere(tokens.exit_block == 2)] == [tuple(unshared[5 + index])]
        assert title == f"{index}.png | tiny, cpu, fp32"
        assert notice == found.notice == "random weights, seed 0: predictions mean nothing"


@pytest.mark.parametrize(("reduced", "warns"), [(2.0, True), (1.0, False)])
def test_the_legend_says_whether_the_reduction_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reduced: float, warns: bool
) -> None:
    """In the amber box where it does not, else behind the title."""
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "edgeexport.commands.drawn_photo.draw_overlay", lambda photo, _, **given: drawn.append(given) or photo
    )
    row = {"precision": "fp32", "power_mode": "MAXN", "reduced_ms": reduced, "dense_ms": 1.5}
    row |= {"reduced_cuda_graph_ms": reduced, "dense_cuda_graph_ms": 1.5}
    counts = {"reduced": 10**9, "dense": 2 * 10**9}
    pays = {"macs": counts, "kernels": {"fp32": {"reduced": 9, "dense": 5}}, "predicted": [row], "composed": False}
    found = predict_images(
        bundle_of(tmp_path / "b", pays=pays), [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out"
    )
    assert found.pays is not None and found.pays.warns is warns
    said = f"{'predicted slower than' if warns else 'predicted 1.50 times as fast as'} its dense model in FP32"
    assert drawn[0]["notice" if warns else "title"].split(" | ")[-1].startswith(said)
    assert drawn[0]["notice"].endswith("predictions mean nothing")


def test_dense_bundle_has_no_token_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgeexport.commands.drawn_photo.draw_overlay",
        lambda photo, class_map, *, tokens, **rest: photo if tokens is None else 1 / 0,
    )
    weights = {"origin": "checkpoint", "statement": "weights of x.pth"}
    bundle = bundle_of(tmp_path / "b", dense=True, weights=weights)
    found = predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out")
    assert len(found.images) == 1 and found.notice == ""


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_batches_equal_images_one_by_one(tmp_path: Path, batch: int) -> None:
    photos = [photo_of(tmp_path / f"{i}.png", pattern_of(i), window=i, token=i) for i in range(4)]
    calls: list[tuple[int, int, str]] = []
    found = predict_images(
        bundle_of(tmp_path / "b", batch=batch),
        photos,
        tmp_path / "out",
        progress=lambda done, total, path: calls.append((done, total, path.name)),
    )
    for index, result in enumerate(found.images):
        assert np.array_equal(labels_of(result.labels), pattern_of(index))
    assert calls == [(i + 1, 4, f"{i}.png") for i in range(4)]


def test_same_stem_keeps_every_result(tmp_path: Path) -> None:
    photos = [
        photo_of(tmp_path / "a" / "x.png", pattern_of(0)),
        photo_of(tmp_path / "b" / "x.png", pattern_of(1)),
        photo_of(tmp_path / "x-2.png", pattern_of(2)),
        photo_of(tmp_path / "X.bmp", pattern_of(3)),
    ]
    found = predict_images(bundle_of(tmp_path / "bundle"), photos, tmp_path / "out")
    names = [result.labels.name for result in found.images]
    assert names == ["x_labels.png", "x-2_labels.png", "x-2-2_labels.png", "X-3_labels.png"]
    for index, result in enumerate(found.images):
        assert np.array_equal(labels_of(result.labels), pattern_of(index))
    assert len({result.overlay for result in found.images}) == 4


def test_no_result_replaces_an_image_given(tmp_path: Path) -> None:
    first = photo_of(tmp_path / "x.png", pattern_of(0))
    second = photo_of(tmp_path / "x_labels.png", pattern_of(1))
    before = second.read_bytes()
    found = predict_images(bundle_of(tmp_path / "b"), [first, second], tmp_path)
    assert second.read_bytes() == before
    assert [result.labels.name for result in found.images] == ["x-2_labels.png", "x_labels_labels.png"]


def test_unreadable_images_do_not_stop_the_others(tmp_path: Path) -> None:
    good = [photo_of(tmp_path / f"{i}.png", pattern_of(i)) for i in range(3)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(good[0].read_bytes()[:150])
    images = [good[0], broken, tmp_path / "absent.jpg", good[1], good[2]]
    calls: list[int] = []
    found = predict_images(
        bundle_of(tmp_path / "b", batch=2),
        images,
        tmp_path / "out",
        progress=lambda done, total, path: calls.append(done),
    )
    assert [result.image for result in found.images] == good
    for index, result in enumerate(found.images):
        assert np.array_equal(labels_of(result.labels), pattern_of(index))
    assert calls == [1, 2, 3, 4, 5]
    assert isinstance(found.error, ImageError) and found.error.exit_code == 2
    assert "2 of 5 images" in str(found.error) and "broken.png" in str(found.error)
    assert "absent.jpg: no such image file" in str(found.error)


def test_single_unreadable_image_is_its_own_error(tmp_path: Path) -> None:
    text = tmp_path / "x.jpg"
    text.write_text("no image")
    found = predict_images(bundle_of(tmp_path / "b"), [text], tmp_path / "out")
    assert found.images == () and found.error is found.failures[0]
    assert str(found.error).startswith(f"{text} | cannot be read as an image")


def test_many_classes_are_written_with_16_bits(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", classes=[f"c{i}" for i in range(300)], palette=[])
    (result,) = predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out").images
    assert labels_of(result.labels).dtype == np.uint16
    assert np.array_equal(labels_of(result.labels), pattern_of(0))


def test_float_input_is_normalised_here(tmp_path: Path) -> None:
    folder = bundle_of(
        tmp_path / "b",
        dense=True,
        input={"name": "image", "dtype": "float32", "shape": [1, 3, SIDE, SIDE], "preprocess": None},
        outputs=[{"name": "scores", "dtype": "float32", "shape": [1, 3, SIDE, SIDE]}],
        files={},
        classes=[],
        palette=[],
    )
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["scores"])], "same", [image], [scores])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, :16, 1] = 255
    pixels[:, 16:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    (result,) = predict_images(folder, [tmp_path / "x.png"], tmp_path / "out").images
    assert (labels_of(result.labels)[:, :16] == 1).all() and (labels_of(result.labels)[:, 16:] == 2).all()
    assert [entry.name for entry in result.classes] == ["class 1", "class 2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (InputSpec(1, 224, 224, None, frames=16), "takes clips of 16 frames"),
        (InputSpec(1, 128, 1024, None, channels=1), "takes spectrograms"),
        (InputSpec(1, 64, 64, None, channels=320, context=(77, 768)), "takes features of a diffusion model"),
        (InputSpec(1, 64, 64, None, channels=4), "takes images of 4 channels"),
    ],
)
def test_models_of_other_things_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: InputSpec, message: str
) -> None:
    bundle = bundle_of(tmp_path / "b", output="logits", dense=True)
    monkeypatch.setattr(Bundle, "input", given)
    monkeypatch.setattr("edgeexport.bundle.bundle._check_input", lambda bundle: None)  # of the manifest as it was
    with pytest.raises(UsageError, match=message) as caught:
        predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out")
    assert caught.value.exit_code == 2 and not (tmp_path / "out").exists()


def test_default_folder_is_outside_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = bundle_of(tmp_path / "work_dirs" / "tiny-cpu-fp32")
    found = predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0))])
    assert found.folder == default_output_folder(bundle) == Path("predictions/tiny-cpu-fp32")
    assert (tmp_path / "predictions/tiny-cpu-fp32/x_labels.png").is_file()


def test_no_image_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image given"):
        predict_images(bundle_of(tmp_path / "b"), [], tmp_path / "out")


def test_output_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written") as caught:
        predict_images(bundle_of(tmp_path / "b"), [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out")
    assert caught.value.exit_code == 2 and (tmp_path / "out").read_text() == "mine"


def test_full_disk_keeps_the_older_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, photo, out = bundle_of(tmp_path / "b"), photo_of(tmp_path / "x.png", pattern_of(0)), tmp_path / "out"
    predict_images(bundle, [photo], out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        predict_images(bundle, [photo], out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_manifest_without_grid_is_a_damaged_bundle(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", grid=None)
    with pytest.raises(BundleError, match=r"manifest.json: grid \| expected object, got null") as caught:
        predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out")
    assert caught.value.exit_code == 9


def test_decisions_that_do_not_fit_the_grid(tmp_path: Path) -> None:
    photo = photo_of(tmp_path / "x.png", pattern_of(0), token=13)  # 13 tokens: 0..12
    with pytest.raises(BundleError, match=r"pruned_tokens_2 \| holds indices 13 to 13, expected 0 to 12"):
        predict_images(bundle_of(tmp_path / "b"), [photo], tmp_path / "out")


def test_imports_without_torch_or_onnx() -> None:
    code = (
        "import sys; sys.modules.update(torch=None, onnx=None, mmengine=None, mmseg=None)\n"
        "import edgeexport.commands.run, edgeexport.report.html, edgeexport.commands.doctor"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
