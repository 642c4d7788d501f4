"""The plugin library of a bundle in one line, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["library_text"]

_DEVICE_PROCESSOR = "aarch64"


def library_text(library: Mapping[str, Any] | None, target: str) -> str:
    """What ``plugin_library`` of a manifest says; empty where a bundle has none (no plugins asked for, or an older one)."""
    if library is None:
        return ""
    if library["status"] != "built":
        return f"not built: {library['reason']}"
    architectures = ", ".join(f"sm_{architecture}" for architecture in library["architectures"])
    text = (
        f"{architectures}, TensorRT {library['tensorrt_headers']} headers, CUDA {library['cuda']}, {library['machine']}"
    )
    if target not in ("cpu", "gpu") and library["machine"] != _DEVICE_PROCESSOR:
        return f"{text}, which no device loads; on the device: edgeexport plugin build"
    return text
