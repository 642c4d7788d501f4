"""What `profile`, `verify` and the build of an engine leave in a bundle, made up and small. No figure was measured anywhere."""

from __future__ import annotations

from typing import Any

from report_cases import STATEMENT, parity

from edgeexport.cost.ceilings import ceilings_of
from edgeexport.cost.roofline import predict
from edgeexport.cost.work import GraphWork, NodeWork, part_title


def work() -> GraphWork:
    """work.json of a bundle with two blocks, a pruning step and a head; large enough to tell parts apart."""

    def node(name: str, part: str, macs: int) -> NodeWork:
        sizes = {"float32": 400_000}
        return NodeWork(name, "MatMul", part, kind="product", macs=macs, dtype="float32", reads=sizes, writes=sizes)

    macs = {"policy": 9, "embedding": 1, "block_1": 5, "auxiliary_head_1": 3, "prune_1": 1, "block_2": 4, "head": 2}
    return GraphWork(tuple(node(f"mm_{part}", part, giga * 10**9) for part, giga in macs.items()))


def layers(backend: str = "tensorrt") -> dict[str, Any]:
    """bench.json's ``layers`` of a run of 10 ms."""
    times = {"policy": 3.0, "embedding": 0.5, "block_1": 2.5, "auxiliary_head_1": 1.0, "prune_1": 0.25, "block_2": 2.0}
    times |= {"head": 0.5, "other": 0.25}
    parts = [
        {
            "part": part,
            "title": part_title(part),
            "ms": ms,
            "share": ms / 10,
            "macs": 10**9,
            "bytes": 10**6,
            "nodes": 1,
            "layers": 1,
        }
        for part, ms in times.items()
    ]
    return {
        "schema": "edgeexport.layers/1",
        "provenance": "measured",
        "method": "mean of 10 runs with the runtime's profiler on",
        "backend": backend,
        "runs": 10,
        "total_ms": 10.0,
        "attributed_share": 0.975,
        "attributed_by": {},
        "divided_share": 0.1,
        "parts": parts,
    }


def _row(p50: float) -> dict[str, float | int | None]:
    return {
        "mean": p50,
        "p50": p50,
        "p90": p50 * 1.1,
        "p99": p50 * 1.2,
        "cv": 0.02,
        "min": p50,
        "max": p50 * 2,
        "n": 300,
    }


def bundle(name: str) -> dict[str, Any]:
    """What bench.json says of a bundle."""
    told = {"folder": "b", "name": name, "target": "orin", "precision": "fp32", "weights": STATEMENT}
    return {**told, "manifest_sha256": None, "batch": 1}


def bench(**changes: Any) -> dict[str, Any]:
    """bench.json as `edgeexport profile` writes it on a PC's processor."""
    reading = {
        "power_mode": None,
        "online_cpus": "0-1",
        "clocks": [],
        "temperatures": [],
        "throttling": {"active": {}, "events": {}},
        "load_average": 0.5,
    }
    return {
        "schema": "edgeexport.bench/1",
        "provenance": "measured",
        "measured_at": "2026-01-02T03:04:05+00:00",
        "bundle": bundle("tiny_cts_dtop"),
        "backend": "onnxruntime",
        "engine": "model.onnx",
        "engine_sha256": None,
        "engine_options": None,
        "versions": {"edgeexport": "0.1.0", "onnxruntime": "1.31.1", "numpy": "2.4.6", "python": "3.11.7"},
        "device": {"name": "Some CPU", "machine": "x86_64", "compute_capability": None, "board": None, "jetson": None},
        "conditions": {"known": False, "loose_clocks": [], "readings": 4, "before": reading, "after": reading},
        "stable": True,
        "instabilities": [],
        "notes": ["this machine tells neither power mode, clocks nor temperature"],
        "protocol": {
            "warmup_ms": 200.0,
            "duration_s": 3.0,
            "iterations": 10,
            "percentiles": [50.0, 90.0, 99.0],
            "pairs": 32,
            "input": "golden.npz, case0",
            "warmup_runs": 5,
            "runs": 300,
            "seconds": 3.0,
            "cuda_graph": None,
            "transfers": False,
            "clipped": 0,
        },
        "rows": {"compute": _row(9.5), "enqueue": None, "transfer": None, "end_to_end": _row(9.75)},
        "samples": {"compute": [9.5, 9.5, 9.5]},
        "images_per_second": 102.5,
        "baseline": None,
        "power": None,
        "predicted": None,
        "no_prediction": "",
        "layers": layers("onnxruntime"),
        **changes,
    }


def orin_bench(mode: str = "MODE_30W", **changes: Any) -> dict[str, Any]:
    """TEST DATA, made up: bench.json as a Jetson AGX Orin would leave it, with baseline and power. Nothing ran there."""
    reading = {
        **bench()["conditions"]["before"],
        "power_mode": {"id": 2, "name": mode},
        "clocks": [{"name": "gpu", "current_hz": 612_000_000}],
        "temperatures": [{"name": "gpu-thermal", "celsius": 48.5}],
    }
    jetson = {"model": "TEST DATA Jetson AGX Orin", "l4t": "36.4.0", "jetpack": "6.1"}
    ceilings = ceilings_of("orin", mode.removeprefix("MODE_"))
    speedup = {"estimate": 1.5, "low": 1.45, "high": 1.55, "confidence": 0.99, "rounds": 16, "method": "paired blocks"}
    given = {
        "backend": "tensorrt",
        "engine": "engine.plan",
        "engine_options": {"cuda_graph": True, "dla_core": None, "workspace_mib": 2048},
        "versions": {"edgeexport": "0.1.0", "tensorrt": "10.3.0"},
        "device": {
            "name": "TEST DATA Orin",
            "machine": "aarch64",
            "compute_capability": "8.7",
            "board": None,
            "jetson": jetson,
        },
        "conditions": {"known": True, "loose_clocks": [], "readings": 4, "before": reading, "after": reading},
        "notes": [],
        "protocol": {**bench()["protocol"], "cuda_graph": True, "transfers": True},
        "rows": {"compute": _row(12.0), "enqueue": _row(0.4), "transfer": _row(0.6), "end_to_end": _row(13.0)},
        "baseline": {
            "bundle": bundle("tiny_dense"),
            "engine": "engine.plan",
            "engine_sha256": None,
            "engine_options": {},
            "differences": [],
            "conditions": {"known": True, "loose_clocks": [], "readings": 4, "before": reading, "after": reading},
            "protocol": {
                "pairs": 32,
                "runs_per_block": 4,
                "lead_in_runs": 1,
                "warmup_runs": {"baseline": 5, "candidate": 5},
                "statistic": "compute, median of a block",
                "seconds": 12.0,
            },
            "rows": {
                which: {"compute": _row(ms), "enqueue": None, "transfer": None, "end_to_end": _row(ms + 1)}
                for which, ms in (("baseline", 18.0), ("candidate", 12.0))
            },
            "speedup": {**speedup, "verdict": "faster"},
        },
        "power": {
            "provenance": "measured",
            "inferences": 2500,
            "seconds": 30.0,
            "gross_mj": 240.0,
            "net_mj": 96.0,
            "load_w": 20.0,
            "idle_w": 12.0,
            "rails": {"VDD_GPU_SOC": {"load_w": 11.0, "idle_w": 5.0}, "VIN_SYS_5V0": {"load_w": 9.0, "idle_w": 7.0}},
            "total": ["VDD_GPU_SOC", "VIN_SYS_5V0"],
            "covers": "module",
            "rate_hz": 20.0,
            "longest_gap_s": 0.1,
            "sensor_average_ms": 100,
            "settling_s": 1.0,
        },
        "predicted": predict(work(), ceilings).as_dict(),
        "layers": layers(),
    }
    return bench(**{**given, **changes})


def engine(**changes: Any) -> dict[str, Any]:
    """TEST DATA, made up: engine.json as it would come back from a Jetson."""
    return {
        "schema": "edgeexport.engine/1",
        "backend": "tensorrt",
        "backend_version": "10.3.0",
        "target": "orin",
        "precision": "fp32",
        "graph": "model.onnx",
        "graph_sha256": "ab" * 32,
        "plugins_sha256": "12" * 32,
        "device": {"name": "TEST DATA Orin", "machine": "aarch64", "compute_capability": "8.7", "board": None},
        "options": {
            "target": "orin",
            "precision": "fp32",
            "workspace_mib": None,
            "plugins": True,
            "cuda_graph": True,
            "dla_core": None,
            "policy_dla_core": None,
            "threads": None,
            "provider": None,
        },
        "build_seconds": 61.25,
        "files": {"engine.plan": "34" * 32, "timing.cache": "56" * 32},
        "provenance": "built on jetson.example over ssh",
        **changes,
    }


def verify(status: str = "passed") -> dict[str, Any]:
    """verify.json of the device, without the original model."""
    return {
        "schema": "edgeexport.verify/1",
        "status": status,
        "explanation": "",
        "runner": "TensorRT 10.3.0",
        "engine": None,
        "engine_sha256": None,
        "manifest_sha256": None,
        "engine_not_run": "",
        "original_not_run": "torch is not installed",
        "comparisons": parity()["comparisons"][:1],
    }
