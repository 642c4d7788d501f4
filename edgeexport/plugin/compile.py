"""Compiles the plugin library and the library of CPU references, each object in parallel, once per set of inputs.

A finished library is kept in the user's cache under a hash of everything that it was made of, so that a build of a bundle
does not compile again. The same inputs give the same bytes: paths are relative to the sources, and nvcc names its
internal symbols by the source file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeexport.errors import BuildError, BundleError
from edgeexport.plugin.build_record import FILE_NAME, LibraryFacts, facts_from_library
from edgeexport.plugin.headers import TensorRTHeaders
from edgeexport.plugin.search import Search
from edgeexport.plugin.sources import cpu_sources, library_sources, name_in, source_hash
from edgeexport.plugin.toolkit import Compiler, Toolkit

__all__ = ["CPU_FILE_NAME", "CompiledLibrary", "compile_cpu_library", "compile_library"]

CPU_FILE_NAME = "libedgeexport_cpu.so"

_RULES = 1
"""To be raised when the commands below change: libraries compiled by other rules are not taken from the cache."""

_WARNINGS = ("-Wall", "-Wextra", "-Werror")
_HOST = ("-O3", "-fPIC", "-fvisibility=hidden", *_WARNINGS)
_SANITIZED = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_ERROR_LINES = 12
_FINDING = r"(?i)\berror\b|\bfatal\b|undefined reference"
_STEP_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class CompiledLibrary:
    """``facts`` of the library, which lies in the cache; ``seconds`` of compiling, None if it was there already."""

    facts: LibraryFacts
    seconds: float | None


@dataclass(frozen=True)
class _Step:
    """A command of a build, run in the folder of the sources."""

    name: str
    command: tuple[str, ...]


def compile_library(
    sources: Path,
    architectures: Sequence[int],
    toolkit: Toolkit,
    headers: TensorRTHeaders,
    *,
    search: Search | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> CompiledLibrary:
    """The plugin library, from the cache or compiled.

    Args:
        sources: Folder of the sources (`edgeexport.plugin.sources.sources_folder`).
        architectures: Such as (87,); each gets machine code.
        toolkit: CUDA; its runtime is linked statically.
        headers: TensorRT's; no library of TensorRT is linked.
        search: Names the cache.
        on_stage: Hears of every finished step.

    Raises:
        UsageError: nvcc does not know an architecture (exit code 2).
        BuildError: A file does not compile, or the library does not link (exit code 5).
    """
    search = search or Search()
    wanted = tuple(sorted(set(architectures)))
    toolkit.check_architectures(wanted)
    digest = source_hash(sources)
    made_of = [_RULES, digest, wanted, headers.version, toolkit.release, toolkit.compiler.version, os.uname().machine]
    file = search.cache / "libraries" / _key(made_of) / FILE_NAME
    known = _cached(file, wanted, headers, digest)
    if known is not None:
        return CompiledLibrary(known, None)
    # For registry.cpp; nvcc would take the comma of "86,87" for one between two definitions.
    numbers = ",".join(str(number) for number in wanted)
    record = [f"-DEDGEEXPORT_ARCHITECTURES={numbers}", f"-DEDGEEXPORT_SOURCE_HASH={digest}"]
    common = ["-std=c++17", "-I."]
    for folder in (headers.folder, *toolkit.includes):
        common += [] if _searched_anyway(folder) else ["-isystem", str(folder)]
    start = time.perf_counter()
    with _workshop(file.parent) as folder:
        steps, objects = [], []
        for path in library_sources(sources):
            name = name_in(sources, path)
            objects.append(str(folder / f"{name.replace('/', '.')}.o"))
            kernel = path.suffix == ".cu"
            compiler = _nvcc_command(toolkit, wanted, name) if kernel else [str(toolkit.compiler.path), *_HOST, *record]
            steps.append(_Step(name, (*compiler, *common, "-c", name, "-o", objects[-1])))
        # nvcc adds an object of its own, which is to be for the same architectures.
        link = [
            str(toolkit.nvcc),
            *_codes(wanted),
            "-ccbin",
            str(toolkit.compiler.path),
            "-shared",
            "-cudart",
            "static",
        ]
        # Nothing may stay undefined (a forgotten symbol of TensorRT would show only on the device), and the runtime's
        # own symbols stay inside, or they would meet those of another copy in the process. Names for debuggers go: nvcc's
        # temporary files are among them.
        link += [
            "-Xlinker=-s",
            "-Xlinker=-z,defs",
            "-Xlinker=--exclude-libs=ALL",
            *(f"-L{folder}" for folder in toolkit.libraries),
        ]
        built = folder / FILE_NAME
        _run(steps, sources, on_stage)
        _run([_Step("link", (*link, *objects, "-o", str(built)))], sources, on_stage)
        if source_hash(sources) != digest:
            raise BuildError(str(sources), "a source changed while it was compiled", "build again")
        facts_from_library(built)
        built.replace(file)
    return CompiledLibrary(facts_from_library(file), time.perf_counter() - start)


def compile_cpu_library(
    sources: Path,
    compiler: Compiler,
    *,
    sanitize: bool = False,
    search: Search | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Path:
    """The CPU references as a library for ctypes, from the cache or compiled.

    Args:
        sources: Folder of the sources.
        compiler: For C++.
        sanitize: With AddressSanitizer and UndefinedBehaviorSanitizer, which end the process at the first finding; the
            process has to preload the sanitizer's runtime.
        search: Names the cache.
        on_stage: Hears of every finished step.

    Raises:
        BuildError: A file does not compile (exit code 5).
    """
    search = search or Search()
    made_of = [_RULES, source_hash(sources), sanitize, compiler.version, os.uname().machine]
    file = search.cache / "cpu-libraries" / _key(made_of) / CPU_FILE_NAME
    if file.is_file():
        return file
    # g++ fuses products and sums on aarch64 unless told not to; the references are float32 step by step everywhere.
    flags = [*_HOST, "-ffp-contract=off", *(_SANITIZED if sanitize else ())]
    with _workshop(file.parent) as folder:
        steps, objects = [], []
        for path in cpu_sources(sources):
            name = name_in(sources, path)
            objects.append(str(folder / f"{name.replace('/', '.')}.o"))
            options = ["-std=c++17", "-I.", "-c", name, "-o", objects[-1]]
            steps.append(_Step(name, (str(compiler.path), *flags, *options)))
        _run(steps, sources, on_stage)
        built = folder / CPU_FILE_NAME
        link = (str(compiler.path), *flags, "-shared", *objects, "-o", str(built))
        _run([_Step("link", link)], sources, on_stage)
        built.replace(file)
    return file


def _searched_anyway(folder: Path) -> bool:
    """Whether compilers look there by themselves; named again, such a folder moves, and its headers lose their order."""
    return folder in (Path("/usr/include"), Path("/usr/local/include")) or folder.parent == Path("/usr/include")


def _nvcc_command(toolkit: Toolkit, architectures: Sequence[int], name: str) -> list[str]:
    host = [f"-Xcompiler={','.join(_HOST)}", "-ccbin", str(toolkit.compiler.path)]
    return [str(toolkit.nvcc), "-O3", "--Werror=all-warnings", f"-frandom-seed={name}", *_codes(architectures), *host]


def _codes(architectures: Sequence[int]) -> list[str]:
    return [f"-gencode=arch=compute_{number},code=sm_{number}" for number in architectures]


def _key(made_of: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]


def _cached(file: Path, architectures: tuple[int, ...], headers: TensorRTHeaders, digest: str) -> LibraryFacts | None:
    """What the cache has, if it is whole."""
    if not file.is_file():
        return None
    try:
        facts = facts_from_library(file)
    except BundleError:
        return None
    expected = (architectures, headers.version, digest)
    return facts if (facts.architectures, facts.tensorrt, facts.source_hash) == expected else None


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, from where a finished file is moved in one step."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=folder, prefix=".partial-")
    except OSError as error:
        raise BuildError(
            str(folder), f"cannot be written: {error.strerror or error}", "set XDG_CACHE_HOME to a writable folder"
        ) from None
    with temporary as name:
        yield Path(name)


def _run(steps: Sequence[_Step], sources: Path, on_stage: Callable[[str], None]) -> None:
    """Runs commands, as many at a time as there are processors; the first that fails ends the build."""
    done = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = [pool.submit(_run_step, step, sources) for step in steps]
        try:
            for step, future in zip(steps, futures, strict=True):
                future.result()
                done += 1
                on_stage(f"compiled {step.name} ({done} of {len(steps)})" if step.name != "link" else "linked")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _run_step(step: _Step, sources: Path) -> None:
    try:
        done = subprocess.run(
            step.command,
            cwd=sources,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_STEP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(step.name, f"{step.command[0]} could not run: {error}", "check the compiler") from None
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        first = next((place for place, line in enumerate(lines) if re.search(_FINDING, line)), 0)
        shown = "\n".join(lines[first : first + _ERROR_LINES])
        raise BuildError(
            step.name,
            f"{Path(step.command[0]).name} ended with exit code {done.returncode}\n{shown}\n",
            "if the sources are unchanged, try another CUDA toolkit or compiler, and report the message",
        )
