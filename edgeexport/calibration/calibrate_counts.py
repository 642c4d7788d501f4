"""`edgeexport calibrate` for counts: from a SegViT that prunes by threshold and images to the constants of its fixed form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeexport.bundle import refuse_link_of_bundle
from edgeexport.bundle.places import check_writable
from edgeexport.bundle.source_hash import program_sha256
from edgeexport.calibration.counts import protected_per_class
from edgeexport.calibration.evidence_files import EvidenceFiles, write_evidence
from edgeexport.calibration.images import OnProgress, SegmenterOnImages, UsableImages, usable_folder
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.calibration.outcome import CalibrationOutcome
from edgeexport.calibration.request import request_from_options
from edgeexport.calibration.run import KEPT_FILES, CalibrationRun
from edgeexport.calibration.task import CalibrationTask, task_from_recipe
from edgeexport.errors import UsageError
from edgeexport.evaluation.dataset import SegmentationFolder
from edgeexport.evaluation.executions import segmenter_model
from edgeexport.evaluation.label_numbers import reduced_zero
from edgeexport.evaluation.left_out_notes import LeftOutNotes
from edgeexport.evaluation.output_folder import UNWRITABLE
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.evaluation.segmenter_spec import class_count
from edgeexport.fixed.weights import WeightsOrigin
from edgeexport.recipe import load_recipe

__all__ = ["CountsCalibration", "calibrate_counts"]


@dataclass(frozen=True)
class CountsCalibration:
    """What was found, and where it was written."""

    outcome: CalibrationOutcome
    files: EvidenceFiles

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form: calibration.json without the observations, which are many."""
        document = self.outcome.as_dict()
        del document["observations"]
        return {**document, "files": self.files.as_dict()}


def calibrate_counts(
    recipe: str | Path,
    options: CalibrationOptions,
    *,
    on_progress: OnProgress = lambda done, total, task: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> CountsCalibration:
    """Proposes how many windows to share and tokens to prune, by exactly one method, and writes recipe, evidence and plots.

    Args:
        recipe: Path or name of a shipped recipe: a SegViT with auxiliary PruneHeads or CTS.
        options: On what, and by which method. Without ``data`` it is refused, once the rest was checked. Files go to
            ``calibration/<recipe>`` by default.
        on_progress: Called with (images done, images in all, what is being done).
        on_note: Called with what the reader should know, such as an image that was left out.

    Raises:
        UsageError: Options, recipe and data do not fit together, or nothing can be written.
        RecipeError, CheckpointError: See there.
    """
    request = request_from_options(options)
    loaded = load_recipe(recipe, options.cfg_options, options.checkpoint)
    loaded = replace(loaded, input=replace(loaded.input, batch=1))  # images are observed one by one
    task = task_from_recipe(loaded, request, options.latency_table)
    if options.data is None:
        raise UsageError(
            "calibrate", "counts need images, found no --data", "give the folder of a data set, or of photographs"
        )
    labels_needed = request.method == "max-miou-drop"
    folder = usable_folder(
        options.data,
        split=options.split,
        labels_needed=labels_needed,
        limit=options.limit,
        endings=options.endings(loaded.labels),
    )
    reduced = reduced_zero(options, loaded.labels, on_note)
    model, origin = segmenter_model(task.everything)
    if origin.origin == "random":
        on_note(origin.statement)
    target = options.out_dir if options.out_dir is not None else Path("calibration") / loaded.name
    refuse_link_of_bundle(target, "--out-dir")
    check_writable(target / f"{loaded.name}_calibrated.py", UNWRITABLE, UsageError)
    images = UsableImages(
        folder,
        class_count(loaded),
        reduce_zero_label=reduced,
        on_left_out=LeftOutNotes(on_note, "calibration.json lists them all"),
    )
    key = _key(task, origin, folder, reduced)
    with ExitStack() as stack:
        kept = [
            stack.enter_context(ProgressFile(target / name, schema, key, restart=options.restart))
            for name, schema in KEPT_FILES
        ]
        if kept[0].begun_anew:
            on_note(f"{target}: {kept[0].begun_anew}, so the calibration begins anew")
        run = CalibrationRun(task, SegmenterOnImages(model, loaded, images, on_progress), kept)
        if run.resumed:
            on_note(f"{target}: {run.resumed} results of an earlier run are used; --restart drops them")
        outcome = run.outcome(
            weights=origin.as_dict(),
            cfg_options=options.cfg_options,
            data={
                "folder": str(options.data),
                "split": options.split,
                "content_sha256": folder.content_sha256(),
                "labelled": folder.labelled,
                "limit": options.limit,
                "reduce_zero_label": reduced,
            },
        )
    return CountsCalibration(outcome, write_evidence(outcome, target))


def _key(
    task: CalibrationTask, origin: WeightsOrigin, folder: SegmentationFolder, reduce_zero_label: bool
) -> dict[str, str]:
    """What observations and qualities depend on, method and thresholds apart: those are told entry by entry."""
    recipe = task.recipe
    elsewhere = ("checkpoint", "reduction", "extra_outputs")
    text = {name: value for name, value in recipe.text.items() if name not in elsewhere}
    weights = (origin.origin, origin.seed, origin.sha256, origin.policy_sha256)
    return {
        "weights file": _sha256(weights),
        "recipe": _sha256([text, protected_per_class(recipe), task.blocks, task.shares]),
        "data set": folder.listing_sha256(),
        "set of options": f"reduce_zero_label={reduce_zero_label}",
        "program": program_sha256(),
    }


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()
