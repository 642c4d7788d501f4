"""`edgeexport evaluate --against`: what a reduced model's outputs keep of another's, on any photographs.

Both models run on the same batch in the same runtime; what each image gave is written at once, so that an interrupted
evaluation goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexport.bundle import json_bytes, refuse_link_of_bundle
from edgeexport.bundle.files import write_file
from edgeexport.bundle.source_hash import program_sha256
from edgeexport.documents.fidelity import Compared, compared
from edgeexport.errors import ImageError, UsageError
from edgeexport.evaluation.class_numbers import numbers_of_folders
from edgeexport.evaluation.dataset import LeftOut
from edgeexport.evaluation.fidelity import TokenLayout, figures_of, rank_of_class, vector_of
from edgeexport.evaluation.fidelity_result import Fidelity, Measured, accuracy_of, figures_over_images
from edgeexport.evaluation.left_out_notes import LeftOutNotes
from edgeexport.evaluation.output_folder import written_to
from edgeexport.evaluation.photo_folder import PhotoFolder, Photograph, open_photos
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.evaluation.versions import versions_of
from edgeexport.inputs.photos import input_from_photo, open_photo
from edgeexport.inputs.spec import InputSpec

__all__ = [
    "AgainstOptions",
    "Beside",
    "OnProgress",
    "RunnableForm",
    "compared_batch",
    "fidelity_on_photos",
    "measured_image",
]

OnProgress = Callable[[int, int, str], None]
_PROGRESS_SCHEMA = "edgeexport.fidelity_progress/1"
_VERSIONED = ("numpy", "pillow", "torch", "timm", "onnxruntime")
_FOLDERS = "the images lie in no folders of classes"


class RunnableForm(Protocol):
    """A model that can be run: in torch, or in ONNX Runtime."""

    def run(self, image: NDArray) -> dict[str, NDArray]:
        """A batch in the recipe's input form -> outputs by name, each with a batch axis."""


@dataclass(frozen=True)
class AgainstOptions:
    """On what, and where files go.

    Attributes:
        data: See `open_photos`.
        limit: Only so many images, of every class as many as of the others.
        out_dir: None: ``evaluation/<name>`` in the working directory.
        restart: Begin anew, whatever an earlier run left there.
    """

    data: Path
    limit: int | None = None
    out_dir: Path | None = None
    restart: bool = False


@dataclass(frozen=True)
class Beside:
    """Two models to compare, and what is known of them; `Fidelity` says what the names mean.

    Attributes:
        input, layout: Of both.
        classes, num_classes: Of the classifier; 0 without.
        sha256: Over weights, recipe and graphs of both.
    """

    name: str
    kind: str
    recipe: str
    weights: Mapping[str, Any]
    against: str
    runtime: str
    macs: int
    against_macs: int
    input: InputSpec
    layout: TokenLayout
    classes: tuple[str, ...]
    num_classes: int
    sha256: str
    reduced: RunnableForm
    other: RunnableForm


def fidelity_on_photos(
    beside: Beside,
    options: AgainstOptions,
    *,
    on_progress: OnProgress = lambda done, total, name: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Fidelity:
    """Runs both models over a folder; writes fidelity.jsonl, line by line, and fidelity.json.

    Args:
        beside: The models.
        options: On what.
        on_progress: Called with (images done, images in all, last name); what is done is on disk by then.
        on_note: Called with what the reader should know.

    Raises:
        UsageError: The models take no photographs, have no output that could be compared, no image can be used, or nothing can
            be written.
        BuildError: ONNX Runtime fails.
    """
    if not beside.input.is_photo:
        raise UsageError(beside.name, "takes no photographs", "give a model of images")
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}", "uses no image", "give at least 1, or leave --limit out")
    folder = open_photos(options.data)
    target = options.out_dir if options.out_dir is not None else Path("evaluation") / beside.name
    refuse_link_of_bundle(target, "--out-dir")
    numbers = numbers_of_folders(folder.classes, beside.classes, beside.num_classes) if folder.classes else None
    key = {"pair of models": beside.sha256, "data set": folder.listing_sha256(), "program": program_sha256()}
    notes = LeftOutNotes(on_note, "fidelity.json will list them all")
    photos = folder.photos[: options.limit]
    with ProgressFile(target / "fidelity.jsonl", _PROGRESS_SCHEMA, key, restart=options.restart) as progress:
        if progress.begun_anew:
            on_note(f"{progress.path}: {progress.begun_anew}, so the evaluation begins anew")
        run = _Run(beside, photos, numbers, progress, notes)
        if run.measured:
            done = f"{len(run.measured)} of {len(photos)} images were done by an earlier run"
            on_note(f"{progress.path}: {done}; --restart measures them anew")
        run.finish(on_progress)
    if not run.measured:
        first = next(iter(run.left_out.values()))
        raise UsageError(f"--data {options.data}", f"no image can be used; {first.name}: {first.problem}", "")
    images = [run.measured[photo.name] for photo in photos if photo.name in run.measured]
    figures = figures_over_images(images)
    if not figures:
        raise UsageError(
            beside.name, "has no output that could be compared", "ask for features, an embedding or logits"
        )
    accuracy = accuracy_of(images) if folder.classes else {}
    result = Fidelity(
        name=beside.name,
        kind=beside.kind,
        recipe=beside.recipe,
        weights=beside.weights,
        against=beside.against,
        runtime=beside.runtime,
        macs=beside.macs,
        against_macs=beside.against_macs,
        data=options.data,
        data_sha256=key["data set"],
        images=len(images),
        classes=folder.classes,
        figures=figures,
        accuracy=accuracy,
        not_told=_not_told(folder, accuracy, beside.num_classes, numbers),
        left_out=tuple(run.left_out.values()),
        versions=versions_of(_VERSIONED),
        file=target / "fidelity.json",
        measured=tuple(images),
    )
    with written_to(result.file):
        write_file(result.file, json_bytes(result.as_dict()))
    return result


class _Run:
    """One evaluation under way.

    Attributes:
        measured: Name -> what was found.
        left_out: Name -> images that cannot be used.
    """

    def __init__(
        self,
        beside: Beside,
        photos: Sequence[Photograph],
        numbers: Sequence[int] | None,
        progress: ProgressFile,
        notes: LeftOutNotes,
    ) -> None:
        self.beside, self.photos, self.numbers = beside, photos, numbers
        self.progress, self.notes = progress, notes
        self.measured: dict[str, Measured] = {}
        self.left_out: dict[str, LeftOut] = {}
        by_name = {photo.name: photo for photo in photos}
        for entry in progress.entries(compared()):
            name = entry.get("left_out") or entry["name"]
            if name not in by_name:  # beyond this run's limit
                continue
            if "left_out" in entry:
                self.left_out[name] = LeftOut(name, entry["problem"])
            else:
                self.measured[name] = measured_image(entry, by_name[name])

    def finish(self, on_progress: OnProgress) -> None:
        """Measures what an earlier run did not."""
        total = len(self.photos)
        for item in self.left_out.values():
            self.notes(item)
        on_progress(len(self.measured) + len(self.left_out), total, "")
        for photos, rows in self._batches():
            entries = compared_batch(self.beside, photos, rows, self.numbers)
            self.progress.append(entries)
            for photo, entry in zip(photos, entries, strict=True):
                self.measured[photo.name] = measured_image(entry, photo)
            on_progress(len(self.measured) + len(self.left_out), total, photos[-1].name)

    def _batches(self) -> Iterator[tuple[list[Photograph], list[NDArray]]]:
        """Images that are left to do, decoded, a batch at a time."""
        photos: list[Photograph] = []
        rows: list[NDArray] = []
        for photo in self.photos:
            if photo.name in self.measured or photo.name in self.left_out:
                continue
            try:
                rows.append(input_from_photo(open_photo(photo.path), self.beside.input))
            except ImageError as error:
                item = self.left_out[photo.name] = LeftOut(photo.name, error.problem)
                self.progress.append([{"left_out": item.name, "problem": item.problem}])
                self.notes(item)
                continue
            photos.append(photo)
            if len(rows) == self.beside.input.batch:
                yield photos, rows
                photos, rows = [], []
        if rows:
            yield photos, rows


def compared_batch(
    beside: Beside, photos: Sequence[Photograph], rows: Sequence[NDArray], numbers: Sequence[int] | None
) -> list[Compared]:
    """What both models say of at most a batch of photographs, one entry each.

    Args:
        beside: The models.
        photos, rows: As many of each; rows are decoded (`input_from_photo`).
        numbers: The classifier's numbers of the folder's classes; None where it does not know them.

    Raises:
        UsageError: A model gives something that is no number.
        BuildError: ONNX Runtime fails.
    """
    filled = np.stack([*rows, *[rows[-1]] * (beside.input.batch - len(rows))])
    both = [form.run(filled) for form in (beside.reduced, beside.other)]
    return [
        _entry(beside, photo, numbers, *({name: value[place] for name, value in outputs.items()} for outputs in both))
        for place, photo in enumerate(photos)
    ]


def _entry(
    beside: Beside,
    photo: Photograph,
    numbers: Sequence[int] | None,
    ours: dict[str, NDArray],
    theirs: dict[str, NDArray],
) -> Compared:
    layout = beside.layout
    ranks = vectors = None
    if photo.label is not None:
        if numbers is not None and "logits" in ours:
            number = numbers[photo.label]
            ranks = (rank_of_class(ours["logits"], number), rank_of_class(theirs["logits"], number))
        pair = [vector_of(outputs, layout) for outputs in (ours, theirs)]
        if pair[0] is not None and pair[1] is not None:
            vectors = (_plain(pair[0]), _plain(pair[1]))
    figures = figures_of(ours, theirs, layout)
    if not np.isfinite([*figures.values(), *(value for pair in vectors or () for value in pair)]).all():
        problem = f"gives values for {photo.name} that are no numbers, or its {beside.against} model does"
        raise UsageError(beside.name, problem, "check the weights: edgeexport build compares what they give")
    return {"name": photo.name, "figures": figures, "ranks": ranks, "vectors": vectors}


def measured_image(entry: Compared, photo: Photograph) -> Measured:
    """An entry as figures are computed from it."""
    ranks, vectors = entry["ranks"], entry["vectors"]
    return Measured(
        photo.name,
        photo.label,
        entry["figures"],
        None if ranks is None else (ranks[0], ranks[1]),
        None if vectors is None else (vectors[0], vectors[1]),
    )


def _plain(vector: NDArray) -> list[float]:
    """With the digits of a float32, which JSON gives back as they are."""
    return [float(str(value)) for value in vector.astype(np.float32)]


def _not_told(
    folder: PhotoFolder, accuracy: Mapping[str, Any], num_classes: int, numbers: Sequence[int] | None
) -> dict[str, str]:
    """Figures by class folder that a reader may miss, and why."""
    missing: dict[str, str] = {}
    if "top-1" not in accuracy and num_classes:
        reason = f"the {len(folder.classes)} folders have neither names nor numbers of the {num_classes} classes"
        given = "the model gives no logits out" if numbers is not None else reason
        missing["top-1"] = given if folder.classes else _FOLDERS
    if "nearest neighbours" not in accuracy:
        few = "there is no vector for the image, or but one image"
        missing["nearest neighbours"] = few if folder.classes else _FOLDERS
    return missing
