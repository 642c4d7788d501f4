"""Gives a TensorRT runtime what an engine needs to be loaded: its plugins and its accelerator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeexport.backends.tensorrt_api import TensorRt
from edgeexport.backends.tensorrt_log import EngineLog, logger_for
from edgeexport.backends.tensorrt_plugins import load_plugins

__all__ = ["PlanLoader"]


class PlanLoader:
    """A runtime that loads engines of one bundle. Engines keep it alive.

    Args:
        trt: TensorRT.
        log: Gets what TensorRT says meanwhile.
        library: Compiled plugins; None for an engine without.
        ops: The plugins that it must register.
        dla_core: Accelerator that the engine was built for; None for the GPU alone.

    Raises:
        BuildError: TensorRT does not start, or does not load the library.
        BundleError: A plugin is registered already, from another library.
    """

    def __init__(
        self,
        trt: TensorRt,
        log: EngineLog,
        *,
        library: Path | None = None,
        ops: Iterable[str] = (),
        dla_core: int | None = None,
    ) -> None:
        self._log = log
        start = log.receive()
        logger = logger_for(trt.module, log)
        self._runtime = trt.started("Runtime", logger, lambda: log.errors(start))
        trt.module.init_libnvinfer_plugins(logger, "")
        if library is not None:
            load_plugins(self._runtime.get_plugin_registry(), library, ops, lambda: log.complaints(start))
        if dla_core is not None:
            self._runtime.DLA_core = dla_core

    def engine(self, plan: bytes) -> tuple[Any, str]:
        """The ICudaEngine of a serialized engine and ''; or None and why TensorRT does not load it."""
        start = self._log.receive()
        engine = self._runtime.deserialize_cuda_engine(plan)
        return engine, "" if engine is not None else self._log.errors(start) or "no reason given"
