"""What `edgeexport plugin build`, `plugin list` and `plugin test` do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeexport.bundle import refuse_link_of_bundle
from edgeexport.bundle.files import disk_errors, replaced_file
from edgeexport.bundle.places import check_writable
from edgeexport.device.targets import target_named
from edgeexport.errors import UsageError
from edgeexport.plugin.build_record import FILE_NAME, check_library, facts_from_library
from edgeexport.plugin.cached import cached_libraries
from edgeexport.plugin.compile import compile_library
from edgeexport.plugin.contract import NAMESPACE, VERSION, contracts_from_sources
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.search import Search
from edgeexport.plugin.sources import source_hash, sources_folder
from edgeexport.plugin.toolkit import architectures_of_target, find_toolkit

__all__ = ["build_plugins", "library_that_fits", "list_plugins"]

_ANOTHER = "choose another --out"


def build_plugins(
    target: str = "orin",
    cuda_arch: Sequence[int] = (),
    tensorrt_include: Path | None = None,
    out: Path | None = None,
    *,
    sources: Path | None = None,
    search: Search | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Compiles the plugin library, or takes it from the cache, and puts it where it is wanted.

    Args:
        target: Names the default architecture.
        cuda_arch: Architectures instead of the target's, such as [86, 87].
        tensorrt_include: The folder that holds NvInfer.h; by default it is looked for.
        sources: The folder of CMakeLists.txt and registry.cpp, which is compiled as it is; this edgeexport's if None.
        out: The file to write; ``work_dirs/plugins/sm_<arch>/libedgeexport_plugins.so`` if None.
        search: Where to look for compilers and headers.
        on_stage: Hears of every step.

    Returns:
        JSON-ready facts: ``library``, ``architectures``, ``tensorrt_headers``, ``cuda``, ``source_hash``, ``machine``,
        ``tensorrt_include``, ``nvcc``, ``compiler``, and ``seconds`` of compiling (None: taken from the cache).

    Raises:
        UsageError: Arguments that do not fit (exit code 2).
        BuildError: Something is missing, or the sources do not compile (exit code 5).
    """
    search = search or Search()
    chosen = target_named(target)
    given = None if sources is None else sources.absolute()
    if given is not None and not ((given / "CMakeLists.txt").is_file() and (given / "registry.cpp").is_file()):
        problem = "holds no CMakeLists.txt with registry.cpp, expected the plugins' sources"
        raise UsageError(f"--sources {sources}", problem, "such as BUNDLE/plugins")
    if out is not None:
        check_writable(out, _ANOTHER)
    wrong = [number for number in cuda_arch if not 50 <= number <= 999]
    if wrong:
        raise UsageError(f"--cuda-arch {wrong[0]}", "is no compute capability", "write 8.7 as 87")
    default = architectures_of_target(chosen, search) if not cuda_arch or not chosen.needs_tensorrt else ()
    architectures = tuple(sorted(set(cuda_arch))) or default
    headers = None if tensorrt_include is None else find_headers(tensorrt_include, search)
    toolkit = find_toolkit(search)
    toolkit.check_architectures(architectures)
    headers = headers or find_headers(search=search, on_stage=on_stage)
    built = compile_library(
        given or sources_folder(), architectures, toolkit, headers, search=search, on_stage=on_stage
    )
    folder = "sm_" + "_".join(str(number) for number in architectures)
    file = (out if out is not None else Path("work_dirs/plugins") / folder / FILE_NAME).absolute()
    _put(built.facts.path, file)
    return {
        **built.facts.as_dict(),
        "library": str(file),
        "tensorrt_include": str(headers.folder),
        "nvcc": str(toolkit.nvcc),
        "compiler": toolkit.compiler.version,
        "seconds": None if built.seconds is None else round(built.seconds, 2),
    }


def list_plugins(library: Path | None = None, search: Search | None = None) -> dict[str, Any]:
    """The plugins of the sources, and what libraries record.

    Args:
        library: One library; by default all that the cache has.
        search: Names the cache.

    Returns:
        JSON-ready: ``plugins`` with name, version, namespace and attributes; ``libraries`` with their facts, and
        whether each was compiled from these sources (``current``).

    Raises:
        BundleError: ``library`` is none of ours (exit code 9).
    """
    sources = sources_folder()
    libraries = [facts_from_library(library)] if library is not None else cached_libraries(search)
    digest = source_hash(sources)
    return {
        "plugins": [
            {"name": item.name, "version": VERSION, "namespace": NAMESPACE, "attributes": dict(item.attributes)}
            for item in contracts_from_sources(sources)
        ],
        "libraries": [{**facts.as_dict(), "current": facts.source_hash == digest} for facts in libraries],
        "source_hash": digest,
    }


def library_that_fits(
    library: Path,
    target: str,
    *,
    cuda_arch: int | None = None,
    tensorrt: str | None = None,
    machine: str | None = None,
    search: Search | None = None,
) -> dict[str, Any]:
    """Checks by its record whether a library fits where it is to run. Nothing is loaded.

    Args:
        library: The file.
        target: The device.
        cuda_arch: Architecture instead of the target's.
        tensorrt: Version of the TensorRT that is to load it, such as '10.3.0'; None: not compared.
        machine: Processor of the device as ``platform.machine()`` gives it; None: a Jetson's aarch64, else not compared.
        search: Where to look for GPUs.

    Returns:
        JSON-ready facts of the library.

    Raises:
        UsageError: No such target, or its architecture is unknown (exit code 2).
        BundleError: The library does not fit: found against expected (exit code 9).
    """
    chosen = target_named(target)
    architectures = (cuda_arch,) if cuda_arch is not None else architectures_of_target(chosen, search)
    facts = facts_from_library(library)
    for architecture in architectures:
        check_library(
            facts,
            architecture=architecture,
            tensorrt=tensorrt,
            machine=machine or chosen.machine,
            source_hash=source_hash(sources_folder()),
        )
    return facts.as_dict()


def _put(library: Path, file: Path) -> None:
    """Copies in one step, so that a process that has the old file open keeps it whole."""
    if file.is_dir():
        raise UsageError(f"--out {file}", "is a folder, expected the file to write", f"give {file / FILE_NAME}")
    refuse_link_of_bundle(file.parent, "--out")
    with disk_errors(file, _ANOTHER):
        file.parent.mkdir(parents=True, exist_ok=True)
        with library.open("rb") as source, replaced_file(file) as copy:
            shutil.copyfileobj(source, copy)
