"""The plugin library, compiled by CMake once per set of inputs.

A finished library is kept in the user's cache under a hash of everything that it was made of, so that a build of a bundle
does not compile again. The same inputs give the same bytes, wherever sources and cache are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexport.bundle import sha256_of
from edgeexport.bundle.files import disk_errors
from edgeexport.device.remains import clear_remains, partial_folder
from edgeexport.errors import BuildError, BundleError
from edgeexport.plugin.build_record import FILE_NAME, LibraryFacts, facts_from_library
from edgeexport.plugin.cmake import build_target, find_cmake
from edgeexport.plugin.headers import TensorRTHeaders
from edgeexport.plugin.search import Search
from edgeexport.plugin.sources import source_hash
from edgeexport.plugin.toolkit import Toolkit
from edgeexport.plugin.trust import is_trusted, remember_made_here

__all__ = ["CompiledLibrary", "compile_library"]

_ELSEWHERE = "set XDG_CACHE_HOME to a writable folder"


@dataclass(frozen=True)
class CompiledLibrary:
    """``facts`` of the library, which lies in the cache; ``seconds`` of compiling, None if it was there already."""

    facts: LibraryFacts
    seconds: float | None


def compile_library(
    sources: Path,
    architectures: Sequence[int],
    toolkit: Toolkit,
    headers: TensorRTHeaders,
    *,
    search: Search | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> CompiledLibrary:
    """The plugin library, from the cache or compiled.

    Args:
        sources: Folder of the sources (`edgeexport.plugin.sources.sources_folder`).
        architectures: Such as (87,); each gets machine code.
        toolkit: CUDA; its runtime is linked statically.
        headers: TensorRT's; no library of TensorRT is linked.
        search: Names the cache, and where CMake is.
        on_stage: Hears of every finished step.

    Raises:
        UsageError: nvcc does not know an architecture (exit code 2).
        BuildError: There is no CMake, a file does not compile, or the library does not link (exit code 5).
    """
    search = search or Search()
    wanted = tuple(sorted(set(architectures)))
    toolkit.check_architectures(wanted)
    digest = source_hash(sources)
    rules = hashlib.sha256((sources / "CMakeLists.txt").read_bytes()).hexdigest()
    made_of = [rules, digest, wanted, headers.version, toolkit.release, toolkit.compiler.version, os.uname().machine]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    file = search.cache / "libraries" / key / FILE_NAME
    clear_remains(file.parent, FILE_NAME)
    known = _cached(file, (wanted, headers.version, digest), search.cache)
    if known is not None:
        return CompiledLibrary(known, None)
    cmake = find_cmake(search)
    options = {
        "CMAKE_CUDA_ARCHITECTURES": ";".join(map(str, wanted)),
        "CMAKE_CUDA_COMPILER": toolkit.nvcc,
        "CMAKE_CXX_COMPILER": toolkit.compiler.path,
        "TENSORRT_INCLUDE": headers.folder,
    }
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        with disk_errors(file.parent, _ELSEWHERE):
            file.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(partial_folder(file.parent, FILE_NAME))
        build_target(cmake, sources, folder, "edgeexport_plugins", options, on_stage)
        if source_hash(sources) != digest:
            raise BuildError(str(sources), "a source changed while it was compiled", "build again")
        built = folder / FILE_NAME
        facts_from_library(built)
        with disk_errors(file.parent, _ELSEWHERE):
            remember_made_here({FILE_NAME: sha256_of(built)}, search.cache)
            built.replace(file)  # in one step: whole or not at all
    return CompiledLibrary(facts_from_library(file), time.perf_counter() - start)


def _cached(file: Path, expected: tuple[object, ...], cache: Path) -> LibraryFacts | None:
    """What the cache has, if it is whole and trusted."""
    try:
        facts = facts_from_library(file)
    except BundleError:
        return None
    fits = (facts.architectures, facts.tensorrt, facts.source_hash) == expected
    return facts if fits and is_trusted(sha256_of(file), cache) else None
