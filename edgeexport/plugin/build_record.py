"""What a compiled plugin library records about itself, read without loading it, and whether it fits a device."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.machine import version_tuple
from edgeexport.documents import parsed
from edgeexport.documents.answers import BUILD_RECORD, BuildRecord
from edgeexport.errors import BundleError

__all__ = ["FILE_NAME", "MARKER", "LibraryFacts", "check_library", "check_unregistered", "facts_from_library"]

FILE_NAME = "libedgeexport_plugins.so"
MARKER = b"EDGEEXPORT_PLUGINS_BUILD_INFO="
"""What the record in the binary starts with; plugins/registry.cpp writes it."""

_MACHINES = {62: "x86_64", 183: "aarch64"}
_BUILD = "edgeexport plugin build"


@dataclass(frozen=True)
class LibraryFacts:
    """What a library was compiled for.

    Attributes:
        path: The file.
        architectures: GPU architectures with machine code in it, such as (87,) for compute capability 8.7.
        tensorrt: Version of the TensorRT headers, such as '10.14.1'.
        cuda: Version of the CUDA toolkit, such as '13.0'.
        source_hash: Of the sources (`edgeexport.plugin.sources.source_hash`).
        machine: The processor that it runs on: 'x86_64' or 'aarch64'.
    """

    path: Path
    architectures: tuple[int, ...]
    tensorrt: str
    cuda: str
    source_hash: str
    machine: str

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {
            "library": str(self.path),
            "architectures": list(self.architectures),
            "tensorrt_headers": self.tensorrt,
            "cuda": self.cuda,
            "source_hash": self.source_hash,
            "machine": self.machine,
        }


def facts_from_library(path: Path) -> LibraryFacts:
    """Reads the record of a library; nothing of it is executed.

    Raises:
        BundleError: Not there, no Linux library of a known processor, or without a record (exit code 9).
    """
    remedy = f"make one with `{_BUILD}`"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(str(path), f"cannot be read: {error.strerror or error}", remedy) from None
    if content[:4] != b"\x7fELF" or len(content) < 20:
        raise BundleError(str(path), "is no Linux library (no ELF header)", remedy)
    (number,) = struct.unpack_from("<H", content, 18)
    facts = _record(content)
    if facts is None:
        raise BundleError(str(path), "has no edgeexport build record, so it is no plugin library of ours", remedy)
    return LibraryFacts(
        path=path,
        architectures=tuple(facts["architectures"]),
        tensorrt=facts["tensorrt"],
        cuda=f"{facts['cuda'] // 1000}.{facts['cuda'] % 1000 // 10}",  # CUDART_VERSION: 13000 is 13.0
        source_hash=facts["source_hash"],
        machine=_MACHINES.get(number, f"ELF machine {number}"),
    )


def check_library(
    facts: LibraryFacts,
    *,
    architecture: int,
    tensorrt: str | None = None,
    machine: str | None = None,
    source_hash: str | None = None,
) -> None:
    """Refuses a library that does not fit.

    Args:
        facts: Of the library.
        architecture: Of the GPU that is to run it: 87 for compute capability 8.7. Machine code of one architecture is
            not relied on for another, not even within a family.
        tensorrt: Version of the TensorRT that is to load it; its major version has to be that of the headers.
        machine: `platform.machine()` of the device.
        source_hash: Of the sources that it should be made of.

    Raises:
        BundleError: Naming what was found and what was expected (exit code 9).
    """
    where = str(facts.path)
    if machine is not None and facts.machine != machine:
        raise BundleError(
            where,
            f"is a library for {facts.machine}, this device is {machine}",
            "build it on the device: edgeexport plugin build",
        )
    if architecture not in facts.architectures:
        compiled = ", ".join(f"sm_{number}" for number in facts.architectures)
        raise BundleError(
            where,
            f"was compiled for {compiled}, the GPU needs sm_{architecture} (compute capability "
            f"{architecture // 10}.{architecture % 10})",
            f"{_BUILD} --cuda-arch {architecture}",
        )
    if tensorrt is not None and version_tuple(tensorrt)[:1] != version_tuple(facts.tensorrt)[:1]:
        raise BundleError(
            where,
            f"was compiled with the headers of TensorRT {facts.tensorrt}, TensorRT {tensorrt} is to load it",
            f"{_BUILD} --tensorrt-include FOLDER, the folder with the headers of TensorRT {tensorrt}",
        )
    if source_hash is not None and facts.source_hash != source_hash:
        raise BundleError(
            where,
            f"was compiled from other sources ({facts.source_hash[:12]}), expected {source_hash[:12]}",
            f"{_BUILD} compiles those of this edgeexport",
        )


def check_unregistered(path: Path, creators: Iterable[tuple[str, str, str]], ours: Iterable[str]) -> None:
    """Refuses to load a library into a registry that already has one of its plugins.

    TensorRT's registry answers with null and no word on which plugin it was.

    Args:
        path: The library that is to be loaded.
        creators: (name, version, namespace) of every creator in the registry.
        ours: Names of the library's plugins.

    Raises:
        BundleError: Naming the plugins that are there already (exit code 9).
    """
    names = set(ours)
    present = sorted(f"{space}::{name} {version}" for name, version, space in creators if name in names)
    present = [entry for entry in present if entry.startswith("edgeexport::")]
    if present:
        raise BundleError(
            str(path),
            f"already registered in this process: {', '.join(present)}; expected none of them before it is loaded",
            "load one plugin library per process, and once only",
        )


def _record(content: bytes) -> BuildRecord | None:
    """The JSON behind the first marker that has one."""
    start = content.find(MARKER)
    while start >= 0:
        begin = start + len(MARKER)
        end = content.find(b"\0", begin)
        with contextlib.suppress(BundleError):  # the next one may be it
            return parsed(content[begin:end], BUILD_RECORD, "")
        start = content.find(MARKER, begin)
    return None
