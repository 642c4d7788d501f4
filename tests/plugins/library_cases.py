"""The plugin library, and the C++ programs of plugins/tests, compiled once and kept until a source changes.

Everything is skipped, with the reason, where a compiler or TensorRT's headers cannot be found.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from edgeexport.errors import EdgeExportError
from edgeexport.plugin.compile import compile_cpu_library, compile_library
from edgeexport.plugin.headers import TensorRTHeaders, find_headers
from edgeexport.plugin.search import Search
from edgeexport.plugin.toolkit import Compiler, Toolkit, find_compiler, find_toolkit

__all__ = [
    "SOURCES",
    "cpu_check_program",
    "driver_program",
    "run_checked",
    "sanitized_cpu_library",
    "stand_in_library",
    "the_library",
]

SOURCES = Path(__file__).parents[2] / "plugins"

_WARNINGS = ("-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I.")
_ADDRESS = ("-O0", "-fno-omit-frame-pointer", "-fsanitize=address")
_SANITIZED = (*_ADDRESS, "-fsanitize=undefined", "-fno-sanitize-recover=all")
_DEFINED = ("-DEDGEEXPORT_ARCHITECTURES=87", "-DEDGEEXPORT_SOURCE_HASH=stand_in")


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


def sanitizing_compiler() -> Compiler:
    """A C++ compiler with AddressSanitizer."""
    try:
        compiler = find_compiler()
    except EdgeExportError as error:
        pytest.skip(f"no C++ compiler: {error.problem}")
    runtime = subprocess.run([str(compiler.path), "-print-file-name=libasan.so"], capture_output=True, text=True).stdout
    if not Path(runtime.strip()).is_absolute():
        pytest.skip(f"{compiler.path} has no AddressSanitizer (libasan.so)")
    return compiler


@cache
def sanitized_cpu_library() -> Path:
    """The CPU references with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return compile_cpu_library(SOURCES, sanitizing_compiler(), sanitize=True)


@cache
def driver_program() -> Path:
    """plugins/tests/driver.cpp and its checks, with AddressSanitizer (which finds leaks as well)."""
    files = ["tests/driver.cpp", *_sorted("tests/*_checks.cpp")]
    return _compiled("driver", files, (*_ADDRESS, *_includes()), ("-ldl",))


@cache
def stand_in_library() -> Path:
    """The plugin classes on a stand-in for CUDA, all with sanitizers."""
    files = ["registry.cpp", *_sorted("*/*_plugin.cpp"), "tests/cuda_on_host.cpp"]
    cpu = sanitized_cpu_library()
    flags = (*_SANITIZED, "-fvisibility=hidden", *_DEFINED, *_includes())
    return _compiled("libstand_in.so", files, flags, ("-shared", str(cpu), f"-Wl,-rpath,{cpu.parent}"))


@cache
def cpu_check_program() -> Path:
    """plugins/tests/cpu_cases.cpp on the sanitized CPU references."""
    cpu = sanitized_cpu_library()
    return _compiled("cpu_cases", ["tests/cpu_cases.cpp"], _SANITIZED, (str(cpu), f"-Wl,-rpath,{cpu.parent}"))


def run_checked(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program with sanitizers; what they find ends it with a report and an exit code."""
    environ = {
        **os.environ,
        # The gap: CUDA maps memory where AddressSanitizer protects it. Only matters on a machine with a GPU.
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:protect_shadow_gap=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=environ)


def _sorted(pattern: str) -> list[str]:
    return sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.glob(pattern))


def _includes() -> tuple[str, ...]:
    toolkit, headers = toolkit_and_headers()
    folders = [headers.folder, *toolkit.includes]
    return tuple(item for folder in folders for item in ("-isystem", str(folder)))


def _compiled(name: str, files: Sequence[str], flags: Sequence[str], link: Sequence[str]) -> Path:
    """Compiles in parallel and links; a program of the same sources, compiler and flags is taken as it is."""
    compiler = sanitizing_compiler()
    digest = hashlib.sha256(repr((compiler.version, list(files), list(flags), list(link))).encode())
    for path in sorted([*SOURCES.rglob("*.h"), *SOURCES.rglob("*.cpp")]):
        digest.update(path.read_bytes())
    program = Search().cache / "test-programs" / digest.hexdigest()[:32] / name
    if program.is_file():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        objects = [str(Path(folder) / f"{file.replace('/', '.')}.o") for file in files]
        sanitizers = [flag for flag in flags if flag.startswith("-fsanitize")]
        commands = [
            [str(compiler.path), *_WARNINGS, *flags, "-c", file, "-o", target]
            for file, target in zip(files, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(_run, commands))
        built = str(Path(folder) / name)
        _run([str(compiler.path), *sanitizers, *objects, *link, "-o", built])
        Path(built).replace(program)
    return program


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-3000:]}"
