"""Node times from a trace in the form that ONNX Runtime writes."""

from __future__ import annotations

from typing import Any

import pytest

from edgeexport.backends.onnxruntime_profile import node_times_from_events
from edgeexport.backends.runner import NodeTime


def _run(ts: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": 90, "args": {}}


def _node(ts: int, name: str, op_type: str, index: int, dur: int, suffix: str = "_kernel_time") -> dict[str, Any]:
    arguments = {"op_name": op_type, "node_index": str(index)}
    return {"cat": "Node", "name": name + suffix, "ts": ts, "dur": dur, "args": arguments}


EVENTS = [
    {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 5, "args": {}},
    _node(101, "cast", "Cast", 0, 1000),
    _run(100),
    # A run's own event comes when it ends, behind those of its nodes; equal names are told apart by index.
    _node(230, "add", "Add", 2, 5),
    _node(210, "cast", "Cast", 0, 10),
    _node(220, "cast", "Cast", 1, 30),
    _node(225, "cast", "Cast", 1, 900, suffix="_fence_before"),
    _run(200),
    _node(310, "cast", "Cast", 0, 20),
    _node(320, "cast", "Cast", 1, 50),
    _node(330, "add", "Add", 2, 6),
    _run(300),
]


def test_mean_over_counted_runs_in_order_of_execution() -> None:
    assert node_times_from_events(EVENTS, skipped_runs=1) == [
        NodeTime("cast", "Cast", 0.015),
        NodeTime("cast", "Cast", 0.040),
        NodeTime("add", "Add", 0.0055),
    ]
    assert node_times_from_events(EVENTS)[0] == NodeTime("cast", "Cast", 1030 / 3 / 1000)


def test_no_run_left() -> None:
    with pytest.raises(ValueError, match="3 runs, expected more than 3"):
        node_times_from_events(EVENTS, skipped_runs=3)
