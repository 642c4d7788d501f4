"""The figures of a bundle by name: what `edgeexport compare` shows, and what its conditions may use.

| Name | Meaning | From |
|---|---|---|
| latency_p50_ms, _p90_ms, _p99_ms, _mean_ms, _min_ms, _max_ms, _cv, _n | compute time of an inference | bench.json |
| enqueue_p50_ms ..., transfer_p50_ms ..., end_to_end_p50_ms ... | its other rows | bench.json |
| latency.ratio, .ratio_low, .ratio_high | B's compute time over A's, and its 95 % interval | both bench.json |
| energy_gross_mj, energy_net_mj, power_load_w, power_idle_w | per inference, and at work and at rest | bench.json |
| parity.cosine, .agreement, .jaccard | the lowest of all comparisons; 1 is equal | parity.json |
| parity.max_abs, .max_rel | the largest error of all comparisons | parity.json |
| parity.comparisons, .failed, .differing, .unexplained, .not_finite | counts | parity.json |
| verify.cosine ... | as for parity, of the last `edgeexport verify` | verify.json |
| tokens.macs, .macs_without_policy, .dense_macs, .dense_over_reduced | multiply-accumulates per image | tokens.json |
| tokens.out, tokens.mean | tokens after the last block; mean over the blocks | tokens.json |
| graphs.decode.macs, .bytes, .weight_bytes | of one of several graphs, per run | manifest.json |
| cache.slots, .length, .bytes | kept slots, places of a prompt, bytes with room for new tokens | manifest.json |
| evaluation.miou, .pixel_accuracy, .forms.onnxruntime.miou ... | every number in it, by its path | evaluation.json |
| bench.x.y, engine.x | every other number in them, by its path | bench.json, engine.json |
| files.model_onnx_bytes, ..., files.plugins_bytes, files.total_bytes | sizes | the folder |

What stands in a name of a file and is no letter, digit or underscore becomes an underscore.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from edgeexport.bundle import Bundle, sha256_of
from edgeexport.comparison.agreement import AGREEMENT_NAMES, agreement_figures
from edgeexport.comparison.outdated import engine_left_out, outdated
from edgeexport.documents import IN_A_BUNDLE, read_document

__all__ = [
    "HEADLINES",
    "RATIO_NAMES",
    "VOCABULARY",
    "BundleFigures",
    "Metric",
    "bundle_figures",
    "is_row_statistic",
    "latency_samples",
    "source_of",
]

HEADLINES = (
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p99_ms",
    "latency_cv",
    "end_to_end_p50_ms",
    "energy_gross_mj",
    "energy_net_mj",
    "tokens.macs",
    "tokens.mean",
    "tokens.out",
    "cache.slots",
    "cache.bytes",
    "graphs.prefill.macs",
    "graphs.decode.macs",
    "graphs.decode.bytes",
    "parity.failed",
    "parity.cosine",
    "parity.agreement",
    "parity.jaccard",
    "verify.failed",
    "verify.cosine",
    "verify.agreement",
    "verify.jaccard",
    "evaluation.miou",
    "evaluation.pixel_accuracy",
    "files.model_onnx_bytes",
    "files.engine_plan_bytes",
    "files.total_bytes",
)
"""Shown where no condition asks for others, in this order."""

ROWS = {"latency": "compute", "enqueue": "enqueue", "transfer": "transfer", "end_to_end": "end_to_end"}
"""First part of a name -> row of bench.json."""

_STATISTICS = ("p50", "p90", "p99", "mean", "min", "max")
_POWER = {
    "energy_gross_mj": "gross_mj",
    "energy_net_mj": "net_mj",
    "power_load_w": "load_w",
    "power_idle_w": "idle_w",
}
_TOTALS = ("macs", "macs_without_policy", "dense_macs", "dense_over_reduced", "dense_over_reduced_without_policy")
_ROW_NAME = re.compile(rf"(?:{'|'.join(ROWS)})_(?:(?:mean|min|max|p\d+(?:_\d+)?)_ms|cv|n)")

RATIO_NAMES = ("latency.ratio", "latency.ratio_low", "latency.ratio_high")
"""Of both bundles: `edgeexport.comparison.ratio`."""

VOCABULARY = (
    *RATIO_NAMES,
    *(f"{row}_{statistic}_ms" for row in ROWS for statistic in _STATISTICS),
    *(f"{row}_{rest}" for row in ROWS for rest in ("cv", "n")),
    *_POWER,
    *(f"{root}.{name}" for root in ("parity", "verify") for name in AGREEMENT_NAMES),
    *(f"tokens.{name}" for name in (*_TOTALS, "out", "mean")),
    *(f"evaluation.{name}" for name in ("miou", "pixel_accuracy", "mean_accuracy", "tokens_mean", "macs_mean")),
    "engine.build_seconds",
    *(
        f"files.{name}_bytes"
        for name in ("model_onnx", "model_trt_onnx", "engine_plan", "engine_onnx", "plugins", "total")
    ),
)
"""Names that mean something whether or not a bundle has them."""

# Root of a name -> file, and what writes it.
_SOURCES = {
    "bench": ("bench.json", "edgeexport profile {bundle}"),
    "power": ("bench.json", "edgeexport profile {bundle} --power"),
    "parity": ("parity.json", "edgeexport build"),
    "verify": ("verify.json", "edgeexport verify {bundle}"),
    "tokens": ("tokens.json", "edgeexport build"),
    "evaluation": ("evaluation.json", "edgeexport evaluate {bundle} --data DIR --out-dir {bundle}"),
    "engine": ("engine.json", "edgeexport build {bundle}"),
    "files": ("the folder", "edgeexport build {bundle}"),
    "graphs": ("manifest.json", "edgeexport build"),
    "cache": ("manifest.json", "edgeexport build"),
}


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: As in the table above.
        value: Finite.
        source: The file that it comes from.
        provenance: How that file obtained it: 'measured', 'computed', 'predicted', or 'compared' for parity and verify.
    """

    name: str
    value: float
    source: str
    provenance: str


@dataclass(frozen=True)
class BundleFigures:
    """All figures of a bundle.

    Attributes:
        bundle: Where they come from.
        metrics: Name -> figure.
        bench: bench.json; None where the bundle was not profiled.
        engine: engine.json; None where there is no engine.
        outdated: 'bench.json', 'verify.json' -> what it is of, where that is no longer in the bundle.
        engine_not_verified: What verify.json is of instead of the engine; empty where it is of the engine, or there is none.
    """

    bundle: Bundle
    metrics: Mapping[str, Metric]
    bench: Mapping[str, Any] | None
    engine: Mapping[str, Any] | None
    outdated: Mapping[str, str]
    engine_not_verified: str

    @property
    def unstable(self) -> str:
        """What changed during the measurement (`profile --allow-unstable`); empty if nothing did, or none was made."""
        bench = self.bench or {}
        if bench.get("stable", True):
            return ""
        return "; ".join(map(str, bench.get("instabilities") or ["no reason is recorded"]))

    def has_source(self, name: str) -> bool:
        """Whether the file that ``name`` would come from is there."""
        return (self.bundle.path / source_of(name)[0]).exists()


def source_of(name: str) -> tuple[str, str]:
    """The file that has a metric, and the command that writes it; '' and '' where no file has such names."""
    if name in _POWER or name.startswith("bench.power."):
        return _SOURCES["power"]
    if is_row_statistic(name):
        return _SOURCES["bench"]
    root, dot, _ = name.partition(".")
    return _SOURCES.get(root, ("", "")) if dot else ("", "")


def is_row_statistic(name: str) -> bool:
    """Whether bench.json could have it: a statistic of a row, such as ``latency_p95_ms`` of ``profile --percentile 95``."""
    return _ROW_NAME.fullmatch(name) is not None


def latency_samples(figures: BundleFigures) -> list[float]:
    """Compute times in milliseconds, in the order in which they were measured; empty where bench.json has none."""
    samples = (figures.bench or {}).get("samples") or {}
    return [float(value) for value in samples.get(ROWS["latency"], [])]


def bundle_figures(bundle: Bundle) -> BundleFigures:
    """Reads a bundle's JSON files and the sizes of its files.

    Raises:
        BundleError: One of them is damaged (exit code 9).
    """
    roots = ("bench", "engine", "evaluation", "parity", "verify", "tokens")
    documents: dict[str, Mapping[str, Any] | None] = {root: _document(bundle, f"{root}.json") for root in roots}
    all_metrics: list[Metric] = []
    if (bench := documents["bench"]) is not None:
        all_metrics += _bench_metrics(bench)
    for root in ("parity", "verify"):
        if (document := documents[root]) is not None:
            figures = agreement_figures(document)
            all_metrics += [
                Metric(f"{root}.{name}", value, f"{root}.json", "compared") for name, value in figures.items()
            ]
    if (tokens := documents["tokens"]) is not None:
        all_metrics += _token_metrics(tokens)
    for root in ("evaluation", "engine"):
        if (document := documents[root]) is not None:
            provenance = _provenance(document)
            all_metrics += [Metric(name, value, f"{root}.json", provenance) for name, value in _numbers(document, root)]
    all_metrics += _graph_metrics(bundle)
    all_metrics += _size_metrics(bundle.path)
    metrics = {metric.name: metric for metric in all_metrics if math.isfinite(metric.value)}
    engine_files = (documents["engine"] or {}).get("files", {})
    manifest = sha256_of(bundle.path / "manifest.json")
    earlier = {
        f"{root}.json": text
        for root in ("bench", "verify")
        if (document := documents[root]) is not None and (text := outdated(document, engine_files, manifest))
    }
    left_out = engine_left_out(documents["verify"] or {}, engine_files)
    return BundleFigures(bundle, metrics, documents["bench"], documents["engine"], earlier, left_out)


def _document(bundle: Bundle, name: str) -> Mapping[str, Any] | None:
    path = bundle.path / name
    return read_document(path, IN_A_BUNDLE[name]) if path.exists() else None


def _bench_metrics(bench: Mapping[str, Any]) -> Iterator[Metric]:
    rows = bench.get("rows") or {}
    for prefix, row in ROWS.items():
        for name, value in (rows.get(row) or {}).items():
            full = f"{prefix}_{_identifier(name)}" + ("" if name in ("cv", "n") else "_ms")
            if _is_number(value) and is_row_statistic(full):
                yield Metric(full, float(value), "bench.json", "measured")
    power = bench.get("power") or {}
    for name, key in _POWER.items():
        value = power.get(key)
        if _is_number(value):
            yield Metric(name, float(value), "bench.json", "measured")
    for name, value in _numbers({key: item for key, item in bench.items() if key != "rows"}, "bench"):
        yield Metric(
            name, value, "bench.json", "predicted" if name.startswith("bench.predicted") else _provenance(bench)
        )


def _token_metrics(tokens: Mapping[str, Any]) -> Iterator[Metric]:
    totals, blocks = tokens.get("totals") or {}, tokens["blocks"]
    figures: dict[str, Any] = {name: totals.get(name) for name in _TOTALS}
    counts = [block["tokens_in"] for block in blocks if "tokens_in" in block]
    if len(counts) == len(blocks):
        figures |= {"mean": sum(counts) / len(counts), "out": blocks[-1].get("tokens_out")}
    for name, value in figures.items():
        if _is_number(value):
            yield Metric(f"tokens.{name}", float(value), "tokens.json", _provenance(tokens))


def _graph_metrics(bundle: Bundle) -> Iterator[Metric]:
    """Of a bundle that lists its graphs."""
    for graph in bundle.manifest.get("graphs", ()):
        for key in ("macs", "bytes", "weight_bytes"):
            if key in graph:
                name = f"graphs.{graph['name']}.{key}"
                yield Metric(name, float(graph[key]), "manifest.json", "computed")
    facts = bundle.prompt
    if facts is not None:
        held = facts.cache_bytes_per_token * facts.capacity
        for key, value in (("slots", facts.slots), ("length", facts.length), ("bytes", held)):
            yield Metric(f"cache.{key}", float(value), "manifest.json", "computed")


def _size_metrics(folder: Path) -> Iterator[Metric]:
    total = 0
    for entry in sorted(folder.iterdir()):
        size = sum(file.stat().st_size for file in ([entry] if entry.is_file() else entry.rglob("*")) if file.is_file())
        total += size
        yield Metric(f"files.{_identifier(entry.name)}_bytes", float(size), entry.name, "measured")
    yield Metric("files.total_bytes", float(total), "the folder", "measured")


def _numbers(document: Mapping[str, Any], path: str) -> Iterator[tuple[str, float]]:
    """Every number in nested objects; lists have no names, so what they hold is left out."""
    for key, value in document.items():
        name = f"{path}.{_identifier(key)}"
        if isinstance(value, dict):
            yield from _numbers(value, name)
        elif _is_number(value):
            yield name, float(value)


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _provenance(document: Mapping[str, Any]) -> str:
    return str(document.get("provenance", "measured"))
