"""`edgeexport tune`: candidates, what they cost, what they keep, and the one to take.

Counts of every way are priced first, from plans: what is not cheaper than the dense model is not measured at all. The search
measures the rest on photographs, in torch. Of the best few, plans of their own and their exported graphs decide.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeexport.bundle import refuse_link_of_bundle
from edgeexport.device.targets import target_named
from edgeexport.errors import UsageError, nearest_hint
from edgeexport.tune.bounds import PRECISIONS, TuneOptions, bounds_from_options, seconds_of_budget
from edgeexport.tune.measure import Subject, forget_opened, opened
from edgeexport.tune.result import TuneResult
from edgeexport.tune.runner import runner_from_options
from edgeexport.tune.study import Study
from edgeexport.tune.study_file import StudyFile
from edgeexport.tune.trials import Trials

__all__ = ["tune"]

OnProgress = Callable[[int, int, str], None]


def tune(
    subject: str | Path,
    options: TuneOptions,
    *,
    on_progress: OnProgress = lambda done, total, name: None,
    on_note: Callable[[str], None] = lambda text: None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> TuneResult:
    """Searches, and writes tune.json, tune.png, plans, tables and a recipe of what was chosen.

    Args:
        subject: A recipe, a model's name, or an ONNX file.
        options: What is asked for, and on what.
        on_progress: Called with images done and in all of what is being measured.
        on_note: Called with what the reader should know, the best so far among it.
        on_stage: Called with the name of what takes long.

    Raises:
        UsageError: Options that do not fit, no images, a study of another version, nothing that keeps what is asked.
        RecipeError, CheckpointError: See `load_recipe`.
        EdgeExportError: The dense model cannot be exported.
    """
    bounds, seconds = bounds_from_options(options), seconds_of_budget(options.budget)
    precisions = _precisions(options)
    if options.data is None:
        raise UsageError("--data", "is missing", "give a folder of images, of the kind that the model will see")
    for name, value in (("--limit", options.limit), ("--trials", options.trials)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}", "expected at least 1", "give a larger number, or leave it out")
    begun = time.monotonic()
    forget_opened()
    asked = Subject(str(subject), options.cfg_options, options.checkpoint, _photographs(options.data, on_note))
    found = opened(asked)
    asked = replace(asked, digest=found.digest)
    folder = options.out_dir if options.out_dir is not None else Path("tune") / found.dense.name
    refuse_link_of_bundle(folder, "--out-dir")
    images = min(options.limit or len(found.photos.photos), len(found.photos.photos))
    with (
        runner_from_options(options.workers, options.scheduler) as runner,
        StudyFile(folder, found.digest, restart=options.restart) as study,
    ):
        if study.resumed:
            on_note(f"{study.path}: goes on with {study.resumed} parts that an earlier run measured")
        if found.origin.origin == "random":
            on_note(found.origin.statement)
        measure = Trials(asked, found, study, runner, on_progress)
        run = Study(found, options, bounds, precisions, folder, measure, images, on_note, on_stage)
        until = math.inf if seconds is None else begun + seconds
        return run.result(str(subject), until)


def _photographs(data: Path, on_note: Callable[[str], None]) -> Path:
    """Of a folder with images/ and annotations/ the images."""
    if not ((data / "images").is_dir() and (data / "annotations").is_dir()):
        return data
    on_note(f"{data / 'annotations'}: labels are not used; what is lost is counted against the dense model")
    return data / "images"


def _precisions(options: TuneOptions) -> tuple[str, ...]:
    target = target_named(options.target)
    for name in options.precisions:
        if name not in PRECISIONS:
            raise UsageError(
                f"--precision {name}", f"expected {' or '.join(PRECISIONS)}", nearest_hint(name, PRECISIONS)
            )
    if options.precisions:
        return tuple(name for name in PRECISIONS if name in options.precisions)
    return PRECISIONS if target.needs_tensorrt else ("fp32",)
