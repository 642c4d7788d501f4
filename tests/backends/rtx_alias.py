"""TensorRT-RTX in the place of TensorRT, for child processes: the same API, and it builds without a GPU (for SM86)."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

__all__ = ["install_as_tensorrt", "requires_tensorrt_rtx"]

requires_tensorrt_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="the wheel tensorrt-rtx-cu13-bindings is missing"
)


def install_as_tensorrt(version: str = "10.3.0") -> ModuleType:
    """Puts a module 'tensorrt' of ``version`` there whose members are TensorRT-RTX's; builders build for SM86."""
    import tensorrt_rtx_bindings as rtx

    class Builder(rtx.Builder):  # type: ignore[misc, name-defined]
        def create_builder_config(self) -> Any:
            config = super().create_builder_config()
            config.num_compute_capabilities = 1
            config.set_compute_capability(rtx.ComputeCapability.SM86, 0)
            return config

    module = ModuleType("tensorrt")
    module.__dict__.update({name: getattr(rtx, name) for name in dir(rtx) if not name.startswith("__")})
    module.__dict__.update(__version__=version, Builder=Builder)
    sys.modules["tensorrt"] = module
    return module
