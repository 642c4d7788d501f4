"""Finds what compiles the plugin library: nvcc and a C++ compiler. What belongs to nvcc, CMake asks it for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.targets import Target
from edgeexport.errors import BuildError, UsageError
from edgeexport.plugin.search import Search

__all__ = ["Compiler", "Toolkit", "architectures_of_target", "find_compiler", "find_toolkit"]

_TIMEOUT_S = 20.0
_WHEELS = "nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl nvidia-cuda-culibos"
_PARTS = {
    "nvvm/bin/cicc": "nvidia-nvvm",
    "include/crt/host_defines.h": "nvidia-cuda-crt",
    "include/cuda_runtime.h": "nvidia-cuda-runtime",
    "lib/libcudart_static.a": "nvidia-cuda-runtime",
}
_REMEDY = f"install the CUDA toolkit (JetPack carries it), set CUDA_HOME, or pip install {_WHEELS}"


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler; ``version`` is its first line of ``--version``."""

    path: Path
    version: str


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit.

    Attributes:
        nvcc: The compiler driver.
        version: Of the toolkit, such as '13.0'.
        release: Of nvcc, such as '13.0.88'.
        architectures: What nvcc can compile for, ascending, such as (75, 80, 86, 87).
        compiler: The host compiler.
    """

    nvcc: Path
    version: str
    release: str
    architectures: tuple[int, ...]
    compiler: Compiler

    def check_architectures(self, wanted: tuple[int, ...]) -> None:
        """Refuses an architecture that this nvcc cannot compile for.

        Raises:
            UsageError: Naming it, and those that are known.
        """
        unknown = [number for number in wanted if number not in self.architectures]
        if unknown:
            known = ", ".join(str(number) for number in self.architectures)
            raise UsageError(
                f"--cuda-arch {unknown[0]}",
                f"nvcc {self.version} cannot compile for it, it knows {known}",
                "use one of these, or another CUDA toolkit (110 needs 13.0 or newer)",
            )


def find_toolkit(search: Search | None = None) -> Toolkit:
    """The first toolkit: on PATH, at CUDA_HOME or CUDA_PATH, in /usr/local/cuda, in NVIDIA's wheels.

    Raises:
        BuildError: There is none that runs, or wheels are missing; the message says what (exit code 5).
    """
    search = search or Search()
    lacking: list[str] = []
    for nvcc in _candidates(search):
        candidate = _toolkit_at(nvcc, search)
        if isinstance(candidate, Toolkit):
            return candidate
        lacking.append(f"{nvcc} {candidate}")
    if lacking:
        raise BuildError("CUDA toolkit", f"found none that is complete: {'; '.join(lacking)}", _REMEDY)
    raise BuildError(
        "CUDA toolkit",
        "found no nvcc on PATH, at CUDA_HOME or CUDA_PATH, in /usr/local/cuda or in NVIDIA's wheels",
        _REMEDY,
    )


def find_compiler(search: Search | None = None) -> Compiler:
    """The C++ compiler: the one that CXX names, else g++, c++ or clang++.

    Raises:
        BuildError: There is none (exit code 5).
    """
    search = search or Search()
    named = search.environ.get("CXX", "").strip()
    for name in [named] if named else ["g++", "c++", "clang++"]:
        path = search.which(name)
        printed = search.run([path, "--version"], _TIMEOUT_S) if path else None
        if path and printed and printed.strip():
            return Compiler(Path(path), printed.strip().splitlines()[0])
    problem = f"CXX={named} does not run" if named else "found no C++ compiler (g++, c++, clang++)"
    raise BuildError("C++ compiler", problem, "sudo apt-get install g++")


def architectures_of_target(target: Target, search: Search | None = None) -> tuple[int, ...]:
    """What to compile for by default: (87,) for an Orin, the GPUs of this machine for 'gpu'.

    Raises:
        UsageError: The target uses no TensorRT, or this machine has no GPU to ask.
    """
    if not target.needs_tensorrt:
        raise UsageError(
            f"--target {target.name}", "does not use TensorRT, so it takes no plugins", "use --target orin"
        )
    if target.compute_capability is not None:
        major, minor = target.compute_capability
        return (10 * major + minor,)
    search = search or Search()
    program = search.which("nvidia-smi")
    printed = search.run([program, "--query-gpu=compute_cap", "--format=csv,noheader"], _TIMEOUT_S) if program else None
    architectures = sorted(
        {int(major) * 10 + int(minor) for major, minor in re.findall(r"(?m)^(\d+)\.(\d)\s*$", printed or "")}
    )
    if not architectures:
        problem = "nvidia-smi reports no compute capability" if program else "nvidia-smi was not found"
        raise UsageError(f"--target {target.name}", f"{problem}, so the architecture is unknown", "give --cuda-arch")
    return tuple(architectures)


def _candidates(search: Search) -> Iterator[Path]:
    on_path = search.which("nvcc")
    places = [Path(on_path).absolute()] if on_path else []
    homes = [search.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    places += [Path(home).absolute() / "bin/nvcc" for home in homes if home]
    places.append(search.root / "usr/local/cuda/bin/nvcc")
    for folder in search.site_folders:
        places += sorted(folder.glob("nvidia/cu*/bin/nvcc"), reverse=True)
    seen: set[Path] = set()
    for place in places:
        if place.is_file() and place.resolve() not in seen:
            seen.add(place.resolve())
            yield place


def _toolkit_at(nvcc: Path, search: Search) -> Toolkit | str:
    """The toolkit of an nvcc, or what it lacks."""
    version = re.search(r"release (\d+\.\d+), V(\d+(?:\.\d+)+)", search.run([str(nvcc), "--version"], _TIMEOUT_S) or "")
    if version is None:
        return "does not run (nvcc --version failed)"
    if any(folder in nvcc.parents for folder in search.site_folders):  # wheels come one by one, other toolkits whole
        missing = [f"{part} ({wheel})" for part, wheel in _PARTS.items() if not (nvcc.parents[1] / part).is_file()]
        if missing:
            return f"lacks {', '.join(missing)}"
    codes = re.findall(r"(?m)^sm_(\d+)\s*$", search.run([str(nvcc), "--list-gpu-code"], _TIMEOUT_S) or "")
    architectures = tuple(sorted({int(code) for code in codes}))
    return Toolkit(nvcc, version[1], version[2], architectures, find_compiler(search))
