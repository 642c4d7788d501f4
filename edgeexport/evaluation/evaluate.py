"""`edgeexport evaluate`: accuracy, tokens and work of a recipe or a bundle on labelled images, in every form in reach.

Images stream through all forms one batch after another, and what each image gave is written at once, so that an
interrupted evaluation goes on where it stopped, with the same result: batches hold the same images whatever was done before.
"""

from __future__ import annotations

import importlib.metadata
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import edgeexport
from edgeexport.bundle import json_bytes
from edgeexport.bundle.source_hash import program_sha256
from edgeexport.errors import UsageError
from edgeexport.evaluation.areas import Areas, areas_of
from edgeexport.evaluation.dataset import (
    LabelledImage,
    LeftOut,
    SegmentationFolder,
    labelled_images,
    nothing_usable,
    open_folder,
)
from edgeexport.evaluation.forms import Form
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.evaluation.result import Evaluation, FormTotals, form_scores
from edgeexport.evaluation.subject import EvaluationSubject, subject_from_argument
from edgeexport.pictures.label_map import resized_class_map

__all__ = ["default_output_folder", "evaluate"]

_PROGRESS_SCHEMA = "edgeexport.evaluation_progress/1"
_VERSIONED = ("numpy", "pillow", "torch", "onnxruntime", "onedl-mmsegmentation")
_COUNTS = ("intersect", "prediction", "label")  # the union follows from them
_TOLD = 5


def evaluate(
    subject: str | Path,
    *,
    data: Path,
    split: str | None = None,
    forms: Sequence[str] | None = None,
    checkpoint: Path | None = None,
    policy_checkpoint: Path | None = None,
    cfg_options: Sequence[str] = (),
    thresholds: Mapping[int, float] | None = None,
    limit: int | None = None,
    reduce_zero_label: bool = False,
    out_dir: Path | None = None,
    restart: bool = False,
    on_progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Measures a segmenter on labelled images; writes progress.jsonl and evaluation.json.

    Args:
        subject: A bundle folder, or a recipe's path or name.
        data, split, limit: See `edgeexport.evaluation.dataset.open_folder`.
        forms: Of 'adaptive', 'fixed', 'onnxruntime'; None: all in reach.
        checkpoint, policy_checkpoint, cfg_options, thresholds: See `subject_from_argument`.
        reduce_zero_label: Annotations number classes from 1, and 0 is none.
        out_dir: Where files go; None: `default_output_folder`.
        restart: Begin anew, whatever an earlier run left there.
        on_progress: Called before the first and after every batch with (images done, images in all, last name). What is
            done is on disk by then.
        on_note: Called with what the reader should know, such as an image that was left out.

    Raises:
        UsageError: The data, the forms or the subject do not fit, or nothing can be written.
        RecipeError, CheckpointError, BundleError, BuildError: See there.
    """
    folder = open_folder(data, split=split, limit=limit)
    found = subject_from_argument(
        subject,
        names=forms,
        thresholds=thresholds,
        checkpoint=checkpoint,
        policy_checkpoint=policy_checkpoint,
        cfg_options=cfg_options,
        on_note=on_note,
    )
    target = out_dir if out_dir is not None else default_output_folder(found)
    key = {
        "model": found.model_sha256,
        # Of the whole folder: a look at the first few images must not drop what a long run has measured.
        "data set": (open_folder(data, split=split) if limit is not None else folder).listing_sha256(),
        "set of options": f"reduce_zero_label={reduce_zero_label}, thresholds={dict(thresholds or {})}",
        "program": program_sha256(),
    }
    with ProgressFile(target / "progress.jsonl", _PROGRESS_SCHEMA, key, restart=restart) as progress:
        if progress.begun_anew:
            on_note(f"{progress.path}: {progress.begun_anew}, so the evaluation begins anew")
        notes = _LeftOutNotes(on_note)
        for item in folder.left_out:
            notes.add(item)
        run = _Run(found, folder, progress, reduce_zero_label, on_progress, notes)
        if complete := len(run.complete()):
            done = f"{complete} of {len(folder.samples)} images were done by an earlier run"
            on_note(f"{progress.path}: {done}; --restart measures them anew")
        run.finish()
    result = Evaluation(
        subject=found.name,
        kind=found.kind,
        recipe=found.recipe,
        weights=found.weights,
        data=data,
        split=split,
        data_sha256=folder.content_sha256(),
        reduce_zero_label=reduce_zero_label,
        classes=found.classes,
        form=found.primary,
        forms={form.name: form_scores(run.totals[form.name], form.settings) for form in found.forms},
        not_run=found.not_run,
        left_out=(*folder.left_out, *run.left_out.values()),
        versions=_versions(),
        file=target / "evaluation.json",
    )
    _write(result)
    return result


def default_output_folder(subject: EvaluationSubject) -> Path:
    """``evaluation/<bundle folder or recipe>`` in the working directory."""
    return Path("evaluation") / subject.name


class _Run:
    """One evaluation under way.

    Samples are dealt into batches by their place in the folder, and what cannot be used leaves its place empty: so a
    batch holds the same images in every run, and an image's figures do not depend on where a run was interrupted.

    Attributes:
        totals: Form -> sums over the images measured so far.
        left_out: Name -> samples that could not be used.
    """

    def __init__(
        self,
        subject: EvaluationSubject,
        folder: SegmentationFolder,
        progress: ProgressFile,
        reduce_zero_label: bool,
        on_progress: Callable[[int, int, str], None],
        notes: _LeftOutNotes,
    ) -> None:
        self.forms, self.folder, self.progress = subject.forms, folder, progress
        self.reduce_zero_label = reduce_zero_label
        self.on_progress, self.notes = on_progress, notes
        self.num_classes = len(subject.classes)
        size = max(form.batch for form in subject.forms)
        self.batch_of = {sample.name: place // size for place, sample in enumerate(folder.samples)}
        self.totals = {form.name: FormTotals(Areas.zero(self.num_classes), []) for form in subject.forms}
        self.measured: dict[str, set[str]] = {form.name: set() for form in subject.forms}
        self.left_out: dict[str, LeftOut] = {}
        self._add_earlier()

    def complete(self) -> set[str]:
        """Samples of the batches in which nothing is left to do."""
        done = set.intersection(*self.measured.values()) | self.left_out.keys()
        unfinished = {batch for name, batch in self.batch_of.items() if name not in done}
        return {name for name, batch in self.batch_of.items() if batch not in unfinished}

    def finish(self) -> None:
        """Measures what an earlier run did not.

        Raises:
            UsageError: No image could be used, or the progress cannot be written.
        """
        total, complete = len(self.batch_of), self.complete()
        for name in sorted(complete & self.left_out.keys()):
            self.notes.add(self.left_out[name])
        self.on_progress(len(complete), total, "")
        images = labelled_images(
            self.folder,
            self.num_classes,
            reduce_zero_label=self.reduce_zero_label,
            on_problem=self._leave_out,
            skip=complete,
        )
        waiting = [batch for name, batch in self.batch_of.items() if name not in complete]
        for batch, group in groupby(images, key=lambda image: self.batch_of[image.name]):
            chosen = list(group)
            for form in self.forms:
                self._measure(form, chosen)
            self.on_progress(len(complete) + bisect_right(waiting, batch), total, chosen[-1].name)
        if not all(totals.images for totals in self.totals.values()):
            raise nothing_usable(self.folder, next(iter(self.left_out.values())))
        self.on_progress(total, total, "")

    def _measure(self, form: Form, images: Sequence[LabelledImage]) -> None:
        for start in range(0, len(images), form.batch):
            together = images[start : start + form.batch]
            if all(image.name in self.measured[form.name] for image in together):
                continue
            results = form.run([image.photo for image in together])
            entries = []
            for image, result in zip(together, results, strict=True):
                assert image.label is not None
                areas = areas_of(resized_class_map(result.class_map, *image.label.shape), image.label, self.num_classes)
                counts = {name: getattr(areas, name).tolist() for name in _COUNTS}
                entry = {"form": form.name, "name": image.name, **counts, "tokens": result.tokens, "macs": result.macs}
                if image.name not in self.measured[form.name]:
                    entries.append(entry)
            self.progress.append(entries)
            for entry in entries:
                self._add(entry)

    def _leave_out(self, item: LeftOut) -> None:
        if item.name not in self.left_out:
            self.progress.append([{"left_out": item.name, "problem": item.problem}])
            self.left_out[item.name] = item
        self.notes.add(item)

    def _add_earlier(self) -> None:
        for entry in self.progress.entries():
            name = entry["left_out"] if "left_out" in entry else entry["name"]
            if name not in self.batch_of:  # beyond this run's limit
                continue
            if "left_out" in entry:
                self.left_out[name] = LeftOut(name, entry["problem"])
            elif entry["form"] in self.measured and name not in self.measured[entry["form"]]:
                self._add(entry)

    def _add(self, entry: Mapping[str, Any]) -> None:
        intersect, prediction, label = (np.array(entry[name], dtype=np.int64) for name in _COUNTS)
        areas = Areas(intersect, prediction + label - intersect, prediction, label)
        self.totals[entry["form"]].add(areas, tuple(entry["tokens"]), entry["macs"])
        self.measured[entry["form"]].add(entry["name"])


class _LeftOutNotes:
    """Tells of the first few things that were left out; the result has them all."""

    def __init__(self, on_note: Callable[[str], None]) -> None:
        self.on_note, self.count = on_note, 0

    def add(self, item: LeftOut) -> None:
        self.count += 1
        if self.count <= _TOLD:
            self.on_note(f"left out: {item.name}: {item.problem}")
        elif self.count == _TOLD + 1:
            self.on_note("left out: more; evaluation.json will list them all")


def _versions() -> dict[str, str]:
    found = {"edgeexport": edgeexport.__version__}
    for name in _VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # installed under another name, or not at all
            continue
    return found


def _write(result: Evaluation) -> None:
    partial = result.file.with_name(f".{result.file.name}.partial")
    try:
        partial.write_bytes(json_bytes(result.as_dict()))
        partial.replace(result.file)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise UsageError(str(result.file), problem, "free some space or give another --out-dir") from error
