"""`predict_images` on bundles that merge tokens: merged regions, classifiers, and manifests that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from predict_cases import (
    MERGES,
    SIDE,
    bundle_of,
    labels_of,
    pattern_of,
    photo_of,
)

from edgeexport.commands.run import predict_images
from edgeexport.errors import BundleError
from edgeexport.pictures.merge_map import MergeMap


def _drawn_regions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[MergeMap, dict[str, Any]]]:
    """What would have been drawn, image by image."""
    drawn: list[tuple[MergeMap, dict[str, Any]]] = []

    def record(photo: Image.Image, merges: MergeMap, **given: Any) -> Image.Image:
        drawn.append((merges, given))
        return photo

    monkeypatch.setattr("edgeexport.commands.drawn_photo.draw_merged_regions", record)
    return drawn


def _groups(merges: MergeMap) -> set[frozenset[int]]:
    """Patches (1..16, as tokens behind the class token) that ended together, where more than one."""
    flat = merges.final_token.ravel()
    together = {frozenset((np.flatnonzero(flat == token) + 1).tolist()) for token in flat}
    return {group for group in together if len(group) > 1}


@pytest.mark.parametrize("batch", [1, 3])
def test_classifier_gives_classes_and_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    drawn = _drawn_regions(monkeypatch)
    bundle = bundle_of(tmp_path / "b", batch=batch, output="logits", dense=True, merges=MERGES, palette=[])
    photos = [photo_of(tmp_path / f"{i}.png", pattern_of(i), window=i) for i in range(4)]
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
    bundle = bundle_of(tmp_path / "b", output="logits", dense=True, merges=MERGES)
    found = predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out")
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
    bundle = bundle_of(tmp_path / "b", output="logits", dense=True)
    (result,) = predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0), window=2)], tmp_path / "out").images
    assert result.pictures == () and list((tmp_path / "out").iterdir()) == []
    assert [entry.index for entry in result.classes] == [2, 1, 0, 3, 4]
    assert not {"regions", "labels", "overlay", "tokens_in"} & set(result.as_dict())
    assert result.summary.startswith("blue 40.0%")


def test_segmenter_with_merges_gives_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = _drawn_regions(monkeypatch)
    bundle = bundle_of(tmp_path / "b", dense=True, merges=[{**MERGES[0], "dense": "tome"}])
    photo = photo_of(tmp_path / "x.png", pattern_of(0), window=2)
    (result,) = predict_images(bundle, [photo], tmp_path / "out").images
    ((merges, given),) = drawn
    assert _groups(merges) == {frozenset({6, 7, 12})} and merges.dense and given["classes"] == ()
    assert [path.name for path in result.pictures] == ["x_overlay.png", "x_regions.png", "x_labels.png"]
    assert np.array_equal(labels_of(tmp_path / "out" / "x_labels.png"), pattern_of(0))
    assert {entry.name for entry in result.classes} == {"red", "green", "blue", "grey"}


def test_segmenter_without_merges_says_what_it_always_said(tmp_path: Path) -> None:
    (result,) = predict_images(
        bundle_of(tmp_path / "b"), [photo_of(tmp_path / "x.png", np.full((SIDE, SIDE), 2))], tmp_path / "out"
    ).images
    assert set(result.as_dict()) == {"image", "width", "height", "labels", "overlay", "classes"}
    assert result.summary == "blue 100%"


def test_regions_do_not_replace_an_image_given(tmp_path: Path) -> None:
    first, second = (photo_of(tmp_path / name, pattern_of(0)) for name in ("x.png", "x_regions.png"))
    before = second.read_bytes()
    bundle = bundle_of(tmp_path / "b", output="logits", dense=True, merges=MERGES)
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
        ([{"block": 3, "raster": False, "dense": None}], r"manifest.json: merges\[0\] \| lacks tokens"),
        ([MERGES[0] | {"tokens": 16}], "takes 16 tokens"),
    ],
)
def test_merges_that_do_not_fit_the_graph(tmp_path: Path, merges: list[dict[str, Any]], message: str) -> None:
    bundle = bundle_of(tmp_path / "b", output="logits", dense=True, merges=merges)
    with pytest.raises(BundleError, match=message) as caught:
        predict_images(bundle, [photo_of(tmp_path / "x.png", pattern_of(0))], tmp_path / "out")
    assert caught.value.exit_code == 9
