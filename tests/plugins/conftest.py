"""The CPU references of all plugins as one library, compiled once per run."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from shared_builds import made_once, run_folder

# What the tests of the ops build on (op_models, match_cases) serves those of their plugins too.
sys.path.append(str(Path(__file__).parents[1] / "ops"))

SOURCES = Path(__file__).parents[2] / "plugins"
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="session")
def cpu_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Functions ``edgeexport_cpu_<op>``, which return 0 or a number of plugins/common/status.h.

    With EDGEEXPORT_CPU_LIBRARY set, the library at that path (one with sanitizers, say) is taken as it is.
    """
    given = os.environ.get("EDGEEXPORT_CPU_LIBRARY")
    if given:
        return ctypes.CDLL(given)
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ on this machine to compile the CPU references with")
    folder = made_once(run_folder(tmp_path_factory), "cpu_library", lambda path: compile_into(path, compiler))
    return ctypes.CDLL(str(folder / "libedgeexport_cpu.so"))


def compile_into(folder: Path, compiler: str) -> None:
    """Writes libedgeexport_cpu.so."""
    folder.mkdir()
    sources = sorted(SOURCES.glob("*/*_cpu.cpp"))
    objects = [folder / f"{source.stem}.o" for source in sources]

    def compiled(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
        command = [compiler, *FLAGS, f"-I{SOURCES}", "-c", str(source), "-o", str(target)]
        return subprocess.run(command, capture_output=True, text=True)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for source, done in zip(sources, pool.map(compiled, sources, objects), strict=True):
            assert done.returncode == 0, f"{source.name}:\n{done.stderr[-3000:]}"
    linked = subprocess.run(
        [compiler, "-shared", *map(str, objects), "-o", str(folder / "libedgeexport_cpu.so")],
        capture_output=True,
        text=True,
    )
    assert linked.returncode == 0, linked.stderr[-3000:]


@pytest.fixture(scope="session")
def plugin_library() -> Path:
    """The plugin library for sm_87; compiled once and kept until a source changes (`library_cases`)."""
    from library_cases import the_library

    return the_library()
