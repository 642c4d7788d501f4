"""Finding CMake and what it calls, and building a target: the CPU references, which need nothing but a C++ compiler."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from plugin_cases import CPU, fake_search, real_search, write_sources

from edgeexport.errors import BuildError
from edgeexport.plugin import search
from edgeexport.plugin.cmake import build_target, find_cmake
from edgeexport.plugin.sources import sources_folder

ANSWER = {"cmake --version": "cmake version 3.22.1\n\nCMake suite\n"}
PROGRAMS = {"cmake": "/usr/bin/cmake", "ninja": "/usr/bin/ninja", "make": "/usr/bin/make"}


def test_ninja_comes_before_make(tmp_path: Path) -> None:
    found = find_cmake(fake_search(tmp_path, ANSWER, programs=PROGRAMS))
    assert (found.version, found.generator, found.tool) == ("3.22.1", "Ninja", Path("/usr/bin/ninja"))
    del (programs := dict(PROGRAMS))["ninja"]
    found = find_cmake(fake_search(tmp_path, ANSWER, programs=programs))
    assert (found.generator, found.tool) == ("Unix Makefiles", Path("/usr/bin/make"))


@pytest.mark.parametrize(
    ("programs", "printed", "message"),
    [
        ([], "", r"CMake \| found no cmake on PATH"),
        (["cmake", "make"], "Segmentation fault", r"CMake \| /usr/bin/cmake does not run"),
        (["cmake", "make"], "cmake version 3.16.3", r"CMake \| .*is version 3\.16\.3, expected 3\.22 or newer"),
        (["cmake"], "cmake version 4.1.0", r"Ninja \| found neither ninja nor make"),
    ],
)
def test_what_is_missing_and_how_to_get_it(tmp_path: Path, programs: list[str], printed: str, message: str) -> None:
    machine = fake_search(tmp_path, {"cmake --version": printed}, programs={name: PROGRAMS[name] for name in programs})
    with pytest.raises(BuildError, match=message) as caught:
        find_cmake(machine)
    assert caught.value.exit_code == 5
    assert caught.value.remedy == "pip install cmake ninja, or sudo apt-get install cmake ninja-build"


def test_smallest_version_is_that_of_the_build() -> None:
    assert "\ncmake_minimum_required(VERSION 3.22)\n" in (sources_folder() / "CMakeLists.txt").read_text()


def test_programs_of_wheels_are_found_beside_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("system", "environment"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cmake").write_text("#!/bin/sh\n")
        (tmp_path / folder / "cmake").chmod(0o755)
    monkeypatch.setattr(search.sys, "executable", str(tmp_path / "environment/python"))
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    assert search.Search().which("cmake") == str(tmp_path / "system/cmake")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert search.Search().which("cmake") == str(tmp_path / "environment/cmake")


@pytest.mark.parametrize("tool", ["ninja", "make"])
def test_cpu_references(tmp_path: Path, tool: str) -> None:
    cmake, sources, folder = (
        find_cmake(real_search(tmp_path, tool)),
        write_sources(tmp_path / "src"),
        tmp_path / "build",
    )
    options = {"EDGEEXPORT_PLUGINS": "OFF"}
    stages: list[str] = []
    build_target(cmake, sources, folder, "edgeexport_cpu", options, stages.append)
    counted = " (1 of 1)" if tool == "ninja" else ""
    assert stages[1:] == [f"compiled add/add_cpu.cpp{counted}", "linked"]
    assert ctypes.CDLL(str(folder / "libedgeexport_cpu.so")).edgeexport_cpu_add(2, 3) == 5
    # A second time nothing is left to do; a file that is new is noticed, and a warning is an error.
    build_target(cmake, sources, folder, "edgeexport_cpu", options, stages.append)
    assert len(stages) == 4 and stages[3] == stages[0]
    (sources / "add/sub_cpu.cpp").write_text(CPU.replace("return a + b", "return a").replace("_add", "_sub"))
    with pytest.raises(
        BuildError, match=r"add/sub_cpu.cpp \| does not compile \| .*\n  add/sub_cpu.cpp:1.*unused parameter"
    ):
        build_target(cmake, sources, folder, "edgeexport_cpu", options)
    with pytest.raises(BuildError, match=r"CMake \| failed \| .*\n.*no-such-target"):
        build_target(cmake, sources, folder, "no-such-target", options)
