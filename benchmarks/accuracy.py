"""Accuracy, work and latency of the trained scenes recipes, adaptive and fixed: the table of docs/accuracy.md.

Accuracy is measured on scenes held out from training; every form sees the same ones. Latency is that of the bundle in ONNX
Runtime, and of the adaptive form in torch, which is the only place where it runs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image

from benchmarks.pairing import THREADS, latencies_ms, ratio_summary, session_options
from edgeexport.bundle import Bundle, open_bundle, sha256_of
from edgeexport.calibration.counts import counts_from_recipe
from edgeexport.calibration.interval import drop_interval
from edgeexport.calibration.matched_thresholds import matched_thresholds
from edgeexport.calibration.observations import observe_published
from edgeexport.errors import BuildError
from edgeexport.evaluation.areas import Areas
from edgeexport.evaluation.dataset import SegmentationFolder, labelled_images
from edgeexport.evaluation.evaluate import evaluate
from edgeexport.evaluation.executions import PublishedExecution
from edgeexport.evaluation.folder_layout import open_folder
from edgeexport.evaluation.options import EvaluationOptions
from edgeexport.evaluation.result import Evaluation
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo, open_photo
from edgeexport.recipe import load_recipe
from examples.scenes.ceiling import oracle_ceiling

__all__ = ["ROWS", "markdown_table", "measure_accuracy"]

ROWS = {
    "dense": "scenes_dense",
    "CTS": "scenes_cts",
    "DToP, one head": "scenes_dtop_one_head",
    "DToP": "scenes_dtop",
    "CTS + DToP": "scenes_cts_dtop",
    "ToMe": "scenes_tome",
}
SCHEMA = "edgeexport.accuracy/1"
_GRID_PATCH = 16


def measure_accuracy(
    data: Path,
    split: str,
    threshold_split: str,
    rounds: int,
    limit: int | None,
    work: Path,
    on_stage: Callable[[str], None],
) -> dict[str, Any]:
    """The table as a JSON-ready dict.

    Args:
        data, split: Labelled scenes, see `examples.scenes.generate`.
        threshold_split: The adaptive forms' thresholds are chosen on these scenes: they prune as many tokens on average as the
            fixed forms prune of every image, so that both are compared at equal mean tokens.
        rounds: Paired rounds of timing.
        limit: Only the first images; None: all.
        work: Folder for bundles and evaluations; an interrupted measurement goes on from what it holds.
    """
    folder = open_folder(data, split=split, limit=limit)
    choosing = open_folder(data, split=threshold_split, limit=limit)
    thresholds: dict[str, dict[int, float]] = {}
    rows: dict[str, dict[str, Any]] = {}
    bundles: dict[str, Bundle] = {}
    per_image: dict[str, list[Areas]] = {}
    for label, name in ROWS.items():
        on_stage(f"{name}: thresholds on {len(choosing.samples)} images")
        thresholds[label] = _matched(name, choosing)
        on_stage(f"{name}: torch adaptive and fixed on {len(folder.samples)} images")
        torch_forms = evaluate(
            f"{name}.py",
            EvaluationOptions(
                data=data,
                split=split,
                limit=limit,
                executions=("adaptive", "fixed"),
                thresholds=thresholds[label] or None,
                out_dir=work / name,
            ),
        )
        on_stage(f"{name}: build")
        bundle = work / f"{name}-bundle"
        _edgeexport("build", f"{name}.py", "--target", "cpu", "--work-dir", str(bundle))
        bundles[label] = open_bundle(bundle)
        on_stage(f"{name}: ONNX Runtime on {len(folder.samples)} images")
        options = ["--split", split, "--form", "onnxruntime", "--out-dir", str(work / f"{name}-onnxruntime")]
        options += [] if limit is None else ["--limit", str(limit)]
        deployed = _edgeexport("evaluate", str(bundle), "--data", str(data), *options)
        rows[label] = {"recipe": name, "forms": {**_forms(torch_forms), **deployed["forms"]}}
        for form in ("adaptive", "fixed"):
            per_image[f"{label}/{form}"] = _areas(work / name / "progress.jsonl", form, folder)
    for label, row in rows.items():
        for form in ("adaptive", "fixed"):
            interval = drop_interval(per_image["dense/fixed"], per_image[f"{label}/{form}"])
            row["forms"][form]["drop_from_dense"] = None if interval is None else interval.as_dict()
        interval = drop_interval(per_image[f"{label}/adaptive"], per_image[f"{label}/fixed"])
        row["fixed_drop_from_adaptive"] = None if interval is None else interval.as_dict()
        policy = int(bundles[label].json("tokens.json")["policy_network"]["macs"])
        row["policy_macs"] = policy
        for form in row["forms"].values():
            form["gmac"] = round(form["macs_mean"] / 1e9, 4)
            form["gmac_without_policy"] = round((form["macs_mean"] - policy) / 1e9, 4)
    on_stage(f"latency: {rounds} paired rounds")
    latency = _latency(bundles, thresholds, open_photo(folder.samples[0].image), rounds)
    for label, figures in latency.items():
        rows[label]["latency"] = figures
    annotations = [sample.annotation for sample in folder.samples if sample.annotation is not None]
    ceiling = oracle_ceiling((np.asarray(Image.open(path, formats=("PNG",))) for path in annotations), _GRID_PATCH)
    return {
        "schema": SCHEMA,
        "provenance": "measured; MACs computed",
        "threads": THREADS,
        "versions": {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__},
        "thresholds_from": {
            "split": threshold_split,
            "images": len(choosing.samples),
            "sha256": choosing.content_sha256(),
        },
        "data": {"split": split, "images": len(folder.samples), "sha256": folder.content_sha256()},
        "recipes_sha256": {name: sha256_of(load_recipe(f"{name}.py").path) for name in ROWS.values()},
        "checkpoint_sha256": bundles["dense"].manifest["weights"]["sha256"],
        "ceiling_miou": {"bilinear": round(ceiling.bilinear_miou, 2), "majority": round(ceiling.majority_miou, 2)},
        "uniform_windows_percent": round(100 * ceiling.pure_windows, 1),
        "rows": rows,
    }


def markdown_table(found: Mapping[str, Any]) -> str:
    """The table of docs/accuracy.md."""
    columns = ("Recipe", "Form", "mIoU %", "against dense", "Tokens", "GMAC", "with policy network", "ms", "Speed-up")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    dense = found["rows"]["dense"]["forms"]["fixed"]["miou"]
    for label, row in found["rows"].items():
        for form, executor in (("adaptive", "torch"), ("fixed", "ONNX Runtime")):
            if label == "dense" and form == "adaptive":
                continue
            figures = row["forms"][form if form == "adaptive" else "onnxruntime"]
            drop = row["forms"][form]["drop_from_dense"]
            against = (
                ""
                if label == "dense"
                else f"{figures['miou'] - dense:+.2f} ({-drop['high']:+.2f} to {-drop['low']:+.2f})"
            )
            time = row["latency"][form]
            speedup = f"{time['speedup']['median']:.2f}" if "speedup" in time else ""
            cells = (
                f"`{row['recipe']}`",
                f"{form}, {executor}",
                f"{figures['miou']:.2f}",
                "" if label == "dense" else against,
                f"{figures['tokens_mean']:.0f}",
                f"{figures['gmac_without_policy']:.3f}",
                f"{figures['gmac']:.3f}",
                f"{time['ms']:.1f}",
                speedup,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _edgeexport(*arguments: str) -> dict[str, Any]:
    """A command in a process of its own, for this one's sessions share a thread pool; its JSON.

    Raises:
        BuildError: The command failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "edgeexport.cli", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"edgeexport {' '.join(arguments)}", f"ended with exit code {done.returncode}", "see above")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _forms(result: Evaluation) -> dict[str, dict[str, Any]]:
    document = result.as_dict()["forms"]
    assert isinstance(document, dict)
    return {name: dict(figures) for name, figures in document.items()}


def _areas(progress: Path, form: str, folder: SegmentationFolder) -> list[Areas]:
    """Areas per image, in the folder's order, from what the evaluation wrote."""
    found = {}
    for line in progress.read_text(encoding="utf-8").splitlines()[1:]:
        entry = json.loads(line)
        if entry.get("form") == form:
            found[entry["name"]] = Areas.of(*(entry[key] for key in ("intersect", "prediction", "label")))
    return [found[sample.name] for sample in folder.samples]


def _matched(name: str, images: SegmentationFolder) -> dict[int, float]:
    """Block -> the threshold at which the mean count is the recipe's; empty for recipes that prune nothing."""
    recipe = load_recipe(f"{name}.py")
    counts = counts_from_recipe(recipe)
    if not counts.prune:
        return {}
    model, _ = model_from_recipe(recipe)
    decoded = list(labelled_images(images, len(recipe.classes), on_problem=lambda item: None))
    return matched_thresholds(lambda limits: list(observe_published(model, recipe, decoded, limits)), counts)


def _latency(
    bundles: Mapping[str, Bundle], thresholds: Mapping[str, dict[int, float]], photo: Image.Image, rounds: int
) -> dict[str, dict[str, Any]]:
    """Milliseconds of every bundle in ONNX Runtime, and of the adaptive forms in torch, in turns."""
    torch.set_num_threads(THREADS)
    candidates: dict[str, Callable[[], object]] = {}
    for label, bundle in bundles.items():
        image = np.stack([input_from_photo(photo, bundle.input)])
        session = onnxruntime.InferenceSession(
            bundle.path / "model.onnx", session_options(), providers=["CPUExecutionProvider"]
        )
        feed = {session.get_inputs()[0].name: image}
        candidates[f"{label}/fixed"] = partial(session.run, None, feed)
    in_torch = {label: _adaptive_runner(name, thresholds[label], photo) for label, name in ROWS.items()}
    adaptive = latencies_ms(in_torch, max(rounds // 4, 3), warmup=1)
    fixed = latencies_ms(candidates, rounds)
    result: dict[str, dict[str, Any]] = {}
    for label in bundles:
        times = fixed[f"{label}/fixed"]
        own = {"ms": round(statistics.median(times), 2), "speedup": ratio_summary(fixed["dense/fixed"], times)}
        result[label] = {"fixed": own, "adaptive": {"ms": round(statistics.median(adaptive[label]), 2)}}
    return result


def _adaptive_runner(name: str, thresholds: dict[int, float], photo: Image.Image) -> Callable[[], object]:
    recipe = load_recipe(f"{name}.py")
    model, _ = model_from_recipe(recipe)
    execution = PublishedExecution(model, recipe, thresholds)
    return lambda: execution.run([photo])
