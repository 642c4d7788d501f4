"""Quality of counts: what the fixed form gives image by image, computed once, kept over interruptions."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from observation_cases import CLASSES, CTS_DTOP, labelled_photos, tiny
from torch import nn

from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.images import OnProgress, SegmenterOnImages
from edgeexport.calibration.interval import drop_interval
from edgeexport.calibration.quality import CANDIDATES_SCHEMA, CandidateQuality
from edgeexport.calibration.search import Measurements, SearchResult, best_within_budget
from edgeexport.calibration.space import CountSpace
from edgeexport.errors import UsageError
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo
from edgeexport.recipe.schema import Recipe

CASES = [Counts(), Counts(5), Counts(0, ((2, 30),)), Counts(8, ((2, 12), (3, 16)))]


@dataclass
class Images:
    """A list as an image source; stops with an error after ``stop_after`` images in all."""

    images: Sequence[LabelledImage]
    stop_after: int = 10**6
    labelled: bool = True
    given: list[str] = field(default_factory=list)

    @property
    def expected(self) -> int:
        return len(self.images)

    @property
    def names(self) -> list[str]:
        return [image.name for image in self.images]

    def after(self, done: Container[str]) -> Iterator[LabelledImage]:
        for image in self.images:
            if image.name in done:
                continue
            if len(self.given) == self.stop_after:
                raise KeyboardInterrupt
            self.given.append(image.name)
            yield image


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny(tmp_path_factory.mktemp("quality"), CTS_DTOP)


@pytest.fixture(scope="module")
def model(recipe: Recipe) -> nn.Module:
    """With the policy network and both auxiliary heads."""
    return model_from_recipe(recipe)[0]


@pytest.fixture(scope="module")
def images() -> list[LabelledImage]:
    """One of them of another size than the model's input."""
    first, *others = labelled_photos(5)
    assert first.label is not None
    wide = LabelledImage("wide", first.photo.resize((200, 90)), np.ascontiguousarray(np.resize(first.label, (90, 200))))
    return [wide, *others]


def quality_of(
    folder: Path, images: Images, model: nn.Module, recipe: Recipe, *on_progress: OnProgress
) -> CandidateQuality:
    file = ProgressFile(folder / "candidates.jsonl", CANDIDATES_SCHEMA, {"model": "a"})
    return CandidateQuality(file, SegmenterOnImages(model, recipe, images, *on_progress))


def class_map(model: nn.Module, recipe: Recipe, counts: Counts, image: LabelledImage) -> NDArray[np.int64]:
    """At the model's size, by the fixed form itself."""
    alone = replace(recipe, input=replace(recipe.input, batch=1))
    with torch.no_grad():
        fixed = fixed_from_model(model, recipe_with_counts(alone, counts))
        trace = fixed.trace(torch.from_numpy(input_from_photo(image.photo, alone.input)[None]))
    return trace.outputs["class_map"][0].numpy().astype(np.int64)


def direct_miou(maps: Sequence[NDArray[np.int64]], images: Sequence[LabelledImage]) -> float:
    """From a confusion matrix over the pixels of all images."""
    confusion = np.zeros((CLASSES, CLASSES))
    for found, image in zip(maps, images, strict=True):
        assert image.label is not None
        height, width = image.label.shape
        rows = [int((row + 0.5) * found.shape[0] / height) for row in range(height)]
        columns = [int((column + 0.5) * found.shape[1] / width) for column in range(width)]
        resized = found[np.ix_(rows, columns)]
        known = image.label != 255
        np.add.at(confusion, (image.label[known], resized[known]), 1)
    right = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    return float(100 * (right[union > 0] / union[union > 0]).mean())


@pytest.mark.parametrize("counts", CASES, ids=str)
def test_miou_is_that_of_the_fixed_form_image_by_image(
    counts: Counts, tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe
) -> None:
    quality = quality_of(tmp_path, Images(images), model, recipe)
    expected = direct_miou([class_map(model, recipe, counts, image) for image in images], images)
    assert quality.measure == "mIoU"
    assert quality(counts) == pytest.approx(expected, abs=1e-9)
    assert 0 < expected < 100
    assert list(quality.areas(counts)) == [image.name for image in images]


def test_candidates_differ(tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe) -> None:
    """Otherwise the test above would show little."""
    quality = quality_of(tmp_path, Images(images), model, recipe)
    assert len({quality(counts) for counts in CASES}) == len(CASES)


def test_batch_and_scores_output_do_not_matter(
    tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe
) -> None:
    expected = quality_of(tmp_path / "a", Images(images), model, recipe)(CASES[-1])
    batched = replace(recipe, input=replace(recipe.input, batch=4), output="scores")
    assert quality_of(tmp_path / "b", Images(images), model, batched)(CASES[-1]) == pytest.approx(expected, abs=0.05)


def test_without_labels_it_is_agreement_with_the_dense_model(
    tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe
) -> None:
    bare = [replace(image, label=None) for image in images]
    quality = quality_of(tmp_path, Images(bare, labelled=False), model, recipe)
    assert quality.measure == "agreement"
    for counts in reversed(CASES):
        same = [class_map(model, recipe, counts, image) == class_map(model, recipe, Counts(), image) for image in bare]
        assert quality(counts) == pytest.approx(100 * np.mean(same), abs=1e-9)
    assert quality(Counts()) == 100
    assert quality(CASES[-1]) < 100
    found = quality.loss_interval(CASES[-1])
    assert found is not None
    assert found.low <= 100 - quality(CASES[-1]) <= found.high


def test_nothing_is_run_twice(tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe) -> None:
    source = Images(images)
    quality = quality_of(tmp_path, source, model, recipe)
    first = [quality(counts) for counts in CASES]
    assert len(source.given) == len(CASES) * len(images)
    assert [quality(counts) for counts in CASES] == first
    quality.loss_interval(CASES[1])
    assert len(source.given) == len(CASES) * len(images)
    again = Images(images)
    reopened = quality_of(tmp_path, again, model, recipe)
    assert reopened.resumed == len(CASES) * len(images)
    assert [reopened(counts) for counts in CASES] == first
    assert again.given == []


@pytest.mark.parametrize("labelled", [True, False])
def test_an_interrupted_search_goes_on(
    labelled: bool, tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe
) -> None:
    space = CountSpace(64, 8, (0, 8), ((2, (0, 24)), (3, (0, 16))))

    def cost(counts: Counts) -> float:
        return counts.tokens(64)[-1]

    def search(quality: CandidateQuality) -> SearchResult:
        return best_within_budget(space.candidates, Measurements(cost, quality), 30)

    expected = search(quality_of(tmp_path / "whole", Images(images, labelled=labelled), model, recipe))
    assert expected.best is not None
    stopped = Images(images, stop_after=len(images) + 2, labelled=labelled)
    with pytest.raises(KeyboardInterrupt):
        search(quality_of(tmp_path / "part", stopped, model, recipe))
    path = tmp_path / "part" / "candidates.jsonl"
    path.write_bytes(path.read_bytes() + b'{"measure":"mI')  # torn while it was written
    rest = Images(images, labelled=labelled)
    resumed = quality_of(tmp_path / "part", rest, model, recipe)
    assert resumed.resumed == len(images) + 2
    assert search(resumed) == expected
    assert len(rest.given) == len(expected.evaluated) * len(images) - (len(images) + 2)
    assert resumed.areas(expected.best).keys() == {image.name for image in images}


def test_a_file_serves_both_measures(
    tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe
) -> None:
    with_labels = quality_of(tmp_path, Images(images), model, recipe)
    expected = with_labels(CASES[1])
    without = quality_of(tmp_path, Images(images, labelled=False), model, recipe)
    assert without.resumed == 0
    assert without(CASES[1]) != expected
    assert quality_of(tmp_path, Images(images, stop_after=0), model, recipe)(CASES[1]) == expected


def test_loss_interval_is_over_the_same_images(
    tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe
) -> None:
    source = Images(images)
    quality = quality_of(tmp_path, source, model, recipe)
    dense, candidate = quality.areas(Counts()), quality.areas(CASES[2])
    assert quality.loss_interval(CASES[2]) == drop_interval(list(dense.values()), list(candidate.values()))
    same = quality.loss_interval(Counts())
    assert same is not None
    assert (same.low, same.high) == (0, 0)
    source.images = images[1:]
    with pytest.raises(UsageError, match="begin anew"):
        quality.loss_interval(CASES[3])


def test_progress_counts_images(tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe) -> None:
    seen: list[tuple[int, int, str]] = []
    quality = quality_of(tmp_path, Images(images), model, recipe, lambda *said: seen.append(said))
    quality(CASES[0])
    quality(CASES[1])
    assert [done for done, _, _ in seen] == [*range(6), *range(6)]
    assert {total for _, total, _ in seen} == {5}
    assert len({task for _, _, task in seen}) == 2


def test_images_without_any_label_are_refused(
    tmp_path: Path, images: list[LabelledImage], model: nn.Module, recipe: Recipe
) -> None:
    nothing = [replace(image, label=np.full_like(image.label, 255)) for image in images]
    with pytest.raises(UsageError, match="no pixel of any image has a label"):
        quality_of(tmp_path, Images(nothing), model, recipe)(Counts())
