"""Bundles of a few small files, as `edgeexport build`, `verify` and `profile` leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeexport.bundle import SCHEMA, hashes_of

ORIN = {"name": "NVIDIA Jetson AGX Orin", "machine": "aarch64", "compute_capability": "8.7"}


ENGINE = {
    "schema": "edgeexport.engine/1",
    **dict.fromkeys(("backend", "backend_version", "target", "precision", "graph", "graph_sha256", "provenance"), "x"),
    "plugins_sha256": None,
    "device": ORIN,
    "options": {},
    "build_seconds": 1.0,
    "files": {"engine.plan": "ab" * 32},
}


def summary(p50: float) -> dict[str, Any]:
    times = {"mean": 1.01, "p50": 1.0, "p90": 1.1, "p99": 1.2, "min": 0.9, "max": 2.0}
    return {**{name: p50 * factor for name, factor in times.items()}, "cv": 0.02, "n": 800}


def bench(
    p50: float = 10.0, *, mode: str = "MAXN", samples: list[float] | None = None, **changes: Any
) -> dict[str, Any]:
    document = {
        "schema": "edgeexport.bench/1",
        "provenance": "measured",
        "backend": "tensorrt",
        "versions": {"tensorrt": "10.3.0", "edgeexport": "0.1.0"},
        "device": dict(ORIN),
        "stable": True,
        "instabilities": [],
        "conditions": {"before": {"power_mode": {"id": 0, "name": mode}, "online_cpus": "0-11"}, "after": {}},
        "protocol": {"warmup_ms": 200.0, "duration_s": 3.0},
        "rows": {"compute": summary(p50), "enqueue": None, "transfer": None, "end_to_end": summary(p50 + 1)},
        "baseline": None,
        "power": None,
        "predicted": {"latency_ms": 8.0},
        "layers": None,
    }
    if samples is not None:
        document["samples"] = {"compute": samples}
    return document | changes


def output(name: str = "scores", **changes: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("max_abs", "max_rel", "cosine", "agreement", "differing", "unexplained", "not_finite"))
    return {"name": name, "passed": True, **empty, **changes}


def parity(*outputs: dict[str, Any], status: str = "passed") -> dict[str, Any]:
    chosen = list(outputs) or [output(max_abs=1e-6, max_rel=1e-4, cosine=0.99999, not_finite=0)]
    comparison = {
        "check": "c",
        "status": status,
        "outputs": chosen,
        "decisions": [{"stage": "merges_1", "jaccard": 1.0}],
    }
    return {"schema": "edgeexport.parity/1", "comparisons": [comparison]}


def write_bundle(path: Path, **documents: Any) -> Path:
    """A bundle folder; ``documents`` are the contents of further JSON files by stem, None leaves a usual one out."""
    path.mkdir(parents=True)
    (path / "model.onnx").write_bytes(b"graph" * 20)
    tokens = {
        "schema": "edgeexport.tokens/1",
        "provenance": "computed",
        "blocks": [{"block": 1, "tokens_in": 100, "tokens_out": 80}, {"block": 2, "tokens_in": 80, "tokens_out": 60}],
        "totals": {"macs": 1000, "dense_macs": 2000, "dense_over_reduced": 2.0},
    }
    if documents.get("engine") is not None:
        documents["engine"] = {**ENGINE, **documents["engine"]}
    chosen = {"tokens": tokens, "parity": parity(), "bench": bench(), **documents}
    for stem, document in chosen.items():
        if document is not None:
            (path / f"{stem}.json").write_text(json.dumps(document))
    manifest = {
        "schema": SCHEMA,
        "name": "segvit_ti",
        "target": "orin",
        "precision": "fp32",
        "weights": {"statement": "random weights, seed 0: predictions mean nothing"},
        "edgeexport": "0.1.0",
        "input": {"shape": [1, 3, 8, 8], "preprocess": None},
        "inner_outputs": [],
        "files": hashes_of(path, ["model.onnx", *(["tokens.json"] if chosen["tokens"] is not None else [])]),
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path
