"""What a form gives for some images beside the dense model: a pure function, so that any process may compute it.

Products are summed in an order that the number of threads decides, so a task has one thread, wherever it runs: the same task
gives the same figures to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from numpy.typing import NDArray

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.documents.fidelity import Compared
from edgeexport.errors import ImageError, UsageError
from edgeexport.evaluation.against import Beside, compared_batch
from edgeexport.evaluation.class_numbers import numbers_of_folders
from edgeexport.evaluation.dense_beside import Remembered, digest_of, form_beside_dense
from edgeexport.evaluation.photo_folder import PhotoFolder, open_photos
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import WeightsOrigin, model_from_recipe
from edgeexport.inputs.photos import input_from_photo, open_photo
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.tune.form import Form, recipe_of_form

__all__ = ["RUNS", "Opened", "Subject", "Task", "forget_opened", "measured_images", "one_thread", "opened"]

Run = Literal["torch", "fp32", "fp16"]
_REMEMBERED_BYTES = 1 << 29
RUNS: tuple[Run, ...] = ("torch", "fp32", "fp16")


@dataclass(frozen=True)
class Subject:
    """A model and images, as any process finds them.

    Attributes:
        recipe: As on the command line.
        cfg_options, checkpoint: See `load_recipe`.
        data: See `open_photos`.
        digest: Of weights, recipe and listing, from `opened`; a process that finds another refuses. Empty: not held to any.
    """

    recipe: str
    cfg_options: tuple[str, ...]
    checkpoint: Path | None
    data: Path
    digest: str = ""


@dataclass(frozen=True)
class Task:
    """Images ``first`` to ``last`` (left out) of the folder, in ``form``.

    ``run`` is 'torch', or the precision of the exported graph ``graph``, which runs in ONNX Runtime.
    """

    subject: Subject
    form: Form
    first: int
    last: int
    run: Run = "torch"
    graph: Path | None = None


@dataclass(frozen=True)
class Opened:
    """A subject in this process's memory.

    Attributes:
        given: The recipe as loaded; ``dense``: without reductions.
        model, origin: With the networks of the recipe's own reductions.
        photos: Of the folder.
        numbers: The classifier's of the folder's classes.
        digest: See `Subject`.
    """

    given: Recipe
    dense: Recipe
    model: torch.nn.Module
    origin: WeightsOrigin
    photos: PhotoFolder
    numbers: tuple[int, ...] | None
    digest: str
    remembered: dict[bytes, dict[str, NDArray]]

    def beside(self, form: Form) -> Beside:
        """The form beside the dense model, in torch. Raises: RecipeError: The model does not take it."""
        beside = form_beside_dense(recipe_of_form(self.dense, form), self.model, self.origin)
        return replace(beside, other=Remembered(beside.other, self.remembered))


def opened(subject: Subject) -> Opened:
    """Loads model and listing, once per process.

    Raises:
        RecipeError, CheckpointError: See `load_recipe` and `model_from_recipe`.
        UsageError: No images; or they, or the weights, are others than the task is about.
    """
    found = _opened(replace(subject, digest=""))
    if subject.digest and subject.digest != found.digest:
        problem = "finds other weights, another recipe or other images here than where the task comes from"
        raise UsageError(f"worker: {subject.recipe}, {subject.data}", problem, "share the files among the machines")
    return found


def forget_opened() -> None:
    """The next `opened` looks at the files again."""
    _opened.cache_clear()


@lru_cache(maxsize=2)
def _opened(subject: Subject) -> Opened:
    given = load_recipe(subject.recipe, subject.cfg_options, subject.checkpoint)
    dense = dense_recipe(given)
    if not dense.input.is_photo:
        raise UsageError(dense.name, "takes no photographs", "give a model of images")
    photos = open_photos(subject.data)
    model, origin = model_from_recipe(given)
    numbers = None
    if photos.classes:
        found = numbers_of_folders(photos.classes, dense.classes, dense.facts.num_classes)
        numbers = None if found is None else tuple(found)
    text = {key: value for key, value in given.text.items() if key != "checkpoint"}
    digest = digest_of(origin.as_dict(), text, photos.listing_sha256())
    return Opened(given, dense, model, origin, photos, numbers, digest, _Outputs())


def measured_images(task: Task) -> list[Compared]:
    """One entry per image, in the folder's order; what cannot be decoded says so in its entry.

    Raises:
        RecipeError: The model does not take the form.
        UsageError: A model gives something that is no number.
        BuildError: ONNX Runtime fails.
    """
    with one_thread():
        found = opened(task.subject)
        beside = _beside(found, task)
        entries: dict[str, Compared] = {}
        photos, rows = [], []
        wanted = found.photos.photos[task.first : task.last]
        for photo in wanted:
            try:
                rows.append(input_from_photo(open_photo(photo.path), beside.input))
                photos.append(photo)
            except ImageError as error:
                entries[photo.name] = {"left_out": photo.name, "problem": error.problem}
            if rows and (len(rows) == beside.input.batch or photo is wanted[-1]):
                for measured, entry in zip(photos, compared_batch(beside, photos, rows, found.numbers), strict=True):
                    entries[measured.name] = entry
                photos, rows = [], []
        return [entries[photo.name] for photo in wanted]


def _beside(found: Opened, task: Task) -> Beside:
    beside = found.beside(task.form)
    if task.run == "torch":
        return beside
    assert task.graph is not None
    return replace(beside, reduced=_session(task.graph))


@lru_cache(maxsize=1)
def _session(graph: Path) -> OnnxRuntimeRunner:
    return OnnxRuntimeRunner(graph, threads=1)


class _Outputs(dict[bytes, dict[str, NDArray]]):
    """Outputs of the dense model by batch, as long as there is room; of the rest it is run again."""

    def __init__(self) -> None:
        super().__init__()
        self._left = _REMEMBERED_BYTES

    def __setitem__(self, key: bytes, value: dict[str, NDArray]) -> None:
        self._left -= sum(array.nbytes for array in value.values())
        if self._left >= 0:
            super().__setitem__(key, value)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
