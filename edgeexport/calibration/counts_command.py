"""`edgeexport calibrate` for counts: from an adaptive SegViT and images to the constants of its fixed form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeexport.bundle.source_hash import program_sha256
from edgeexport.calibration.counts import protected_per_class
from edgeexport.calibration.counts_files import CountsFiles, write_counts_files
from edgeexport.calibration.counts_outcome import CountsOutcome
from edgeexport.calibration.counts_request import CountsTask, request_from_options, task_from_recipe
from edgeexport.calibration.counts_run import KEPT_FILES, CountsRun
from edgeexport.calibration.image_passes import OnProgress, UsableImages, usable_folder
from edgeexport.errors import UsageError
from edgeexport.evaluation.dataset import LeftOut, SegmentationFolder
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.fixed.weights import WeightsOrigin, segvit_from_recipe
from edgeexport.recipe import load_recipe

__all__ = ["ALIGN", "CountsCalibration", "calibrate_counts"]

ALIGN = 8
"""Token counts that matrix units like: multiples of this."""

_TOLD = 5


@dataclass(frozen=True)
class CountsCalibration:
    """What was found, and where it was written."""

    outcome: CountsOutcome
    files: CountsFiles

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form: calibration.json without the observations, which are many."""
        document = self.outcome.as_dict()
        del document["observations"]
        return {**document, "files": self.files.as_dict()}


def calibrate_counts(
    recipe: str | Path,
    *,
    data: Path | None,
    split: str | None = None,
    coverage: float | None = None,
    max_miou_drop: float | None = None,
    macs: float | None = None,
    latency_ms: float | None = None,
    latency_table: Path | None = None,
    threshold: float | None = None,
    checkpoint: Path | None = None,
    cfg_options: Sequence[str] = (),
    limit: int | None = None,
    reduce_zero_label: bool = False,
    out_dir: Path | None = None,
    restart: bool = False,
    on_progress: OnProgress = lambda done, total, task: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> CountsCalibration:
    """Proposes how many windows to share and tokens to prune, by exactly one method, and writes recipe, evidence and plots.

    Args:
        recipe: Path or name of a shipped recipe: a SegViT with auxiliary PruneHeads or CTS.
        data, split, limit: Images, with annotations or without; see `edgeexport.evaluation.dataset.open_folder`. Without
            ``data`` it is refused, once the rest was checked.
        coverage: The share of images for which no constant prunes a token below its threshold.
        max_miou_drop: Points of mIoU that may be lost against the dense model; the cheapest counts within. Needs labels.
        macs: A budget of multiply-accumulates per image; the best counts within.
        latency_ms, latency_table: A budget of milliseconds by a table of parts; the best counts within.
        threshold: Instead of the thresholds that the heads state.
        checkpoint, cfg_options: See `load_recipe`.
        reduce_zero_label: Annotations number classes from 1, and 0 is none.
        out_dir: Where files go; None: ``calibration/<recipe>``. An interrupted calibration goes on from what is there.
        restart: Begin anew, whatever an earlier run left there.
        on_progress: Called with (images done, images in all, what is being done).
        on_note: Called with what the reader should know, such as an image that was left out.

    Raises:
        UsageError: Options, recipe and data do not fit together, or nothing can be written.
        RecipeError, CheckpointError: See there.
    """
    request = request_from_options(coverage, max_miou_drop, macs, latency_ms, threshold)
    loaded = load_recipe(recipe, cfg_options, checkpoint)
    loaded = replace(loaded, input=replace(loaded.input, batch=1))  # images are observed one by one
    task = task_from_recipe(loaded, request, latency_table=latency_table, align=ALIGN)
    if data is None:
        raise UsageError(
            "calibrate", "counts need images, found no --data", "give the folder of a data set, or of photographs"
        )
    folder = usable_folder(data, split=split, labels_needed=request.method == "max-miou-drop", limit=limit)
    model, origin = segvit_from_recipe(task.everything)
    if origin.origin == "random":
        on_note(origin.statement)
    target = out_dir if out_dir is not None else Path("calibration") / loaded.name
    images = UsableImages(
        folder, loaded.segvit.decode_head.num_classes, reduce_zero_label=reduce_zero_label, on_left_out=_told(on_note)
    )
    key = _key(task, origin, folder, reduce_zero_label)
    with ExitStack() as stack:
        kept = [
            stack.enter_context(ProgressFile(target / name, schema, key, restart=restart))
            for name, schema in KEPT_FILES
        ]
        if kept[0].begun_anew:
            on_note(f"{target}: {kept[0].begun_anew}, so the calibration begins anew")
        run = CountsRun(task, images, model, kept, align=ALIGN, on_progress=on_progress)
        if run.resumed:
            on_note(f"{target}: {run.resumed} results of an earlier run are used; --restart drops them")
        outcome = run.outcome(
            weights=origin.as_dict(),
            cfg_options=tuple(cfg_options),
            data={
                "folder": str(data),
                "split": split,
                "content_sha256": folder.content_sha256(),
                "labelled": folder.labelled,
                "limit": limit,
                "reduce_zero_label": reduce_zero_label,
            },
        )
    return CountsCalibration(outcome, write_counts_files(outcome, target))


def _key(
    task: CountsTask, origin: WeightsOrigin, folder: SegmentationFolder, reduce_zero_label: bool
) -> dict[str, str]:
    """What observations and qualities depend on, method and thresholds apart: those are told entry by entry."""
    recipe = task.recipe
    text = {
        name: value for name, value in recipe.text.items() if name not in ("checkpoint", "reduction", "extra_outputs")
    }
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


def _told(on_note: Callable[[str], None]) -> Callable[[LeftOut], None]:
    """Tells of the first few things that were left out."""
    count = 0

    def tell(item: LeftOut) -> None:
        nonlocal count
        count += 1
        if count <= _TOLD:
            on_note(f"left out: {item.name}: {item.problem}")
        elif count == _TOLD + 1:
            on_note("left out: more; calibration.json lists them all")

    return tell
