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
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgeexport.bundle import Bundle, sha256_of
from edgeexport.errors import BundleError, ImageError, UsageError
from edgeexport.predict import default_output_folder, predict_images
from edgeexport.recipe.schema import InputSpec
from edgeexport.report.merge_map import MergeMap

SIDE = 32  # pixels of the model's image; 4 x 4 patches of 8
PALETTE = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]


def _constant(name: str, value: NDArray) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)


# 4 x 4 patches and a class token: tokens 2, 4, ... 16 may merge into 1, 3, ... 15. Row v is what happens where the first
# pixel's blue is v (mod 4).
SOURCES = np.array([[2, 16], [4, 14], [6, 12], [8, 10]], np.int32)
TARGETS = np.array([[1, 1], [3, 5], [7, 7], [15, 1]], np.int32)
KEPT = np.array([sorted({2, 4, 6, 8, 10, 12, 14, 16} - {*row}) for row in SOURCES.tolist()], np.int32)
LOGITS = np.log(np.array([[6, 1, 1, 1, 0.5, 0.5], [1, 5, 2, 1, 0.5, 0.5], [1, 2, 4, 1, 1, 1], [2, 2, 1, 3, 1, 1]]) / 10)
MERGES = [
    {"block": 3, "raster": False, "dense": None, "kind": "alternate", "tokens": 17, "prefix": 1, "r": 2}
    | {"columns": 0, "window": 0}
]


def _model(batch: int, output: str) -> onnx.ModelProto:
    """Class of a pixel = red // 64; the first pixel's blue (mod 4) is the shared window, its green the pruned token.

    Blue also chooses the logits and the merges (see `SOURCES`).
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.INT32),
        helper.make_node("Gather", ["numbers", "red"], ["red_plane"], axis=3),
        helper.make_node("Div", ["red_plane", "step"], ["classes"]),
        helper.make_node("Slice", ["numbers", "starts_blue", "ends_blue", "axes"], ["blue"]),
        helper.make_node("Reshape", ["blue", "column"], ["blue_column"]),
        helper.make_node("Mod", ["blue_column", "four"], ["shared_windows"]),
        helper.make_node("Slice", ["numbers", "starts_green", "ends_green", "axes"], ["green"]),
        helper.make_node("Reshape", ["green", "column"], ["pruned_tokens_2"]),
    ]
    tables = {"merge_source_3": SOURCES, "merge_target_3": TARGETS, "merge_kept_3": KEPT}
    tables["all_logits"] = LOGITS.astype(np.float32)
    nodes.append(helper.make_node("Reshape", ["shared_windows", "flat"], ["choice"]))
    nodes += [helper.make_node("Gather", [f"table_{name}", "choice"], [name]) for name in tables]
    if output == "logits":
        nodes.append(helper.make_node("Identity", ["all_logits"], ["logits"]))
        declared = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 6])
    elif output == "class_map":
        nodes.append(helper.make_node("Identity", ["classes"], ["class_map"]))
        declared = helper.make_tensor_value_info("class_map", TensorProto.INT32, [batch, SIDE, SIDE])
    else:
        nodes += [
            helper.make_node("Unsqueeze", ["classes", "one"], ["classes_4d"]),
            helper.make_node("Equal", ["classes_4d", "all_classes"], ["hot"]),
            helper.make_node("Cast", ["hot"], ["scores"], to=TensorProto.FLOAT),
        ]
        declared = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 4, SIDE, SIDE])
    constants = [
        *(_constant(f"table_{name}", table) for name, table in tables.items()),
        _constant("flat", np.array([-1], np.int64)),
        _constant("red", np.array(2, np.int64)),  # the graph takes BGR
        _constant("step", np.array(64, np.int32)),
        _constant("four", np.array(4, np.int32)),
        _constant("starts_blue", np.array([0, 0, 0], np.int64)),
        _constant("ends_blue", np.array([1, 1, 1], np.int64)),
        _constant("starts_green", np.array([0, 0, 1], np.int64)),
        _constant("ends_green", np.array([1, 1, 2], np.int64)),
        _constant("axes", np.array([1, 2, 3], np.int64)),
        _constant("column", np.array([batch, 1], np.int64)),
        _constant("one", np.array([1], np.int64)),
        _constant("all_classes", np.arange(4, dtype=np.int32).reshape(1, 4, 1, 1)),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, SIDE, SIDE, 3])
    graph = helper.make_graph(nodes, "tiny", [image], [declared], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _bundle(
    folder: Path,
    *,
    batch: int = 1,
    output: str = "class_map",
    dense: bool = False,
    merges: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    folder.mkdir(parents=True)
    model = folder / "model.onnx"
    onnx.save(_model(batch, output), model)
    shapes = {"class_map": [batch, SIDE, SIDE], "scores": [batch, 4, SIDE, SIDE], "logits": [batch, 6]}
    merged = {"merge_source_3": 2, "merge_target_3": 2, "merge_kept_3": 6} if merges else {}
    decisions = [
        {"name": "shared_windows", "dtype": "int32", "shape": [batch, 1]},
        {"name": "pruned_tokens_2", "dtype": "int32", "shape": [batch, 1]},
    ]
    manifest = {
        "schema": "edgeexport.bundle/1",
        "name": "tiny",
        "target": "cpu",
        "precision": "fp32",
        "weights": {"origin": "random", "seed": 0, "statement": "random weights, seed 0: predictions mean nothing"},
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": [batch, SIDE, SIDE, 3],
            "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": True},
        },
        "outputs": [{"name": output, "dtype": "int32", "shape": shapes[output]}],
        "inner_outputs": ([] if dense else decisions)
        + [{"name": name, "dtype": "int32", "shape": [batch, count]} for name, count in merged.items()],
        "merges": merges or [],
        "grid": {"rows": 4, "columns": 4, "patch_size": 8},
        "classes": ["red", "green", "blue", "grey"],
        "palette": PALETTE,
        "files": {"model.onnx": sha256_of(model)},
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _photo(path: Path, classes: NDArray, *, window: int = 0, token: int = 0, **options: Any) -> Path:
    """A photograph whose class map at the model's size is ``classes`` (SIDE, SIDE)."""
    pixels = np.zeros((*classes.shape, 3), np.uint8)
    pixels[..., 0] = classes * 64 + 30
    pixels[0, 0, 1], pixels[0, 0, 2] = token, window
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def _pattern(seed: int) -> NDArray:
    return np.random.default_rng(seed).integers(0, 4, (SIDE, SIDE))


def _labels(path: Path) -> NDArray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("output", ["class_map", "scores"])
def test_label_map_holds_class_numbers_and_colours(tmp_path: Path, output: str) -> None:
    photo = _photo(tmp_path / "x.png", _pattern(0))
    found = predict_images(_bundle(tmp_path / "b", output=output), [photo], tmp_path / "out")
    assert found.error is None
    (result,) = found.images
    assert result.labels == tmp_path / "out" / "x_labels.png"
    assert np.array_equal(_labels(result.labels), _pattern(0))
    with Image.open(result.labels) as labels:
        assert labels.mode == "P"
        assert np.array_equal(np.asarray(labels.convert("RGB")), np.array(PALETTE, np.uint8)[_pattern(0)])
    shares = {entry.name: entry.share for entry in result.classes}
    assert shares["blue"] == pytest.approx(float((_pattern(0) == 2).mean()))
    assert [entry.share for entry in result.classes] == sorted(shares.values(), reverse=True)
    json.dumps(found.as_dict())
    with Image.open(result.overlay) as overlay:
        assert overlay.width >= 960


def test_result_has_the_photographs_size(tmp_path: Path) -> None:
    halves = np.zeros((SIDE, SIDE), int)
    halves[:, SIDE // 2 :] = 3
    photo = _photo(tmp_path / "x.png", np.kron(halves, np.ones((5, 3), int)))
    (result,) = predict_images(_bundle(tmp_path / "b"), [photo], tmp_path / "out").images
    labels = _labels(result.labels)
    assert labels.shape == (SIDE * 5, SIDE * 3) == (result.height, result.width)
    assert (labels[:, :40] == 0).all() and (labels[:, -40:] == 3).all()


def test_orientation_tag_is_respected(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    top = np.zeros((SIDE, SIDE * 2), int)
    top[: SIDE // 2] = 3
    photo = _photo(tmp_path / "x.png", top, exif=exif)
    (result,) = predict_images(_bundle(tmp_path / "b"), [photo], tmp_path / "out").images
    labels = _labels(result.labels)
    assert labels.shape == (SIDE * 2, SIDE)
    assert (labels[:, -12:] == 3).all() and (labels[:, :12] == 0).all()  # the top went to the right


def test_decisions_of_each_image_reach_its_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, str, str]] = []

    def record(photo: Image.Image, class_map: NDArray, **given: Any) -> Image.Image:
        drawn.append((given["tokens"], given["title"], given["notice"]))
        return photo

    monkeypatch.setattr("edgeexport.predict.draw_overlay", record)
    photos = [_photo(tmp_path / f"{i}.png", _pattern(i), window=i, token=5 + i) for i in range(3)]
    found = predict_images(_bundle(tmp_path / "b", batch=2), photos, tmp_path / "out")
    for index, (tokens, title, notice) in enumerate(drawn):
        row, column = 2 * (index // 2), 2 * (index % 2)
        assert tokens.shared[row : row + 2, column : column + 2].all() and tokens.shared.sum() == 4
        unshared = np.argwhere(~tokens.shared)
        assert [tuple(at) for at in np.argwhere(tokens.exit_block == 2)] == [tuple(unshared[5 + index])]
        assert title == f"{index}.png | tiny, cpu, fp32"
        assert notice == found.notice == "random weights, seed 0: predictions mean nothing"


def test_dense_bundle_has_no_token_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgeexport.predict.draw_overlay",
        lambda photo, class_map, *, tokens, **rest: photo if tokens is None else 1 / 0,
    )
    weights = {"origin": "checkpoint", "statement": "weights of x.pth"}
    bundle = _bundle(tmp_path / "b", dense=True, weights=weights)
    found = predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0))], tmp_path / "out")
    assert len(found.images) == 1 and found.notice == ""


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_batches_equal_images_one_by_one(tmp_path: Path, batch: int) -> None:
    photos = [_photo(tmp_path / f"{i}.png", _pattern(i), window=i, token=i) for i in range(4)]
    calls: list[tuple[int, int, str]] = []
    found = predict_images(
        _bundle(tmp_path / "b", batch=batch),
        photos,
        tmp_path / "out",
        progress=lambda done, total, path: calls.append((done, total, path.name)),
    )
    for index, result in enumerate(found.images):
        assert np.array_equal(_labels(result.labels), _pattern(index))
    assert calls == [(i + 1, 4, f"{i}.png") for i in range(4)]


def test_same_stem_keeps_every_result(tmp_path: Path) -> None:
    photos = [
        _photo(tmp_path / "a" / "x.png", _pattern(0)),
        _photo(tmp_path / "b" / "x.png", _pattern(1)),
        _photo(tmp_path / "x-2.png", _pattern(2)),
        _photo(tmp_path / "X.bmp", _pattern(3)),
    ]
    found = predict_images(_bundle(tmp_path / "bundle"), photos, tmp_path / "out")
    names = [result.labels.name for result in found.images]
    assert names == ["x_labels.png", "x-2_labels.png", "x-2-2_labels.png", "X-3_labels.png"]
    for index, result in enumerate(found.images):
        assert np.array_equal(_labels(result.labels), _pattern(index))
    assert len({result.overlay for result in found.images}) == 4


def test_no_result_replaces_an_image_given(tmp_path: Path) -> None:
    first = _photo(tmp_path / "x.png", _pattern(0))
    second = _photo(tmp_path / "x_labels.png", _pattern(1))
    before = second.read_bytes()
    found = predict_images(_bundle(tmp_path / "b"), [first, second], tmp_path)
    assert second.read_bytes() == before
    assert [result.labels.name for result in found.images] == ["x-2_labels.png", "x_labels_labels.png"]


def test_unreadable_images_do_not_stop_the_others(tmp_path: Path) -> None:
    good = [_photo(tmp_path / f"{i}.png", _pattern(i)) for i in range(3)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(good[0].read_bytes()[:150])
    images = [good[0], broken, tmp_path / "absent.jpg", good[1], good[2]]
    calls: list[int] = []
    found = predict_images(
        _bundle(tmp_path / "b", batch=2),
        images,
        tmp_path / "out",
        progress=lambda done, total, path: calls.append(done),
    )
    assert [result.image for result in found.images] == good
    for index, result in enumerate(found.images):
        assert np.array_equal(_labels(result.labels), _pattern(index))
    assert calls == [1, 2, 3, 4, 5]
    assert isinstance(found.error, ImageError) and found.error.exit_code == 2
    assert "2 of 5 images" in str(found.error) and "broken.png" in str(found.error)
    assert "absent.jpg: no such image file" in str(found.error)


def test_single_unreadable_image_is_its_own_error(tmp_path: Path) -> None:
    text = tmp_path / "x.jpg"
    text.write_text("no image")
    found = predict_images(_bundle(tmp_path / "b"), [text], tmp_path / "out")
    assert found.images == () and found.error is found.failures[0]
    assert str(found.error).startswith(f"{text} | cannot be read as an image")


def test_many_classes_are_written_with_16_bits(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "b", classes=[f"c{i}" for i in range(300)], palette=[])
    (result,) = predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0))], tmp_path / "out").images
    assert _labels(result.labels).dtype == np.uint16
    assert np.array_equal(_labels(result.labels), _pattern(0))


def test_float_input_is_normalised_here(tmp_path: Path) -> None:
    folder = _bundle(
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
    assert (_labels(result.labels)[:, :16] == 1).all() and (_labels(result.labels)[:, 16:] == 2).all()
    assert [entry.name for entry in result.classes] == ["class 1", "class 2"]


def _drawn_regions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[MergeMap, dict[str, Any]]]:
    """What would have been drawn, image by image."""
    drawn: list[tuple[MergeMap, dict[str, Any]]] = []

    def record(photo: Image.Image, merges: MergeMap, **given: Any) -> Image.Image:
        drawn.append((merges, given))
        return photo

    monkeypatch.setattr("edgeexport.predict.draw_merged_regions", record)
    return drawn


def _groups(merges: MergeMap) -> set[frozenset[int]]:
    """Patches (1..16, as tokens behind the class token) that ended together, where more than one."""
    flat = merges.final_token.ravel()
    together = {frozenset((np.flatnonzero(flat == token) + 1).tolist()) for token in flat}
    return {group for group in together if len(group) > 1}


@pytest.mark.parametrize("batch", [1, 3])
def test_classifier_gives_classes_and_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    drawn = _drawn_regions(monkeypatch)
    bundle = _bundle(tmp_path / "b", batch=batch, output="logits", dense=True, merges=MERGES, palette=[])
    photos = [_photo(tmp_path / f"{i}.png", _pattern(i), window=i) for i in range(4)]
    found = predict_images(bundle, photos, tmp_path / "out")
    expected = [[{1, 2, 16}], [{3, 4}, {5, 14}], [{6, 7, 12}], [{8, 15}, {1, 10}]]
    for index, (result, (merges, given)) in enumerate(zip(found.images, drawn, strict=True)):
        assert _groups(merges) == {frozenset(group) for group in expected[index]}
        assert given["title"] == f"{index}.png | tiny, cpu, fp32" and given["classes"] == result.classes
        assert given["notice"] == "random weights, seed 0: predictions mean nothing"
        assert result.regions == tmp_path / "out" / f"{index}_regions.png" and result.pictures == (result.regions,)
        assert (result.labels, result.overlay, result.tokens_in, result.tokens_out) == (None, None, 17, 15)
        assert len(result.classes) == 5 and result.classes[0].index == index
        assert result.regions.is_file()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i}_regions.png" for i in range(4)]


def test_classifiers_json_and_summary(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "b", output="logits", dense=True, merges=MERGES)
    found = predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0))], tmp_path / "out")
    (image,) = json.loads(json.dumps(found.as_dict()))["images"]
    probabilities = [entry.pop("probability") for entry in image["classes"]]
    assert probabilities == pytest.approx([0.6, 0.1, 0.1, 0.1, 0.05])
    names = ["red", "green", "blue", "grey", "class 4"]
    assert image == {
        "image": str(tmp_path / "x.png"),
        "width": SIDE,
        "height": SIDE,
        "classes": [{"index": index, "name": name} for index, name in enumerate(names)],
        "regions": str(tmp_path / "out" / "x_regions.png"),
        "tokens_in": 17,
        "tokens_out": 15,
    }
    assert found.images[0].summary.startswith("17 -> 15 tokens, red 60.0%, green 10.0%")
    with Image.open(tmp_path / "out" / "x_regions.png") as drawn:
        assert drawn.width > 2000


def test_classifier_without_merges_writes_no_picture(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "b", output="logits", dense=True)
    (result,) = predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0), window=2)], tmp_path / "out").images
    assert result.pictures == () and list((tmp_path / "out").iterdir()) == []
    assert [entry.index for entry in result.classes] == [2, 1, 0, 3, 4]
    assert not {"regions", "labels", "overlay", "tokens_in"} & set(result.as_dict())
    assert result.summary.startswith("blue 40.0%")


def test_segmenter_with_merges_gives_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = _drawn_regions(monkeypatch)
    bundle = _bundle(tmp_path / "b", dense=True, merges=[{**MERGES[0], "dense": "tome"}])
    photo = _photo(tmp_path / "x.png", _pattern(0), window=2)
    (result,) = predict_images(bundle, [photo], tmp_path / "out").images
    ((merges, given),) = drawn
    assert _groups(merges) == {frozenset({6, 7, 12})} and merges.dense and given["classes"] == ()
    assert [path.name for path in result.pictures] == ["x_overlay.png", "x_regions.png", "x_labels.png"]
    assert np.array_equal(_labels(tmp_path / "out" / "x_labels.png"), _pattern(0))
    assert {entry.name for entry in result.classes} == {"red", "green", "blue", "grey"}


def test_segmenter_without_merges_says_what_it_always_said(tmp_path: Path) -> None:
    (result,) = predict_images(
        _bundle(tmp_path / "b"), [_photo(tmp_path / "x.png", np.full((SIDE, SIDE), 2))], tmp_path / "out"
    ).images
    assert set(result.as_dict()) == {"image", "width", "height", "labels", "overlay", "classes"}
    assert result.summary == "blue 100%"


def test_regions_do_not_replace_an_image_given(tmp_path: Path) -> None:
    first, second = (_photo(tmp_path / name, _pattern(0)) for name in ("x.png", "x_regions.png"))
    before = second.read_bytes()
    bundle = _bundle(tmp_path / "b", output="logits", dense=True, merges=MERGES)
    found = predict_images(bundle, [first, second], tmp_path)
    assert second.read_bytes() == before
    assert [path.name for image in found.images for path in image.pictures] == [
        "x-2_regions.png",
        "x_regions_regions.png",
    ]


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        ([{**MERGES[0], "r": 3}], r"merge_source_3 \| holds 2 indices, expected 3"),
        ([{"block": 3, "raster": False, "dense": None}], "are incomplete"),
        ([MERGES[0] | {"tokens": 16}], "takes 16 tokens"),
    ],
)
def test_merges_that_do_not_fit_the_graph(tmp_path: Path, merges: list[dict[str, Any]], message: str) -> None:
    bundle = _bundle(tmp_path / "b", output="logits", dense=True, merges=merges)
    with pytest.raises(BundleError, match=message) as caught:
        predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0))], tmp_path / "out")
    assert caught.value.exit_code == 9


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
    bundle = _bundle(tmp_path / "b", output="logits", dense=True)
    monkeypatch.setattr(Bundle, "input", given)
    with pytest.raises(UsageError, match=message) as caught:
        predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0))], tmp_path / "out")
    assert caught.value.exit_code == 2 and not (tmp_path / "out").exists()


def test_default_folder_is_outside_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = _bundle(tmp_path / "work_dirs" / "tiny-cpu-fp32")
    found = predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0))])
    assert found.folder == default_output_folder(bundle) == Path("predictions/tiny-cpu-fp32")
    assert (tmp_path / "predictions/tiny-cpu-fp32/x_labels.png").is_file()


def test_no_image_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image given"):
        predict_images(_bundle(tmp_path / "b"), [], tmp_path / "out")


def test_output_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written") as caught:
        predict_images(_bundle(tmp_path / "b"), [_photo(tmp_path / "x.png", _pattern(0))], tmp_path / "out")
    assert caught.value.exit_code == 2 and (tmp_path / "out").read_text() == "mine"


def test_full_disk_keeps_the_older_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, photo, out = _bundle(tmp_path / "b"), _photo(tmp_path / "x.png", _pattern(0)), tmp_path / "out"
    predict_images(bundle, [photo], out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def full(path: Path, data: bytes) -> int:
        path.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="No space left on device"):
        predict_images(bundle, [photo], out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_manifest_without_grid_is_a_damaged_bundle(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "b", grid=None)
    with pytest.raises(BundleError, match="is incomplete") as caught:
        predict_images(bundle, [_photo(tmp_path / "x.png", _pattern(0))], tmp_path / "out")
    assert caught.value.exit_code == 9


def test_decisions_that_do_not_fit_the_grid(tmp_path: Path) -> None:
    photo = _photo(tmp_path / "x.png", _pattern(0), token=13)  # 13 tokens: 0..12
    with pytest.raises(BundleError, match=r"pruned_tokens_2 \| holds indices 13 to 13, expected 0 to 12"):
        predict_images(_bundle(tmp_path / "b"), [photo], tmp_path / "out")


def test_imports_without_torch_or_onnx() -> None:
    code = (
        "import sys; sys.modules.update(torch=None, onnx=None, mmengine=None, mmseg=None)\n"
        "import edgeexport.predict, edgeexport.report.html, edgeexport.device.doctor"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
