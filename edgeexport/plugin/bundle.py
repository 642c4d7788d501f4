"""Plugins in a bundle: the sources always, the compiled library where this machine can make it, else the reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from edgeexport.device.targets import Target
from edgeexport.errors import EdgeExportError
from edgeexport.plugin.build_record import FILE_NAME
from edgeexport.plugin.compile import compile_library
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.search import Search
from edgeexport.plugin.sources import copy_sources, source_hash, sources_folder
from edgeexport.plugin.toolkit import architectures_of_target, find_toolkit

__all__ = ["FOLDER", "bundle_plugins", "plugin_files"]

FOLDER = "plugins"


def bundle_plugins(
    staging: Path,
    target: Target,
    *,
    search: Search | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> dict[str, object]:
    """Writes ``plugins/`` into a bundle that is being built.

    A machine that cannot compile the library still gives a bundle: the device compiles the sources that are in it.

    Args:
        staging: The bundle's folder.
        target: What the bundle is for; one without TensorRT gets no plugins.
        search: Where to look for compilers and headers.
        on_stage: Hears of compiled files. Nothing is downloaded: `edgeexport plugin headers` or an installation does that.

    Returns:
        What the manifest says as ``plugin_library``: ``status`` 'built' or 'not-built'; ``reason``, empty if built;
        ``library``, its path in the bundle; ``architectures`` that it has or should have; ``tensorrt_headers``,
        ``cuda`` and ``machine`` of the build, None if not built; ``source_hash`` of the sources.
        No path of this machine is in it.

    Raises:
        BuildError: The plugin sources are not installed (exit code 5).
    """
    facts: dict[str, object] = {
        "status": "not-built",
        "reason": "",
        "library": None,
        "architectures": [],
        "tensorrt_headers": None,
        "cuda": None,
        "machine": None,
        "source_hash": None,
    }
    if not target.needs_tensorrt:
        return {**facts, "reason": f"target {target.name} does not use TensorRT"}
    search = search or Search()
    sources = sources_folder()
    copy_sources(sources, staging / FOLDER)
    facts["source_hash"] = source_hash(sources)
    try:
        architectures = architectures_of_target(target, search)
        facts["architectures"] = list(architectures)
        toolkit = find_toolkit(search)
        headers = find_headers(search=search, download=False)
        built = compile_library(sources, architectures, toolkit, headers, search=search, on_stage=on_stage).facts
    except EdgeExportError as error:
        said = (f"{error.where}: {error.problem}", *([] if error.details else [f"({error.remedy})"]), *error.details)
        return {**facts, "reason": " ".join(" ".join(said).split())}
    fits = target.machine in (None, built.machine)
    name = (
        FILE_NAME if fits else f"{built.machine}-{FILE_NAME}"
    )  # which no device loads: it shows that the sources compile
    shutil.copyfile(built.path, staging / FOLDER / name)
    return {**facts, **built.as_dict(), "status": "built", "library": f"{FOLDER}/{name}"}


def plugin_files(staging: Path) -> list[str]:
    """The bundle's files under ``plugins/``, relative to it and sorted, for the manifest's hashes."""
    files = [path for path in (staging / FOLDER).rglob("*") if path.is_file()]
    return sorted(path.relative_to(staging).as_posix() for path in files)
