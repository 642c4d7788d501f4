"""Time of every node of a graph in ONNX Runtime, by the runtime's own profiler."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.pairing import session_options

__all__ = ["node_times_us"]

_SUFFIX = "_kernel_time"


def node_times_us(model: onnx.ModelProto, feed: dict[str, NDArray], runs: int = 20) -> dict[str, float]:
    """Node name -> median microseconds, after ONNX Runtime's optimisation; nodes of a function carry its name in theirs.

    The first runs, in which memory is still being laid out, do not count.
    """
    options = session_options()
    options.enable_profiling = True
    warmup = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(warmup + runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            found[event["name"].removesuffix(_SUFFIX)].append(event["dur"])
    return {name: statistics.median(values[warmup:]) for name, values in found.items()}
