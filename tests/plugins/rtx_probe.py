"""Run in a process of its own: loads a plugin library into TensorRT-RTX's registry, twice if asked to, and parses a graph.

    python rtx_probe.py LIBRARY [again | MODEL.onnx]

Prints one JSON object per line, each at once, since the parser aborts the process after it has created a plugin.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx_bindings as trt


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


class Logger(trt.ILogger):
    def __init__(self) -> None:
        trt.ILogger.__init__(self)

    def log(self, severity: Any, message: str) -> None:
        if severity <= trt.ILogger.Severity.INFO:
            say("log", severity=severity.name, message=message)


def load(registry: Any, library: str) -> None:
    handle = registry.load_library(library)
    say("load", loaded=handle is not None)
    creators = [(item.name, item.plugin_version, item.plugin_namespace) for item in registry.all_creators]
    say("creators", creators=creators, kinds=sorted({type(item).__name__ for item in registry.all_creators}))


def main(library: str, more: str) -> None:
    logger = Logger()
    builder = trt.Builder(logger)
    registry = builder.get_plugin_registry()
    if library != "none":
        load(registry, library)
    if more == "again":
        load(registry, library)
    elif more:
        network = builder.create_network(0)  # held here: the parser does not keep it alive
        parser = trt.OnnxParser(network, logger)
        parsed = parser.parse(Path(more).read_bytes())
        say("parsed", parsed=parsed, errors=[parser.get_error(place).desc() for place in range(parser.num_errors)])


main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
