"""A bundle ready to be timed: its engine loaded, its input read, and what has to be said about both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeexport.backends.contract import BUILT_HERE, DeviceIdentity, EngineRecord
from edgeexport.backends.device_identity import processor_identity
from edgeexport.backends.engine import engine_record, runner_from_bundle, runners_of_graphs
from edgeexport.backends.runner import Runner, Timing
from edgeexport.bundle import Bundle, open_bundle, sha256_of
from edgeexport.errors import UsageError
from edgeexport.profile.inputs import Feed, golden_feed, prompt_feeds

__all__ = ["TimedBundle", "check_comparable", "load_timed_bundle"]

_GRAPH = "model.onnx"


@dataclass(frozen=True)
class TimedBundle:
    """What is timed.

    Attributes:
        bundle, runner, feed: Of each one.
        record: The engine's; None where the runner executes model.onnx.
        file: What the runner executes: the engine's file, or 'model.onnx'.
        backend: Key of the runtime, such as 'onnxruntime'.
        device: What it runs on.
        others: Of a bundle that lists several graphs, those ahead of this one, which is the last.
    """

    bundle: Bundle
    runner: Runner
    feed: Feed
    record: EngineRecord | None
    file: str
    backend: str
    device: DeviceIdentity
    others: tuple[TimedBundle, ...] = ()

    @property
    def options(self) -> dict[str, Any] | None:
        """The engine's; None for model.onnx."""
        return None if self.record is None else dict(self.record.options)

    @property
    def engine_sha256(self) -> str | None:
        """Of the engine's file, to which it was held when it was loaded; None for model.onnx, whose hash the manifest has."""
        return None if self.record is None else self.record.files.get(self.file)

    @property
    def call(self) -> Callable[[], Timing]:
        """One inference."""
        return lambda: self.runner.timed(self.feed.image, self.feed.extra)

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU does the work."""
        return self.device.compute_capability is not None

    @property
    def cuda_graph(self) -> bool | None:
        """Whether inferences are launched as a CUDA graph; None where there is no such thing."""
        return bool((self.options or {}).get("cuda_graph")) if self.on_gpu else None

    def as_dict(self) -> dict[str, Any]:
        """Which model it is, JSON-ready."""
        manifest = self.bundle.manifest
        return {
            "folder": self.bundle.path.resolve().name,
            "name": self.bundle.name,
            "target": manifest.get("target"),
            "precision": manifest.get("precision"),
            "weights": (manifest.get("weights") or {}).get("statement"),
            "manifest_sha256": sha256_of(self.bundle.path / "manifest.json"),
            "batch": int(self.feed.image.shape[0]),
        }


def load_timed_bundle(path: Path, engine: str = "auto") -> TimedBundle:
    """Opens a bundle, loads what is to be timed, and reads its input.

    Args:
        path: The bundle.
        engine: 'auto' or 'none'; see `edgeexport.backends.engine.runner_from_bundle`.

    Raises:
        BundleError: The bundle or its engine is damaged or does not fit this machine.
        UsageError: The runtime is not installed. BuildError: It refuses the graph.
    """
    bundle = open_bundle(path)
    if bundle.listed:
        return _timed_graphs(bundle, engine)
    feed = golden_feed(bundle)
    runner = runner_from_bundle(bundle, engine)
    record = engine_record(bundle) if engine == "auto" else None
    if record is None or record.provenance != BUILT_HERE:
        return TimedBundle(bundle, runner, feed, None, _GRAPH, "onnxruntime", processor_identity())
    return TimedBundle(bundle, runner, feed, record, next(iter(record.files)), record.backend, record.device)


def _timed_graphs(bundle: Bundle, engine: str) -> TimedBundle:
    """The last graph, which runs most, with the others beside it."""
    runners = runners_of_graphs(bundle, engine)
    feeds = prompt_feeds(bundle, runners)
    record = engine_record(bundle) if engine == "auto" else None
    if record is not None and record.provenance != BUILT_HERE:
        record = None
    timed = []
    for part in bundle.listed:
        own = None if record is None else record.graphs.get(part.part, record)
        runner, feed = runners[part.part], feeds[part.part]
        if own is None:
            file = part.graph(_GRAPH)
            timed.append(TimedBundle(part, runner, feed, None, file, "onnxruntime", processor_identity()))
        else:
            timed.append(TimedBundle(part, runner, feed, own, next(iter(own.files)), own.backend, own.device))
    return replace(timed[-1], others=tuple(timed[:-1]))


def check_comparable(baseline: TimedBundle, candidate: TimedBundle) -> None:
    """Refuses a baseline whose times say nothing about the model.

    Raises:
        UsageError: Another runtime, device or batch.
    """
    where = f"--baseline {baseline.bundle.path}"
    for what, actual, expected in (
        ("runs in", baseline.runner.name, candidate.runner.name),
        ("runs on", str(baseline.device), str(candidate.device)),
    ):
        if actual != expected:
            remedy = f"build both engines here (edgeexport build BUNDLE), or give --engine none to run both as {_GRAPH}"
            raise UsageError(where, f"{what} {actual}, {candidate.bundle.path} {what} {expected}", remedy)
    batches = baseline.feed.image.shape[0], candidate.feed.image.shape[0]
    if batches[0] != batches[1]:
        problem = f"takes batches of {batches[0]}, {candidate.bundle.path} of {batches[1]}"
        raise UsageError(where, problem, "build both bundles with the same batch")
