"""The C++ and CUDA sources of the plugin library: where they are, which belong to it, and their hash."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from edgeexport.errors import BuildError

__all__ = ["copy_sources", "source_hash", "sources_folder"]

_PACKAGE = Path(__file__).resolve().parents[1]
_HASHED = (".cpp", ".cu", ".cuh", ".h")
_CARRIED = (*_HASHED, ".md", ".txt", ".cmake")
_OTHER_FOLDERS = ("tests", "benchmark", "build")


def sources_folder() -> Path:
    """The folder with CMakeLists.txt: inside an installed package, else beside the package of a source checkout.

    Raises:
        BuildError: There is none: the installation is incomplete.
    """
    candidates = (_PACKAGE / "plugins_src", _PACKAGE.parent / "plugins")
    for folder in candidates:
        if (folder / "registry.cpp").is_file():
            return folder
    raise BuildError(str(candidates[0]), "the plugin sources are missing", "install edgeexport again")


def source_hash(folder: Path) -> str:
    """Hex sha256 over the lines ``<path> <sha256 of the file>`` of all sources and headers, sorted by path.

    CMakeLists.txt computes the same, so that a library tells which sources it is made of however it was built.
    """
    lines = [f"{name_in(folder, path)} {_sha256(path)}\n" for path in _files(folder, _HASHED)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def copy_sources(folder: Path, target: Path) -> list[str]:
    """Copies all that ``cmake -S target`` needs; returns the names of the files, relative to ``target``, sorted."""
    names = []
    for path in _files(folder, _CARRIED):
        name = name_in(folder, path)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
        names.append(name)
    return names


def name_in(folder: Path, path: Path) -> str:
    """The path relative to the sources, with forward slashes."""
    return path.relative_to(folder).as_posix()


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    def belongs(path: Path) -> bool:
        names = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in _OTHER_FOLDERS for part in names)
        return path.suffix in suffixes and not hidden and path.is_file()

    return sorted((path for path in folder.rglob("*") if belongs(path)), key=lambda path: name_in(folder, path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
