"""Time of every node of a graph in ONNX Runtime, by the runtime's own profiler."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.pairing import session_options

__all__ = ["node_times_us"]

_SUFFIX = "_kernel_time"


def node_times_us(model: onnx.ModelProto, feed: dict[str, NDArray], runs: int = 20) -> dict[str, float]:
    """Node name -> its fastest run in microseconds, after ONNX Runtime's optimisation.

    The fastest, because what else the machine does can only lengthen a run.
    """
    options = session_options()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[str, float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            name = event["name"].removesuffix(_SUFFIX)
            found[name] = min(event["dur"], found.get(name, event["dur"]))
    return found
