"""Annotations: grey, indexed, 16 bits; what does not fit says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeexport.errors import ImageError
from edgeexport.evaluation.annotation import label_from_annotation

VALUES = np.array([[0, 1, 2], [3, 255, 4]], dtype=np.uint8)


def saved(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


def indexed(values: NDArray) -> Image.Image:
    image = Image.fromarray(values)
    image.putpalette([7, 7, 7] * 256)
    return image


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (Image.fromarray(VALUES), "grey.png"),
        (indexed(VALUES), "indexed.png"),
        (Image.fromarray(VALUES.astype(np.uint16)), "sixteen.png"),
        (Image.fromarray(VALUES.astype(np.int32)), "wide.tif"),
    ],
)
def test_pixel_values_are_class_numbers_whatever_the_format(image: Image.Image, name: str, tmp_path: Path) -> None:
    label = label_from_annotation(saved(tmp_path / name, image), 5, (3, 2))
    assert label.dtype == np.int64
    np.testing.assert_array_equal(label, VALUES)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(VALUES).save(tmp_path / "a.png", "EPS")
    with pytest.raises(ImageError, match="cannot be read as an image"):
        label_from_annotation(tmp_path / "a.png", 5, (3, 2))


def test_one_bit_annotation(tmp_path: Path) -> None:
    image = Image.fromarray(VALUES > 1)
    assert image.mode == "1"
    np.testing.assert_array_equal(label_from_annotation(saved(tmp_path / "a.png", image), 2, (3, 2)), VALUES > 1)


def test_zero_label_is_reduced_as_mmsegmentation_does(tmp_path: Path) -> None:
    from mmseg.datasets.transforms import LoadAnnotations

    path = saved(tmp_path / "a.png", Image.fromarray(VALUES))
    results = {"seg_map_path": str(path), "reduce_zero_label": True, "seg_fields": [], "label_map": None}
    expected = LoadAnnotations(reduce_zero_label=True, imdecode_backend="pillow").transform(results)["gt_seg_map"]
    np.testing.assert_array_equal(label_from_annotation(path, 4, (3, 2), reduce_zero_label=True), expected)


@pytest.mark.parametrize(
    ("values", "num_classes", "reduce_zero_label", "words"),
    [
        (VALUES, 4, False, ("label 4,", "0 to 3", "--reduce-zero-label")),
        (VALUES, 3, False, ("labels 3, 4,", "0 to 2")),
        (VALUES, 3, True, ("label 4,", "0 to 3")),
        (np.arange(100, 106, dtype=np.uint8).reshape(2, 3), 5, False, ("labels 100, 101, 102, 103 and 2 more",)),
    ],
)
def test_labels_out_of_range_are_named(
    values: NDArray, num_classes: int, reduce_zero_label: bool, words: tuple[str, ...], tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    with pytest.raises(ImageError) as caught:
        label_from_annotation(path, num_classes, (3, 2), reduce_zero_label=reduce_zero_label)
    for word in (*words, "255 for ignored pixels", str(path)):
        assert word in str(caught.value)


def test_more_classes_than_eight_bits_hold(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.array([[299, 255]], dtype=np.uint16)))
    assert label_from_annotation(path, 300, (2, 1)).tolist() == [[299, 255]]
    with pytest.raises(ImageError, match="label 299"):
        label_from_annotation(path, 299, (2, 1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_is_refused(mode: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(VALUES).convert(mode))
    with pytest.raises(ImageError, match=rf"{mode} values, expected class numbers \| save it as a grey or indexed PNG"):
        label_from_annotation(path, 300, (3, 2))


def test_another_size_unreadable_missing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(VALUES))
    with pytest.raises(ImageError, match="has 3 x 2 pixels, its image 2 x 3"):
        label_from_annotation(path, 5, (2, 3))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageError, match="annotation cannot be read"):
        label_from_annotation(path, 5, (3, 2))
    with pytest.raises(ImageError, match="no such annotation"):
        label_from_annotation(tmp_path / "b.png", 5, (3, 2))
