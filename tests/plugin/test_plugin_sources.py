"""Which files belong to the library, their hash, and that CMake computes the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from plugin_cases import write_sources

from edgeexport.errors import BuildError
from edgeexport.plugin import sources
from edgeexport.plugin.sources import copy_sources, cpu_sources, library_sources, source_hash, sources_folder

OPS = ("token_match", "token_merge", "token_partition", "token_unmerge", "upsample_argmax")


def _names(folder: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_files_of_the_two_libraries(tmp_path: Path) -> None:
    folder = write_sources(tmp_path / "src")
    assert _names(folder, library_sources(folder)) == ["add/add.cu", "registry.cpp"]
    assert _names(folder, cpu_sources(folder)) == ["add/add_cpu.cpp"]


def test_shipped_sources_are_complete() -> None:
    folder = sources_folder()
    expected = [f"{op}/{op}{end}" for op in OPS for end in (".cu", "_plugin.cpp")]
    assert set(expected) | {"registry.cpp"} <= set(_names(folder, library_sources(folder)))
    assert {f"{op}/{op}_cpu.cpp" for op in OPS} <= set(_names(folder, cpu_sources(folder)))


def test_hash_follows_sources_alone(tmp_path: Path) -> None:
    folder = write_sources(tmp_path / "src")
    first = source_hash(folder)
    for name in ("README.md", "tests/broken.cpp", "build/CMakeFiles/x.cpp", ".hidden.h"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("changed")
        assert source_hash(folder) == first, name
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert source_hash(tmp_path / "elsewhere") == first
    seen = {first}
    (folder / "common/add.h").write_text("changed")
    seen.add(source_hash(folder))
    (folder / "common/add.h").rename(folder / "common/sum.h")
    seen.add(source_hash(folder))
    assert len(seen) == 3


def test_cmake_computes_the_same_hash(tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    folder = tmp_path / "plugins"
    copy_sources(sources_folder(), folder)
    for name in ("tests/one.cpp", "build/two.h", ".three.h"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not hashed")
    text = (folder / "CMakeLists.txt").read_text()
    block = re.search(r"(?m)^file\(GLOB_RECURSE HASHED.*?^string\(SHA256 SOURCE_HASH [^\n]*$", text, re.DOTALL)
    assert block is not None
    script = "\n".join(line for line in block[0].splitlines() if "set_property" not in line)  # not for scripts
    (tmp_path / "hash.cmake").write_text(script + '\nmessage("hash=${SOURCE_HASH}")\n')
    done = subprocess.run(
        [cmake, "-P", tmp_path / "hash.cmake"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == f"hash={source_hash(sources_folder())}"


def test_copy_is_what_cmake_needs(tmp_path: Path) -> None:
    names = copy_sources(sources_folder(), tmp_path / "copy")
    assert {"CMakeLists.txt", "registry.cpp", "common/plugin_base.h"} <= set(names)
    assert names == sorted(
        _names(tmp_path / "copy", [path for path in (tmp_path / "copy").rglob("*") if path.is_file()])
    )
    assert source_hash(tmp_path / "copy") == source_hash(sources_folder())
    missing = []
    for path in (tmp_path / "copy").rglob("*"):
        for include in re.findall(r'(?m)^#include "(.+)"', path.read_text() if path.is_file() else ""):
            missing += [] if (tmp_path / "copy" / include).is_file() else [f"{path.name}: {include}"]
    assert not missing


def test_incomplete_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_PACKAGE", tmp_path / "edgeexport")
    with pytest.raises(BuildError, match=r"plugin sources are missing \| install edgeexport again"):
        sources_folder()
    installed = write_sources(tmp_path / "edgeexport/plugins_src")
    write_sources(tmp_path / "plugins")
    assert sources_folder() == installed
