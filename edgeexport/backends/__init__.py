"""Runtimes that build and run a bundle's graphs. Nothing here imports torch, and no runtime before it is used."""

from __future__ import annotations

from edgeexport.backends.contract import Backend
from edgeexport.backends.onnxruntime_engine import OnnxRuntimeBackend
from edgeexport.backends.tensorrt_engine import TensorRtBackend

__all__ = ["BACKENDS"]

BACKENDS: dict[str, Backend] = {
    "onnxruntime": OnnxRuntimeBackend(),
    "tensorrt": TensorRtBackend(),
}
