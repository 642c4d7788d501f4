"""The plugin library of a TensorRT engine: which file it is, and how it gets into TensorRT's registry.

A bundle carries the library's sources, and the compiled library where the machine that built it could make one. On a device
for which that does not fit, and where it is a stranger's, the library that `edgeexport plugin build` compiled there is taken
from the user's cache.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.backends.executed_graph import nodes_from_onnx
from edgeexport.backends.tensorrt_api import ALL_CREATORS_RECURSIVE
from edgeexport.device.machine import version_tuple
from edgeexport.errors import BuildError, BundleError
from edgeexport.plugin.build_record import (
    FILE_NAME,
    LibraryFacts,
    check_library,
    check_unregistered,
    facts_from_library,
)
from edgeexport.plugin.cached import cached_libraries
from edgeexport.plugin.contract import NAMESPACE, contracts_from_sources
from edgeexport.plugin.search import Search
from edgeexport.plugin.sources import source_hash, sources_folder
from edgeexport.plugin.trust import check_trusted, is_trusted

if TYPE_CHECKING:
    from edgeexport.bundle import Bundle

__all__ = ["PluginLibrary", "library_for_build", "library_of_engine", "load_plugins", "plugin_ops"]

_FOLDER = "plugins"


@dataclass(frozen=True)
class PluginLibrary:
    """A compiled library; ``place`` is 'bundle' or 'cache', ``ops`` are the plugins that the bundle's graph needs."""

    path: Path
    sha256: str
    place: str
    ops: tuple[str, ...]


def plugin_ops(bundle: Bundle, graph: str) -> tuple[str, ...]:
    """Names of the plugins that a graph of the bundle needs, sorted; empty for one in standard operators.

    Raises:
        BundleError: The graph cannot be read. BuildError: The bundle's plugin sources are damaged.
    """
    folder = bundle.path / _FOLDER
    if not (folder / "registry.cpp").is_file():  # a bundle that was built without plugins, or for a CPU
        return ()
    known = {contract.name for contract in contracts_from_sources(folder)}
    # No custom op has the name of a standard operator, so that the domain need not be looked at.
    return tuple(sorted(known & {node.op_type for node in nodes_from_onnx(bundle.path / graph)}))


def library_for_build(
    bundle: Bundle, ops: tuple[str, ...], *, tensorrt: str, compute_capability: str, search: Search | None = None
) -> PluginLibrary:
    """The library to build with: the bundle's if it fits this machine and is trusted, else a fitting one of the cache.

    Args:
        bundle: Its hashes have been checked.
        ops: Of `plugin_ops`.
        tensorrt: Version that is to load it.
        compute_capability: Of the GPU, such as '8.7'.
        search: Names the cache.

    Raises:
        BuildError: None fits; the message says why for each.
        BundleError: The bundle's alone fits, and it was neither compiled here nor named by the user (exit code 9).
    """
    architecture = _architecture(compute_capability)
    sources = source_hash(bundle.path / _FOLDER)
    own, cached = _libraries(bundle, search)
    refused: list[str] = []
    strangers: list[tuple[Path, str]] = []
    for place, facts in [*(("bundle", item) for item in own), *(("cache", item) for item in cached)]:
        try:
            check_library(
                facts,
                architecture=architecture,
                tensorrt=tensorrt,
                machine=platform.machine(),
                source_hash=sources,
            )
        except BundleError as error:
            refused.append(f"{'the bundle' if place == 'bundle' else 'a cached one'} {error.problem}")
            continue
        library = PluginLibrary(facts.path, _sha256(facts.path), place, ops)
        if place == "cache" or is_trusted(library.sha256):
            return library
        strangers.append((library.path, library.sha256))
    for path, sha256 in strangers:
        check_trusted(path, sha256, _remedy(bundle, sources, architecture))
    reasons = "; ".join(dict.fromkeys(refused)) or "neither the bundle nor the cache has a compiled one"
    raise BuildError(
        str(bundle.path / _FOLDER / FILE_NAME),
        f"no plugin library for sm_{architecture}, TensorRT {tensorrt} and {platform.machine()}: {reasons}",
        _remedy(bundle, sources, architecture),
    )


def library_of_engine(bundle: Bundle, sha256: str, search: Search | None = None) -> tuple[Path | None, str]:
    """The library that an engine was built with, by its hash.

    Returns:
        Its path and hash; where it is gone, None and the hash of the one that stands in its place, or a word on that.
    """
    own, cached = _libraries(bundle, search)
    hashes = {_sha256(facts.path): facts.path for facts in [*cached, *own]}
    if sha256 in hashes:
        return hashes[sha256], sha256
    return None, _sha256(own[0].path) if own else f"{len(cached)} others in the cache" if cached else "none"


def load_plugins(registry: Any, library: Path, ops: Iterable[str], complaints: Callable[[], str]) -> None:
    """Loads a library into the registry of a builder or a runtime, which each have their own.

    Args:
        registry: An IPluginRegistry.
        library: The file.
        ops: Plugins that must be there afterwards.
        complaints: What TensorRT logged meanwhile.

    Raises:
        BundleError: A plugin of its name is registered already, from another library.
        BuildError: It cannot be loaded, or lacks a plugin.
    """
    wanted = set(ops)
    check_unregistered(library, _creators(registry), wanted)
    again = "compile it again on this machine: edgeexport plugin build"
    if registry.load_library(str(library)) is None:
        raise BuildError(str(library), f"TensorRT does not load it: {complaints() or 'it gave no reason'}", again)
    lacking = wanted - {name for name, _, space in _creators(registry) if space == NAMESPACE}
    if lacking:
        raise BuildError(str(library), f"was loaded and registers no {', '.join(sorted(lacking))}", again)


def _creators(registry: Any) -> list[tuple[str, str, str]]:
    """Name, version and namespace of all creators, those of the parent registry among them where TensorRT tells them."""
    name = ALL_CREATORS_RECURSIVE.rpartition(".")[2]
    creators = getattr(registry, name) if hasattr(registry, name) else registry.all_creators
    return [
        (str(item.name), str(item.plugin_version), str(item.plugin_namespace))
        for item in creators
        if hasattr(item, "plugin_namespace")
    ]


def _libraries(bundle: Bundle, search: Search | None) -> tuple[list[LibraryFacts], list[LibraryFacts]]:
    """The bundle's readable library, if any, and the cache's, those of the highest CUDA first."""
    own = []
    file = bundle.path / _FOLDER / FILE_NAME
    if file.is_file():
        with contextlib.suppress(BundleError):  # its hash is the manifest's: it was no library of ours from the start
            own.append(facts_from_library(file))
    cached = sorted(cached_libraries(search), key=lambda facts: (version_tuple(facts.cuda), facts.path), reverse=True)
    return own, cached


def _remedy(bundle: Bundle, sources: str, architecture: int) -> str:
    try:
        current = source_hash(sources_folder()) == sources
    except BuildError:
        current = False
    without = "or make a bundle without plugins: edgeexport build RECIPE --no-plugins"
    if current:
        return f"edgeexport plugin build --cuda-arch {architecture} compiles it here; {without}"
    return (
        "the bundle is from another version of edgeexport: install that one (manifest.json names it) and run "
        f"edgeexport plugin build --cuda-arch {architecture}, or read the bundle's sources and add "
        f"--sources {bundle.path / _FOLDER}, or build the bundle again; {without}"
    )


def _architecture(compute_capability: str) -> int:
    major, minor = compute_capability.split(".")
    return 10 * int(major) + int(minor)


def _sha256(path: Path) -> str:
    from edgeexport.bundle import sha256_of

    return sha256_of(path)
