"""`edgeexport evaluate`: accuracy, tokens and work of a recipe or a bundle on labelled images, in every execution in reach.

Images stream through all executions one batch after another, and what each image gave is written at once, so that an
interrupted evaluation goes on where it stopped, with the same result: batches hold the same images whatever was done before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import lcm
from pathlib import Path
from typing import Any

from edgeexport.bundle import json_bytes, refuse_link_of_bundle
from edgeexport.bundle.files import write_file
from edgeexport.bundle.source_hash import program_sha256
from edgeexport.documents.progress import measured
from edgeexport.evaluation.areas import Areas, areas_of
from edgeexport.evaluation.dataset import (
    LabelledImage,
    LeftOut,
    SegmentationFolder,
    check_sequences,
    labelled_images,
    nothing_usable,
)
from edgeexport.evaluation.executions import Execution
from edgeexport.evaluation.folder_layout import open_folder
from edgeexport.evaluation.label_numbers import reduced_zero
from edgeexport.evaluation.left_out_notes import LeftOutNotes
from edgeexport.evaluation.options import EvaluationOptions
from edgeexport.evaluation.output_folder import written_to
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.evaluation.result import Evaluation, ExecutionTotals, scores_from_totals
from edgeexport.evaluation.segmenter import Segmenter, segmenter_from_argument
from edgeexport.evaluation.versions import versions_of

__all__ = ["default_output_folder", "evaluate"]

_PROGRESS_SCHEMA = "edgeexport.evaluation_progress/1"
_VERSIONED = ("numpy", "pillow", "torch", "onnxruntime", "onedl-mmsegmentation")
_COUNTS = ("intersect", "prediction", "label")  # the union follows from them


def evaluate(
    argument: str | Path,
    options: EvaluationOptions,
    *,
    on_progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Measures a segmenter on labelled images; writes progress.jsonl and evaluation.json.

    Args:
        argument: A bundle folder, or a recipe's path or name.
        options: On what, and how.
        on_progress: Called before the first and after every batch with (images done, images in all, last name). What is
            done is on disk by then.
        on_note: Called with what the reader should know, such as an image that was left out.

    Raises:
        UsageError: The data, the executions or the segmenter do not fit, or nothing can be written.
        RecipeError, CheckpointError, BundleError, BuildError: See there.
    """
    # Mistakes are told before weights are read; how files are called, the recipe knows.
    open_folder(options.data, split=options.split, limit=options.limit, labels="optional", endings=options.endings())
    segmenter = segmenter_from_argument(argument, options, on_note)
    endings = options.endings(segmenter.labels)
    folder = open_folder(options.data, split=options.split, limit=options.limit, endings=endings)
    reduced = reduced_zero(options, segmenter.labels, on_note)
    check_sequences(folder, options.policy_every)
    target = options.out_dir if options.out_dir is not None else default_output_folder(segmenter)
    refuse_link_of_bundle(target, "--out-dir")
    # Of the whole folder: a look at the first few images must not drop what a long run has measured.
    whole = folder if options.limit is None else open_folder(options.data, split=options.split, endings=endings)
    key = {
        "model": segmenter.model_sha256,
        "data set": whole.listing_sha256(),
        "set of options": f"reduce_zero_label={reduced}, thresholds={dict(options.thresholds or {})}",
        "program": program_sha256(),
    }
    with ProgressFile(target / "progress.jsonl", _PROGRESS_SCHEMA, key, restart=options.restart) as progress:
        if progress.begun_anew:
            on_note(f"{progress.path}: {progress.begun_anew}, so the evaluation begins anew")
        notes = LeftOutNotes(on_note, "evaluation.json will list them all")
        for item in folder.left_out:
            notes(item)
        run = _Run(segmenter, folder, progress, reduced, on_progress, notes)
        if complete := len(run.complete()):
            done = f"{complete} of {len(folder.samples)} images were done by an earlier run"
            on_note(f"{progress.path}: {done}; --restart measures them anew")
        run.finish()
    result = Evaluation(
        name=segmenter.name,
        kind=segmenter.kind,
        recipe=segmenter.recipe,
        weights=segmenter.weights,
        data=options.data,
        split=options.split,
        data_sha256=folder.content_sha256(),
        reduce_zero_label=reduced,
        classes=segmenter.classes,
        primary_name=segmenter.primary,
        executions={
            execution.name: scores_from_totals(run.totals[execution.name], execution.settings)
            for execution in segmenter.executions
        },
        not_run=segmenter.not_run,
        left_out=(*folder.left_out, *run.left_out.values()),
        versions=versions_of(_VERSIONED),
        file=target / "evaluation.json",
    )
    _write(result)
    return result


def default_output_folder(segmenter: Segmenter) -> Path:
    """``evaluation/<bundle folder or recipe>`` in the working directory."""
    return Path("evaluation") / segmenter.name


class _Run:
    """One evaluation under way.

    Samples are dealt into batches by their place in the folder, and what cannot be used leaves its place empty: so a
    batch holds the same images in every run, and an image's figures do not depend on where a run was interrupted.

    Attributes:
        totals: Execution -> sums over the images measured so far.
        left_out: Name -> samples that could not be used.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        folder: SegmentationFolder,
        progress: ProgressFile,
        reduce_zero_label: bool,
        on_progress: Callable[[int, int, str], None],
        notes: LeftOutNotes,
    ) -> None:
        self.executions, self.folder, self.progress = segmenter.executions, folder, progress
        self.reduce_zero_label = reduce_zero_label
        self.on_progress, self.notes = on_progress, notes
        self.num_classes = len(segmenter.classes)
        size = lcm(*(execution.batch for execution in self.executions))
        self.batch_of = {sample.name: place // size for place, sample in enumerate(folder.samples)}
        names = [execution.name for execution in self.executions]
        self.totals = {name: ExecutionTotals(Areas.zero(self.num_classes), []) for name in names}
        self.measured: dict[str, set[str]] = {name: set() for name in names}
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
            self.notes(self.left_out[name])
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
            for execution in self.executions:
                self._measure(execution, chosen)
            self.on_progress(len(complete) + bisect_right(waiting, batch), total, chosen[-1].name)
        if not all(totals.images for totals in self.totals.values()):
            raise nothing_usable(self.folder, next(iter(self.left_out.values())))
        self.on_progress(total, total, "")

    def _measure(self, execution: Execution, images: Sequence[LabelledImage]) -> None:
        measured = self.measured[execution.name]
        for start in range(0, len(images), execution.batch):
            together = images[start : start + execution.batch]
            if all(image.name in measured for image in together):
                continue
            predictions = execution.run([image.photo for image in together])
            entries = []
            for image, prediction in zip(together, predictions, strict=True):
                if image.name in measured:
                    continue
                assert image.label is not None
                areas = areas_of(prediction.class_map, image.label, self.num_classes)
                counts = {name: getattr(areas, name).tolist() for name in _COUNTS}
                cost = {"tokens": prediction.cost.tokens, "macs": prediction.cost.macs}
                entries.append({"form": execution.name, "name": image.name, **counts, **cost})
            self.progress.append(entries)
            for entry in entries:
                self._add(entry)

    def _leave_out(self, item: LeftOut) -> None:
        if item.name not in self.left_out:
            self.progress.append([{"left_out": item.name, "problem": item.problem}])
            self.left_out[item.name] = item
        self.notes(item)

    def _add_earlier(self) -> None:
        for entry in self.progress.entries(measured(self.num_classes)):
            name = entry["left_out"] if "left_out" in entry else entry["name"]
            if name not in self.batch_of:  # beyond this run's limit
                continue
            if "left_out" in entry:
                self.left_out[name] = LeftOut(name, entry["problem"])
            elif entry["form"] in self.measured and name not in self.measured[entry["form"]]:
                self._add(entry)

    def _add(self, entry: Mapping[str, Any]) -> None:
        areas = Areas.of(*(entry[name] for name in _COUNTS))
        self.totals[entry["form"]].add(areas, entry["tokens"], entry["macs"])
        self.measured[entry["form"]].add(entry["name"])


def _write(result: Evaluation) -> None:
    with written_to(result.file):
        write_file(result.file, json_bytes(result.as_dict()))
