"""The settings of a build against those of Polygraphy, NVIDIA's own tool, with a TensorRT as documented."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from engine_cases import MODEL
from tensorrt_cases import install

from edgeexport.backends.tensorrt_api import installed_tensorrt
from edgeexport.backends.tensorrt_build import BuildRequest, build_plan
from edgeexport.backends.tensorrt_log import EngineLog, logger_for


def install_for_polygraphy(monkeypatch: pytest.MonkeyPatch, version: str) -> Any:
    """The fake in the place of TensorRT, for Polygraphy as well, which keeps what it imported first."""
    import polygraphy.backend.trt  # noqa: F401

    fake = install(monkeypatch, version)
    for name, module in list(sys.modules.items()):
        if name.startswith("polygraphy.backend.trt") and hasattr(module, "trt"):
            monkeypatch.setitem(vars(module.trt), "module", fake)
    assert sys.modules["polygraphy.backend.trt.config"].trt.__version__ == version  # type: ignore[attr-defined]
    return fake


@pytest.mark.parametrize("version", ["10.3.0", "11.4.1"])
@pytest.mark.parametrize("workspace_mib", [None, 512])
def test_settings_are_those_of_polygraphy(
    version: str, workspace_mib: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from polygraphy.backend.trt import create_config

    fake = install_for_polygraphy(monkeypatch, version)
    graph = tmp_path / "model.trt.onnx"
    graph.write_bytes(MODEL)
    trt, log = installed_tensorrt(), EngineLog()
    build_plan(trt, BuildRequest(graph, workspace_mib=workspace_mib), log, lambda name: None)
    logger = logger_for(fake, log)
    builder = fake.Builder(logger)
    network = builder.create_network(trt.network_flags)
    assert fake.OnnxParser(network, logger).parse(MODEL)
    config = create_config(
        builder,
        None,
        tf32=False,
        memory_pool_limits=None if workspace_mib is None else {fake.MemoryPoolType.WORKSPACE: workspace_mib << 20},
        profiling_verbosity=fake.ProfilingVerbosity.LAYER_NAMES_ONLY,
    )
    builder.build_serialized_network(network, config)
    ours, _, theirs = fake._state.builds
    assert ours == theirs
