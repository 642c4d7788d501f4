"""Run in a process of its own, since TensorRT-RTX may abort: the backend's build with it in the place of TensorRT.

    python rtx_build_probe.py BUNDLE FOLDER        builds the bundle's engine into FOLDER
    python rtx_build_probe.py BUNDLE               loads the bundle's plugin library into a builder's and a runtime's registry

Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

from rtx_alias import install_as_tensorrt

from edgeexport.backends import tensorrt_engine
from edgeexport.backends.contract import DeviceIdentity, EngineOptions
from edgeexport.backends.tensorrt_api import installed_tensorrt
from edgeexport.backends.tensorrt_log import EngineLog, logger_for
from edgeexport.backends.tensorrt_plugins import library_for_build, load_plugins, plugin_ops
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.errors import EdgeExportError

OPTIONS = EngineOptions(target="orin", precision="fp32", workspace_mib=256)


def built(bundle: Bundle, folder: Path) -> dict[str, Any]:
    tensorrt_engine.gpu_identity = lambda: DeviceIdentity("Orin", platform.machine(), "8.7")
    folder.mkdir()
    stages: list[str] = []
    try:
        record = tensorrt_engine.TensorRtBackend().build(bundle, folder, OPTIONS, stages.append)
    except EdgeExportError as error:
        return {"error": type(error).__name__, "where": error.where, "problem": error.problem}
    return {"record": record.as_dict(), "stages": stages}


def loaded(bundle: Bundle) -> dict[str, Any]:
    trt = installed_tensorrt()
    log = EngineLog()
    logger = logger_for(trt.module, log)
    ops = plugin_ops(bundle, "model.trt.onnx")
    library = library_for_build(bundle, ops, tensorrt=trt.version, compute_capability="8.7")
    found: dict[str, Any] = {"ops": ops, "place": library.place}
    for name in ("Builder", "Runtime"):
        owner = trt.started(name, logger, log.errors)
        registry = owner.get_plugin_registry()
        load_plugins(registry, library.path, ops, log.complaints)
        try:
            load_plugins(registry, library.path, ops, log.complaints)
        except EdgeExportError as error:
            found[name] = error.problem
    return found


if __name__ == "__main__":
    install_as_tensorrt("10.14.1")
    opened = open_bundle(Path(sys.argv[1]))
    print("\n" + json.dumps(built(opened, Path(sys.argv[2])) if len(sys.argv) > 2 else loaded(opened)), flush=True)
