"""Runs CMake on the plugins' CMakeLists.txt, tells of every file that is compiled, and says what failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.machine import version_tuple
from edgeexport.errors import BuildError
from edgeexport.plugin.search import Search

__all__ = ["CMake", "build_target", "find_cmake"]

_SMALLEST = "3.22"
"""What plugins/CMakeLists.txt asks for."""

_INSTALL = "pip install cmake ninja, or sudo apt-get install cmake ninja-build"
_TIMEOUT_S = 20.0
_ERROR_LINES = 12
_FINDING = r"(?i)\berror\b|\bfatal\b|undefined reference|not found|cannot find"
_DONE = r"\[\s*(?:(\d+)/(\d+)|\d+%)\] (?:Building \w+ object \S*?\.dir/(.+)\.o|Linking .*)"
_FAILED = r"FAILED: .*|\S*make.*: \*\*\* \[.*\] Error"  # of Ninja, ahead of the messages, or of make, behind them
_OF_TOOL = r"\s*(?:ninja|\S*make(?:\[\d+\])?): "
_COMMAND = r" -o \S+\.(o|so)\b"
# Flags of a user's shell would change what the library is made of without changing its name in the cache.
_NOT_PASSED_ON = ("CXXFLAGS", "CUDAFLAGS", "LDFLAGS", "CUDAHOSTCXX", "CMAKE_TOOLCHAIN_FILE")


@dataclass(frozen=True)
class CMake:
    """CMake and what it is to call: ``tool``, which ``generator`` ('Ninja', 'Unix Makefiles') writes for."""

    program: Path
    version: str
    generator: str
    tool: Path


def find_cmake(search: Search | None = None) -> CMake:
    """CMake with Ninja, or with make where there is no Ninja.

    Raises:
        BuildError: Something is missing, or CMake is too old (exit code 5).
    """
    search = search or Search()
    program = search.which("cmake")
    printed = search.run([program, "--version"], _TIMEOUT_S) if program else None
    version = re.search(r"cmake version (\d+(?:\.\d+)+)", printed or "")
    if program is None or version is None:
        problem = f"{program} does not run" if program else "found no cmake on PATH or beside Python"
        raise BuildError("CMake", problem, _INSTALL)
    if version_tuple(version[1]) < version_tuple(_SMALLEST):
        raise BuildError("CMake", f"{program} is version {version[1]}, expected {_SMALLEST} or newer", _INSTALL)
    for name, generator in (("ninja", "Ninja"), ("make", "Unix Makefiles")):
        tool = search.which(name)
        if tool:
            return CMake(Path(program), version[1], generator, Path(tool))
    raise BuildError("Ninja", "found neither ninja nor make on PATH or beside Python", _INSTALL)


def build_target(
    cmake: CMake,
    sources: Path,
    folder: Path,
    target: str,
    options: Mapping[str, object],
    on_stage: Callable[[str], None] = lambda name: None,
) -> None:
    """Configures the build in ``folder`` and builds one target there, with as many processes as there are processors.

    Args:
        cmake: What to run.
        sources: The folder of CMakeLists.txt.
        folder: Where the build goes; one that has a build of before goes on with that.
        target: Its name in CMakeLists.txt.
        options: Of CMakeLists.txt and of CMake, such as ``TENSORRT_INCLUDE``.
        on_stage: Hears of every finished step.

    Raises:
        BuildError: With the first messages of what failed (exit code 5).
    """
    settings = {"CMAKE_MAKE_PROGRAM": cmake.tool, "CMAKE_BUILD_TYPE": "Release", **options}
    given = [f"-D{name}={value}" for name, value in settings.items()]
    sources, folder = sources.absolute(), folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _running(cmake, folder, "-S", sources, "-B", folder, "-G", cmake.generator, *given) as (process, lines):
        said = list(lines)
    if process.returncode != 0:
        findings = [line for line in said if re.search(_FINDING, line) and not line.startswith("CMake Error at")]
        start = next((place for place, line in enumerate(said) if line.startswith("CMake Error")), 0)
        raise BuildError(
            "CMake",
            "cannot prepare the build",
            "try another CUDA toolkit or compiler (CUDA_HOME and CXX name them)",
            _shown(dict.fromkeys(findings) or said[start:], sources),
        )
    on_stage(f"prepared by CMake {cmake.version} for {cmake.generator}")
    jobs = ["--parallel", str(os.cpu_count() or 1)]
    # As Ninja does by itself: what a compiler says stays together.
    together = [] if cmake.generator == "Ninja" else ["--", "--output-sync=target"]
    stage, failed, said = "", None, []
    with _running(cmake, folder, "--build", folder, "--target", target, *jobs, *together) as (process, lines):
        for line in lines:
            done = re.match(_DONE, line)
            failed = failed or re.match(_FAILED, line)
            if done is None:
                said += [] if re.search(_COMMAND, line) else [line]
            elif failed is None:
                if stage:  # told of what fails as well, one line before it says so
                    on_stage(stage)
                number = f" ({done[1]} of {int(done[2]) - 1})" if done[1] else ""
                stage = f"compiled {done[3]}{number}" if done[3] else "linked"
    if process.returncode != 0:
        file = re.search(r"\.dir/(\S+)\.o\b", failed[0]) if failed else None
        place = next((place for place, line in enumerate(said) if re.search(_FINDING, line)), 0)
        raise BuildError(
            file[1] if file else "link" if failed else "CMake",
            "does not compile" if file else "failed",
            "if the sources are unchanged, try another CUDA toolkit or compiler, and report the message",
            _shown(said[place:], sources),
        )
    if stage:
        on_stage(stage)


@contextmanager
def _running(cmake: CMake, folder: Path, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """The process, started in ``folder``, and its lines, errors among them; it ends with the block, together with all that
    it started.
    """
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    environ.update(NINJA_STATUS="[%f/%t] ", LC_ALL="C.UTF-8")
    try:
        process = subprocess.Popen(
            [str(cmake.program), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environ,
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError("CMake", f"{cmake.program} could not run: {error}", _INSTALL) from None
    with process:
        assert process.stdout is not None
        try:
            yield process, (line.rstrip() for line in process.stdout)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.stdout.read()  # to the end of the last process
            raise


def _shown(lines: Iterable[str], sources: Path) -> list[str]:
    """The first lines, those of Ninja and make only where there are no others; files named as in the sources."""
    told = [line for line in lines if line.strip()]
    telling = [line for line in told if not re.match(_OF_TOOL, line)] or told
    return [line.replace(f"{sources}/", "") for line in telling[:_ERROR_LINES]]
