"""Reads the trace that ONNX Runtime's profiler writes: a JSON list of events, durations in microseconds."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexport.backends.runner import NodeTime
from edgeexport.documents.traces import Event

__all__ = ["node_times_from_events"]

_KERNEL = "_kernel_time"  # a node's event is its name and this; older versions also write '<name>_fence_before'
_RUN = "model_run"


def node_times_from_events(events: Sequence[Event], *, skipped_runs: int = 0) -> list[NodeTime]:
    """Mean time of every node, in order of execution.

    Args:
        events: The trace.
        skipped_runs: Runs at the start that do not count, for warm-up.

    Raises:
        ValueError: The trace holds no run besides those skipped.
    """
    runs = sorted((event for event in events if event["name"] == _RUN), key=lambda event: event["ts"])
    counted = runs[skipped_runs:]
    if not counted:
        raise ValueError(f"the profile has {len(runs)} runs, expected more than {skipped_runs}")
    begin = counted[0]["ts"]
    totals: dict[tuple[str, str, str], int] = {}
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_KERNEL)]
    for event in sorted(nodes, key=lambda event: event["ts"]):
        if event["ts"] < begin:
            continue
        arguments = event.get("args", {})
        # The index tells nodes of the same name apart.
        key = (event["name"].removesuffix(_KERNEL), arguments.get("op_name", ""), arguments.get("node_index", ""))
        totals[key] = totals.get(key, 0) + event["dur"]
    return [NodeTime(name, op_type, total / len(counted) / 1000) for (name, op_type, _), total in totals.items()]
