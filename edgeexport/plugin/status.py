"""What of the plugin library is on this machine, for `edgeexport doctor`: toolkit, CMake, headers, compiled libraries."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.errors import EdgeExportError
from edgeexport.plugin.cached import cached_libraries
from edgeexport.plugin.cmake import find_cmake
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.search import Search
from edgeexport.plugin.sources import source_hash, sources_folder
from edgeexport.plugin.toolkit import find_toolkit

__all__ = ["PluginStatus", "plugin_status"]


@dataclass(frozen=True)
class PluginStatus:
    """``ready``: the library can be compiled here. ``detail``: what was found; ``remedy``: how to get what was not."""

    ready: bool
    detail: str
    remedy: str


def plugin_status(search: Search | None = None) -> PluginStatus:
    """Looks for everything, downloads and compiles nothing."""
    search = search or Search()
    present: list[str] = []
    lacking: list[EdgeExportError] = []
    try:
        toolkit = find_toolkit(search)
        present.append(f"nvcc {toolkit.version} ({toolkit.nvcc})")
    except EdgeExportError as error:
        lacking.append(error)
    try:
        cmake = find_cmake(search)
        present.append(f"CMake {cmake.version} for {cmake.generator} ({cmake.program})")
    except EdgeExportError as error:
        lacking.append(error)
    try:
        headers = find_headers(search=search, download=False)
        present.append(f"TensorRT {headers.version} headers ({headers.folder})")
    except EdgeExportError as error:
        lacking.append(error)
    try:
        digest = source_hash(sources_folder())
        for facts in cached_libraries(search):
            if facts.source_hash == digest:
                codes = ", ".join(f"sm_{number}" for number in facts.architectures)
                present.append(f"compiled for {codes} with TensorRT {facts.tensorrt} headers ({facts.path})")
    except EdgeExportError as error:
        lacking.append(error)
    statements = [*(f"{error.where}: {error.problem}" for error in lacking), *present]
    remedy = "; ".join(error.remedy for error in lacking)
    if [error.where for error in lacking] == ["TensorRT headers"]:
        remedy = f"`edgeexport plugin build` downloads them; offline: {remedy}"
    return PluginStatus(not lacking, "; ".join(statements), remedy)
