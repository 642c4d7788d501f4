"""What report.html shows, taken from a bundle's files: text, numbers and drawings already in the form that people read.

Every figure carries how it was obtained: computed, measured, predicted or published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.profile.attribution import LAYERS_SCHEMA
from edgeexport.report.bench_view import BENCH_SCHEMA, BenchView, bench_view
from edgeexport.report.bundle_files import BundleFiles
from edgeexport.report.chart import Chart
from edgeexport.report.checks_view import CheckRow, check_rows
from edgeexport.report.comparison_view import ComparisonView, VerifyView, comparison_view, verify_view
from edgeexport.report.engine_view import EngineView, engine_view
from edgeexport.report.first_view import FirstView, first_view
from edgeexport.report.kernel_view import KernelView, kernel_view
from edgeexport.report.layer_chart import layer_chart, layers_tag
from edgeexport.report.merge_text import merge_text
from edgeexport.report.plugin_text import library_text
from edgeexport.report.prediction_view import PredictionView, prediction_view, predictions_of_bundle
from edgeexport.report.token_chart import token_chart
from edgeexport.report.token_view import TokenView, token_view
from edgeexport.report.words import WORDS, words_of_page
from edgeexport.report.work_chart import work_chart

__all__ = ["LayersView", "ReportView", "report_view"]

Json = Mapping[str, Any]

_WEIGHTS_ENTRIES = {
    "origin": "origin of the weights",
    "seed": "seed of the weights",
    "file": "checkpoint file",
    "sha256": "checkpoint sha256",
    "policy_file": "policy network's file",
    "policy_sha256": "policy network's sha256",
}


@dataclass(frozen=True)
class LayersView:
    """A chart of the model's parts: its heading, how its figures were obtained, and what is to be known of them."""

    heading: str
    provenance: tuple[str, ...]
    note: str
    chart: Chart


@dataclass(frozen=True)
class ReportView:
    """Everything that the template needs; what the bundle does not hold is None or empty.

    Attributes:
        random_weights: The model is untrained: this is said first.
        bench, no_bench: What was measured; or why there is nothing to show.
        prediction, no_prediction: Likewise what is predicted.
        first: Said first: what it is, whether it pays, whether it is right, whose weights.
        words: The words that the page uses, and what they mean.
        kernels: Kernel plans.
        picture: Describes the overlays, should there be any.
    """

    name: str
    description: str
    facts: tuple[tuple[str, str], ...]
    weights: str
    random_weights: bool
    checks: tuple[CheckRow, ...]
    tokens: TokenView | None
    token_chart: Chart | None
    work_chart: Chart | None
    bench: BenchView | None
    no_bench: str
    prediction: PredictionView | None
    no_prediction: str
    first: FirstView
    words: tuple[tuple[str, str], ...]
    kernels: KernelView | None
    layers: tuple[LayersView, ...]
    comparisons: tuple[ComparisonView, ...]
    verify: VerifyView | None
    picture: str
    engine: EngineView | None
    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    checkpoint: tuple[tuple[str, str], ...]
    recipe: str


def report_view(files: BundleFiles) -> ReportView:
    """Arranges a bundle's files."""
    manifest, tokens = files.manifest, files.tokens
    weights = manifest["weights"]
    now = files.manifest_sha256, {} if files.engine is None else files.engine.files
    engine = None if files.engine is None else engine_view(files.engine, manifest, files.timing_cache_sha256)
    bench, no_bench = _bench(files)
    measured = None if bench is None else bench_view(bench, *now)
    predicted, no_prediction = predictions_of_bundle(manifest, files.work, files.plans)
    prediction = prediction_view(predicted, bench) if predicted else None
    plans = kernel_view(manifest, files.plans)
    verified = None if files.verify is None else verify_view(files.verify, *now)
    words = words_of_page(
        manifest,
        tokens=tokens is not None,
        prediction=prediction is not None,
        plans=plans is not None,
        engine=engine is not None,
    )
    return ReportView(
        name=str(manifest["name"]),
        description=str(manifest.get("description") or ""),
        facts=(*_facts(manifest), *([("Engine", engine.summary)] if engine is not None else [])),
        weights=str(weights["statement"]),
        random_weights=weights["origin"] == "random",
        checks=tuple(check_rows(manifest["checks"])),
        tokens=None if tokens is None else token_view(tokens),
        token_chart=None if tokens is None else token_chart(tokens),
        work_chart=None if tokens is None else work_chart(tokens),
        bench=measured,
        no_bench=no_bench,
        prediction=prediction,
        no_prediction=no_prediction,
        first=first_view(
            manifest, files.parity, verified, measured, prediction, no_prediction, _reduction_text(manifest)
        ),
        words=tuple((word, WORDS[word]) for word in words),
        kernels=plans,
        layers=tuple(_layers(bench, prediction, "" if measured is None else measured.circumstances)),
        comparisons=tuple(map(comparison_view, (files.parity or {}).get("comparisons", ()))),
        verify=verified,
        picture=_picture(manifest),
        engine=engine,
        versions=(("edgeexport", str(manifest["edgeexport"])), *_pairs(manifest["versions"])),
        files=_pairs(manifest["files"]),
        checkpoint=tuple(
            (title, str(weights[key])) for key, title in _WEIGHTS_ENTRIES.items() if weights.get(key) is not None
        ),
        recipe=json.dumps(manifest.get("recipe", {}), indent=2, ensure_ascii=False),
    )


def _bench(files: BundleFiles) -> tuple[Json | None, str]:
    if files.bench is None:
        return None, "Nothing was measured yet: edgeexport profile BUNDLE, on the device."
    schema = files.bench.get("schema")
    if schema != BENCH_SCHEMA:
        return None, f"bench.json has the schema {schema!r}, this edgeexport reads {BENCH_SCHEMA!r}: profile again."
    return files.bench, ""


def _layers(bench: Json | None, prediction: PredictionView | None, circumstances: str) -> list[LayersView]:
    """One chart where measurement and prediction are for the same device and mode, else one for each."""
    measured = None if bench is None else bench.get("layers")
    if measured is not None and measured.get("schema") != LAYERS_SCHEMA:
        measured = None
    views = []
    together = bench is not None and prediction is not None and prediction.by_part is bench["predicted"]
    if bench is not None and measured is not None:
        beside = prediction.by_part if together and prediction is not None else None
        tag = layers_tag(measured)
        word = {"measured": "Measured", "estimate": "Estimated"}[tag]
        title = f"{word} time of each part of the model" + (", beside the predicted one" if together else "")
        chart = layer_chart("layers", title, measured, beside)
        how = (tag, "predicted") if together else (tag,)
        views.append(LayersView("Time of each part", how, _measured_note(circumstances, measured), chart))
    if prediction is not None and not (together and views):
        title = f"Predicted time of each part of the model on {prediction.target}, {prediction.mode}"
        note = f"On {prediction.target}, power mode {prediction.mode}; no measurement."
        chart = layer_chart("predicted", title, None, prediction.by_part)
        views.append(LayersView("Predicted time of each part", ("predicted",), note, chart))
    return views


def _measured_note(circumstances: str, layers: Json) -> str:
    placed, divided = 100 * layers["attributed_share"], 100 * layers["divided_share"]
    return (
        f"On {circumstances}: {layers['method']}. "
        f"{placed:.1f} % of the time could be placed, {divided:.1f} % was divided between parts by estimate."
    )


def _facts(manifest: Json) -> tuple[tuple[str, str], ...]:
    entry = manifest["input"]
    inputs = [_input_text(entry), *map(_named, manifest.get("extra_inputs", ()))]
    library = library_text(manifest.get("plugin_library"), manifest["target"])
    return (
        ("Target", f"{manifest['target']}, {manifest['precision']}"),
        ("Input", "; ".join(inputs)),
        ("Output", "; ".join(map(_named, manifest["outputs"]))),
        _grid_fact(manifest["grid"], entry.get("frames")),
        *([("Windows", f"{manifest['windows']} over an image, as a batch")] if manifest.get("windows", 1) > 1 else []),
        ("Reduction", _reduction_text(manifest)),
        *([("Plugin library", library)] if library else []),
    )


def _reduction_text(manifest: Json) -> str:
    """What the model does with its tokens."""
    shared = manifest["num_shared"]
    stages = [f"{shared} shared windows"] if shared else []
    stages += [f"{stage['k']} tokens pruned after block {stage['block']}" for stage in manifest["prune"]]
    stages += [merge_text(manifest["merges"])] if manifest.get("merges") else []
    return "; ".join(stages) or "none (dense)"


def _input_text(entry: Json) -> str:
    """Shape, order of the channels where they are colours, and whether the graph normalises."""
    if entry.get("context"):  # a latent's features
        return _tensor(entry)
    colours = entry.get("channels") and entry.get("num_channels", 3) == 3
    order = f", {entry['channels']}" if colours else ""
    return f"{_tensor(entry)}{order}, {'normalised in the graph' if entry['preprocess'] else 'taken normalised'}"


def _grid_fact(grid: Json, frames: int | None) -> tuple[str, str]:
    cells, side = f"{grid['rows']} x {grid['columns']}", grid["patch_size"]
    if not side:
        return "Latent grid", cells
    return "Patches", f"{cells} of {side} x {side} pixels" + (f", over clips of {frames} frames" if frames else "")


def _named(item: Json) -> str:
    return f"{item['name']}: {_tensor(item)}"


def _tensor(item: Json) -> str:
    return f"{item['dtype']} {_shape(item['shape'])}"


def _picture(manifest: Json) -> str:
    """What an overlay shows, for those who do not see it."""
    if manifest.get("merges"):
        return "A photograph in which tokens that merged are filled with one colour; the legend is below it."
    if manifest["num_shared"] or manifest["prune"]:
        return (
            "Classes in colour over a photograph, with the tokens that were shared and pruned; the legend is below it."
        )
    return "The prediction over a photograph; the legend is below it."


def _pairs(entries: Json) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(value)) for name, value in entries.items())


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
