"""The hash of the sources, that CMake computes the same, and that a copy is all that it needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from plugin_cases import write_sources

from edgeexport.errors import BuildError
from edgeexport.plugin import sources
from edgeexport.plugin.cmake import find_cmake
from edgeexport.plugin.sources import copy_sources, source_hash, sources_folder

OPS = (
    "token_match",
    "token_match_merge",
    "token_merge",
    "token_partition",
    "token_protect_select",
    "token_unmerge",
    "upsample_argmax",
)


def _names(folder: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


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


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The hash that CMake computes of the shipped sources among others, and the files that it compiles on any machine."""
    cmake = find_cmake()
    folder = tmp_path_factory.mktemp("configured") / "plugins"
    copy_sources(sources_folder(), folder)
    for name in ("tests/one.cpp", "build/two.h", ".three.h"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not hashed")
    options = ["-G", cmake.generator, f"-DCMAKE_MAKE_PROGRAM={cmake.tool}", "-DEDGEEXPORT_PLUGINS=OFF"]
    command = [cmake.program, "-S", folder, "-B", folder / "build", *options, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    printed = re.search(r"edgeexport: sources (\w+)", done.stdout)
    assert printed is not None, done.stdout
    compiled = json.loads((folder / "build/compile_commands.json").read_text())
    return printed[1], _names(folder, [Path(item["file"]) for item in compiled])


def test_cmake_computes_the_same_hash(configured: tuple[str, list[str]]) -> None:
    assert configured[0] == source_hash(sources_folder())


def test_cmake_compiles_every_cpu_reference(configured: tuple[str, list[str]]) -> None:
    assert sorted(configured[1]) == sorted(f"{op}/{op}_cpu.cpp" for op in OPS)


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
