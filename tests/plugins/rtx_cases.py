"""What TensorRT-RTX did with the plugin library and a graph, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Probe", "probe", "requires_tensorrt_rtx"]

requires_tensorrt_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="the wheel tensorrt-rtx-cu13-bindings is missing"
)

_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Probe:
    """``events`` as rtx_probe.py prints them, what the plugins wrote to standard error, and how the process ended."""

    events: tuple[Mapping[str, Any], ...]
    stderr: str
    return_code: int

    def all(self, event: str) -> list[Mapping[str, Any]]:
        return [item for item in self.events if item["event"] == event]

    @property
    def messages(self) -> list[str]:
        return [item["message"] for item in self.all("log")]

    def verdict(self, op: str) -> str:
        """Whether the parser created the plugin of a one-node graph.

        'created': it said so, and then went on or aborted while it added the layer, which TensorRT-RTX cannot do;
        'refused': it ended in order, with an error and without having created anything; 'crashed': anything else, an
        abort before the plugin was there among it.
        """
        created = f"Successfully created plugin: {op}" in self.messages
        parsed = [item["parsed"] for item in self.all("parsed")]
        if created and (self.return_code == -signal.SIGABRT or parsed == [True]):
            return "created"
        if not created and self.return_code == 0 and parsed == [False]:
            return "refused"
        return "crashed"


def probe(library: Path | str, more: Path | str = "") -> Probe:
    """Runs rtx_probe.py."""
    command = [sys.executable, str(Path(__file__).with_name("rtx_probe.py")), str(library), str(more)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return Probe(tuple(json.loads(line) for line in lines), done.stderr, done.returncode)
