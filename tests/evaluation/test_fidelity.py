"""What one model's outputs keep of another's: figures, ranks, neighbours, intervals, folders; by brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeexport.errors import UsageError
from edgeexport.evaluation.class_numbers import numbers_of_folders
from edgeexport.evaluation.fidelity import TokenLayout, figures_of, kind_of_figure, rank_of_class, vector_of
from edgeexport.evaluation.fidelity_result import Measured, accuracy_of, figures_over_images
from edgeexport.evaluation.interval import mean_interval
from edgeexport.evaluation.neighbours import left_out_predictions
from edgeexport.evaluation.photo_folder import open_photos

RNG = np.random.default_rng(3)
LAYOUT = TokenLayout(prefix=2, class_token=True)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


def test_figures_of_every_output_against_a_loop() -> None:
    ours = {
        "features": RNG.normal(size=(6, 8)),
        "tap_2": RNG.normal(size=(8, 2, 3)),
        "logits": np.array([1.0, 3.0, 2.0]),
        "class_map": np.array([[0, 1], [2, 2]]),
        "saliency": np.array([[1.0, 2.0]]),
        "source": np.array([1, 2]),
        "size": np.ones(3),
    }
    theirs = {
        name: value + RNG.normal(size=value.shape) for name, value in ours.items() if name not in ("size", "source")
    }
    theirs |= {"class_map": np.array([[0, 1], [2, 0]]), "logits": np.array([1.0, 2.0, 3.0]), "source": np.array([2, 2])}
    found = figures_of(ours, theirs, LAYOUT)
    patches = np.mean([cosine(ours["features"][i], theirs["features"][i]) for i in range(2, 6)])
    tap = np.mean([cosine(ours["tap_2"][:, y, x], theirs["tap_2"][:, y, x]) for y in range(2) for x in range(3)])
    assert found == pytest.approx(
        {
            "class token": cosine(ours["features"][0], theirs["features"][0]),
            "patch tokens": patches,
            "tap_2 patch tokens": tap,
            "logits": cosine(ours["logits"], theirs["logits"]),
            "top class": 0.0,
            "labels": 0.75,
            "saliency": cosine(ours["saliency"][0], theirs["saliency"][0]),
            "saliency mean absolute error": np.abs(ours["saliency"] - theirs["saliency"]).mean(),
        }
    )
    kinds = {name: kind_of_figure(name) for name in found}
    assert {name for name, kind in kinds.items() if kind == "share"} == {"top class", "labels"}
    assert [name for name, kind in kinds.items() if kind == "error"] == ["saliency mean absolute error"]


def test_heat_maps_overlap_where_both_are_at_least_half_as_high_as_the_others_highest() -> None:
    theirs = np.array([[[1.0, 0.5, 0.4], [0.0, 0.0, 0.6]]])
    ours = np.array([[[0.5, 0.1, 0.7], [0.0, 0.4, 2.0]]])
    found = figures_of({"heat": ours}, {"heat": theirs}, LAYOUT)
    assert found["heat IoU"] == 2 / 4 and kind_of_figure("heat IoU") == "IoU"
    assert figures_of({"heat": theirs}, {"heat": theirs}, LAYOUT)["heat IoU"] == 1


def test_without_a_class_token_there_is_none_to_compare_and_the_patches_mean_stands_for_the_image() -> None:
    tokens = RNG.normal(size=(5, 4))
    layout = TokenLayout(prefix=1, class_token=False)
    assert list(figures_of({"features": tokens}, {"features": tokens}, layout)) == ["patch tokens"]
    np.testing.assert_allclose(vector_of({"features": tokens}, layout), tokens[1:].mean(axis=0))
    np.testing.assert_allclose(vector_of({"features": tokens}, LAYOUT), tokens[0])
    np.testing.assert_allclose(vector_of({"features": tokens, "embedding": tokens[3]}, LAYOUT), tokens[3])
    assert vector_of({"logits": tokens[0]}, LAYOUT) is None
    of_file = {"last_hidden_state": tokens, "counts": np.arange(3), "pooler_output": tokens[2]}
    np.testing.assert_allclose(vector_of(of_file, LAYOUT), tokens[2])


def test_a_token_of_zeros_is_like_itself_and_like_no_other() -> None:
    zeros, ones = np.zeros((3, 4)), np.ones((3, 4))
    assert figures_of({"features": zeros}, {"features": zeros}, LAYOUT) == {"class token": 1.0, "patch tokens": 1.0}
    assert figures_of({"features": zeros}, {"features": ones}, LAYOUT) == {"class token": 0.0, "patch tokens": 0.0}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.data())
def test_rank_is_the_place_in_a_stable_order(values: list[int], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(values) - 1))
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))
    assert rank_of_class(np.array(values, dtype=float), number) == order.index(number)


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 10**6))
def test_neighbours_vote_as_in_a_loop(count: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, labels = rng.normal(size=(count, 3)), rng.integers(0, 3, size=count)
    expected = []
    for own in range(count):
        others = sorted((i for i in range(count) if i != own), key=lambda i: -cosine(vectors[own], vectors[i]))[:k]
        near = [int(labels[i]) for i in others]
        expected.append(max(dict.fromkeys(near), key=near.count))  # the first seen of equally frequent ones
    assert left_out_predictions(vectors, labels, k).tolist() == expected


def test_a_mean_lies_in_its_interval_which_shrinks_with_more_images() -> None:
    values = RNG.normal(size=400)
    few, many = mean_interval(values[:20].tolist()), mean_interval(values.tolist())
    assert few is not None and many is not None and mean_interval([1.0]) is None
    assert few.low < values[:20].mean() < few.high and few.images == 20
    assert many.high - many.low < few.high - few.low
    spread = 1.96 * values.std() / 20  # what a normal distribution of the mean gives
    assert many.high - values.mean() == pytest.approx(spread, rel=0.15)


def test_accuracy_by_rank_and_by_neighbours_and_their_difference() -> None:
    def image(label: int, ranks: tuple[int, int], ours: list[float], theirs: list[float]) -> Measured:
        return Measured("x", label, {"logits": 0.5}, ranks, (ours, theirs))

    images = [
        image(0, (0, 0), [1.0, 0.0], [1.0, 0.0]),
        image(0, (1, 0), [1.0, 0.1], [1.0, 0.1]),
        image(1, (7, 0), [1.0, 0.05], [0.0, 1.0]),
        image(1, (0, 5), [0.0, 1.0], [0.1, 1.0]),
    ]
    found = accuracy_of(images)
    sides = {name: (item.reduced.mean, item.against.mean, item.difference.mean) for name, item in found.items()}
    assert sides["top-1"] == (50, 75, -25) and sides["top-5"] == (75, 75, 0)
    one = accuracy_of([images[0], images[3]])["nearest neighbours"]  # each has the other as its only neighbour
    assert (one.reduced.mean, one.against.mean) == (0, 0)
    assert found["top-1"].reduced.interval is not None and found["top-1"].difference.interval is not None
    assert list(accuracy_of([Measured("x", 0, {}, None, None), Measured("y", 1, {}, None, None)])) == []
    mean = figures_over_images([*images, Measured("z", 0, {"logits": 1.0}, None, None)])["logits"]
    assert mean.mean == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("folders", "classes", "count", "expected"),
    [
        (("Cat", "guinea_pig"), ("dog", "guinea pig", "cat"), 3, (2, 1)),
        (("0", "2"), (), 3, (0, 2)),
        (("0", "3"), (), 3, None),
        (("a", "b", "c"), (), 3, (0, 1, 2)),
        (("a", "b"), ("x", "y", "z"), 3, None),
        (("cat",), ("cat", "cat", "dog"), 3, None),
        (("n01440764", "n02123045"), (), 1000, (0, 281)),
    ],
)
def test_folders_stand_for_classes(
    folders: tuple[str, ...], classes: tuple[str, ...], count: int, expected: tuple[int, ...] | None
) -> None:
    assert numbers_of_folders(folders, classes, count) == expected


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def test_folders_of_classes_take_turns(tmp_path: Path) -> None:
    for name in ("b/1.png", "b/2.png", "b/deep/3.png", "a/9.png", ".hidden/4.png", "a/._9.png", "empty/readme.png"):
        written(tmp_path / name)
    (tmp_path / "empty" / "readme.png").rename(tmp_path / "empty" / "readme.txt")
    folder = open_photos(tmp_path)
    assert folder.classes == ("a", "b")
    named = [(photo.name, photo.label) for photo in folder.photos]
    assert named == [("a/9.png", 0), ("b/1.png", 1), ("b/2.png", 1), ("b/deep/3.png", 1)]
    first = folder.listing_sha256()
    written(tmp_path / "a" / "10.png")
    assert open_photos(tmp_path).listing_sha256() != first


def test_one_folder_or_none_has_no_classes(tmp_path: Path) -> None:
    written(tmp_path / "only" / "1.png")
    assert open_photos(tmp_path).classes == ()
    written(tmp_path / "2.png")
    assert [photo.label for photo in open_photos(tmp_path).photos] == [None, None]
    written(tmp_path / "second" / "1.png")
    with pytest.raises(UsageError, match=r"1 images lie beside 2 folders of images, such as only/"):
        open_photos(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        open_photos(tmp_path / "nowhere")
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="holds no image"):
        open_photos(tmp_path / "none")
