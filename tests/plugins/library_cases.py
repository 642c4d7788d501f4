"""The plugin library, the CPU references and the C++ programs of plugins/tests, built by plugins/CMakeLists.txt.

They are kept in the user's cache and built again where something changed. Everything is skipped, with the reason, where a
compiler or TensorRT's headers cannot be found.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from edgeexport.errors import EdgeExportError
from edgeexport.plugin.cmake import build_target, find_cmake
from edgeexport.plugin.compile import compile_library
from edgeexport.plugin.headers import TensorRTHeaders, find_headers
from edgeexport.plugin.search import Search
from edgeexport.plugin.toolkit import Compiler, Toolkit, find_compiler, find_toolkit

__all__ = [
    "SOURCES",
    "cpu_check_program",
    "cpu_library_file",
    "driver_program",
    "fuzz_program",
    "run_checked",
    "sanitized_cpu_library",
    "sanitizing_compiler",
    "stand_in_library",
    "the_library",
    "toolkit_and_headers",
]

SOURCES = Path(__file__).parents[2] / "plugins"


@cache
def _found() -> tuple[Toolkit, TensorRTHeaders] | str:
    try:
        return find_toolkit(), find_headers()
    except EdgeExportError as error:
        return f"the plugin library cannot be compiled here: {error.where}: {error.problem}"


def toolkit_and_headers() -> tuple[Toolkit, TensorRTHeaders]:
    """What the plugin library is compiled with."""
    found = _found()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@cache
def the_library(architectures: tuple[int, ...] = (87,)) -> Path:
    """The plugin library, by the code that `edgeexport plugin build` runs."""
    toolkit, headers = toolkit_and_headers()
    return compile_library(SOURCES, architectures, toolkit, headers).facts.path


def _compiler() -> Compiler:
    try:
        return find_compiler()
    except EdgeExportError as error:
        pytest.skip(f"no C++ compiler: {error.problem}")


def sanitizing_compiler() -> Compiler:
    """A C++ compiler with AddressSanitizer."""
    compiler = _compiler()
    runtime = subprocess.run([str(compiler.path), "-print-file-name=libasan.so"], capture_output=True, text=True).stdout
    if not Path(runtime.strip()).is_absolute():
        pytest.skip(f"{compiler.path} has no AddressSanitizer (libasan.so)")
    return compiler


def cpu_library_file() -> Path:
    """The CPU references, as they are shipped."""
    return _built("edgeexport_cpu", "libedgeexport_cpu.so", _compiler())


def sanitized_cpu_library() -> Path:
    """The CPU references with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return _built("edgeexport_cpu_sanitized", "tests/libedgeexport_cpu_sanitized.so", sanitizing_compiler())


def cpu_check_program() -> Path:
    """plugins/tests/cpu_cases.cpp on the sanitized CPU references."""
    return _built("cpu_cases", "tests/cpu_cases", sanitizing_compiler())


def driver_program() -> Path:
    """plugins/tests/driver.cpp and its checks, with AddressSanitizer (which finds leaks as well)."""
    toolkit_and_headers()
    return _built("driver", "tests/driver", sanitizing_compiler())


def stand_in_library() -> Path:
    """The plugin classes on a stand-in for CUDA, all with sanitizers."""
    toolkit_and_headers()
    return _built("stand_in", "tests/libstand_in.so", sanitizing_compiler())


def fuzz_program(compiler: Compiler | None = None) -> Path:
    """plugins/tests/fuzz_fields.cpp: with clang libFuzzer's program, with another compiler one that runs files."""
    toolkit_and_headers()
    return _built("fuzz_fields", "tests/fuzz_fields", compiler or sanitizing_compiler())


def run_checked(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program with sanitizers; what they find ends it with a report and an exit code."""
    environ = {
        **os.environ,
        # The gap: CUDA maps memory where AddressSanitizer protects it. Only matters on a machine with a GPU.
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:protect_shadow_gap=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=environ)


@cache
def _built(target: str, file: str, compiler: Compiler) -> Path:
    """A file of the tests' build, which processes that test side by side share."""
    options: dict[str, object] = {"EDGEEXPORT_TESTS": "ON", "CMAKE_CXX_COMPILER": compiler.path}
    found, versions = _found(), [compiler.version]
    if isinstance(found, str):
        options["EDGEEXPORT_PLUGINS"] = "OFF"
    else:
        options |= {"CMAKE_CUDA_COMPILER": found[0].nvcc, "TENSORRT_INCLUDE": found[1].folder}
        versions.append(found[0].release)
    cmake = find_cmake()
    made_with = (str(SOURCES), cmake.version, cmake.generator, versions, sorted(options.items()))
    folder = Search().cache / "test-builds" / hashlib.sha256(repr(made_with).encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build_target(cmake, SOURCES, folder, target, options)
    return folder / file
