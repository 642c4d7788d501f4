"""Machines, headers and sources that do not exist outside the tests of the plugin build."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from edgeexport.errors import EdgeExportError
from edgeexport.plugin.headers import TensorRTHeaders, find_headers
from edgeexport.plugin.search import Search
from edgeexport.plugin.toolkit import Compiler, Toolkit, find_toolkit

CMAKE_LISTS = Path(__file__).parents[2] / "plugins/CMakeLists.txt"
FAT_BINARY = b"\x50\xed\x55\xba"
NVCC_VERSION = "Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0\n"
GPU_CODES = "sm_75\nsm_86\nsm_87\nsm_110\n"
GXX = "g++ (Debian 12.2.0) 12.2.0\nCopyright\n"
REGISTRY = """
#define TEXT_OF(...) #__VA_ARGS__
#define TEXT(...) TEXT_OF(__VA_ARGS__)
#include <NvInferVersion.h>
#include <cuda_runtime_api.h>
#include "common/add.h"
__attribute__((used)) char const build_info[] = "EDGEEXPORT_PLUGINS_BUILD_INFO="
    "{\\"architectures\\": [" TEXT(EDGEEXPORT_ARCHITECTURES) "], \\"tensorrt\\": \\"" TEXT(NV_TENSORRT_MAJOR) ".14.1\\", "
    "\\"cuda\\": " TEXT(CUDART_VERSION) ", \\"source_hash\\": \\"" TEXT(EDGEEXPORT_SOURCE_HASH) "\\"}";
extern "C" __attribute__((visibility("default"))) int add_on_gpu(float* x) { return static_cast<int>(add(x, 0)); }
"""
KERNEL = """
#include "common/add.h"
__global__ void add_kernel(float* x) { x[threadIdx.x] += 1.0f; }
cudaError_t add(float* x, cudaStream_t stream) {
    add_kernel<<<1, 32, 0, stream>>>(x);
    return cudaGetLastError();
}
"""
HEADER = """
#pragma once
#include <cuda_runtime_api.h>
cudaError_t add(float* x, cudaStream_t stream);
"""
CPU = 'extern "C" __attribute__((visibility("default"))) int edgeexport_cpu_add(int a, int b) { return a + b; }\n'


def write_headers(folder: Path, version: str = "10.14.1", *, indirect: bool = True) -> Path:
    """Headers of a TensorRT, as far as finding them goes; ``indirect`` as version 10.14 and later write them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "NvInfer.h").write_text("#pragma once\n")
    lines = []
    for part, number in zip(("MAJOR", "MINOR", "PATCH"), version.split("."), strict=True):
        value = number
        if indirect:
            value = f"TRT_{part}_ENTERPRISE"
            lines.append(f"#define {value} {number}")
        lines.append(f"#define NV_TENSORRT_{part} {value} //!< TensorRT version.")
    (folder / "NvInferVersion.h").write_text("\n".join(lines) + "\n")
    return folder


def write_toolkit(root: Path) -> dict[str, str]:
    """A toolkit's files under ``root``, and what its nvcc answers."""
    for name in (
        "bin/nvcc",
        "nvvm/bin/cicc",
        "include/cuda_runtime.h",
        "include/crt/host_defines.h",
        "lib/libcudart_static.a",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    nvcc = root / "bin/nvcc"
    return {f"{nvcc} --version": NVCC_VERSION, f"{nvcc} --list-gpu-code": GPU_CODES}


def write_sources(folder: Path) -> Path:
    """A plugin library of one kernel that takes seconds to compile, by the plugins' own CMakeLists.txt."""
    for name, text in {
        "CMakeLists.txt": CMAKE_LISTS.read_text(),
        "registry.cpp": REGISTRY,
        "add/add.cu": KERNEL,
        "common/add.h": HEADER,
        "add/add_cpu.cpp": CPU,
        "tests/broken.cpp": "this does not compile",
        "README.md": "one kernel\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def fake_search(
    root: Path,
    answers: Mapping[str, str] | None = None,
    *,
    programs: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    site_folders: Sequence[Path] = (),
    run: Callable[[Sequence[str], float], str | None] | None = None,
) -> Search:
    """A machine below ``root``; a command answers with the first text whose key it contains, else it fails."""

    def answer(command: Sequence[str], timeout_s: float) -> str | None:
        assert timeout_s > 0
        return next((text for key, text in (answers or {}).items() if key in " ".join(command)), None)

    return Search(
        which=lambda name: (programs or {}).get(name),
        run=run or answer,
        root=root,
        environ=environ or {},
        site_folders=tuple(site_folders),
        cache=root / "cache",
    )


def real_search(root: Path, tool: str = "ninja", **programs: str) -> Search:
    """This machine's CMake with one of the tools that it can call, and a cache of its own."""
    real = Search()
    found = {name: path for name in ("cmake", tool) if (path := real.which(name))}
    if len(found) < 2:
        pytest.skip(f"no cmake or no {tool} on this machine")
    return fake_search(root, programs={**found, **programs}, run=real.run)


def fake_toolkit(folder: Path) -> Toolkit:
    """A toolkit that is never run."""
    compiler = Compiler(Path("/usr/bin/g++"), "g++ 12.2.0")
    return Toolkit(folder / "nvcc", "13.0", "13.0.88", (75, 86, 87), compiler)


def fake_headers(folder: Path) -> TensorRTHeaders:
    """Headers that are never included."""
    return TensorRTHeaders(folder, "10.14.1", "option")


def write_library(
    path: Path, *, architectures: str = "87", tensorrt: str = "10.14.1", source_hash: str = "ab" * 32, machine: int = 62
) -> Path:
    """A file that looks like a compiled library."""
    record = f'{{"architectures": [{architectures}], "tensorrt": "{tensorrt}", "cuda": 13000, "source_hash": "{source_hash}"}}'
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + bytes(44)
    path.parent.mkdir(parents=True, exist_ok=True)
    marker = b"EDGEEXPORT_PLUGINS_BUILD_INFO="
    path.write_bytes(elf + marker + b"\0text\0" + marker + record.encode() + b"\0tail")
    return path


def real_toolkit() -> Toolkit:
    """This machine's CUDA toolkit, or the test is skipped."""
    try:
        return find_toolkit()
    except EdgeExportError as error:
        pytest.skip(str(error))


def real_headers() -> TensorRTHeaders:
    """TensorRT's headers, downloaded if need be, or the test is skipped."""
    try:
        return find_headers()
    except EdgeExportError as error:
        pytest.skip(str(error))


def architectures_in(library: Path) -> set[int]:
    """Of the machine code in a library: every entry of nvcc's fat binaries names its own."""
    content, found = library.read_bytes(), set()
    start = content.find(FAT_BINARY)
    while start >= 0:
        _, version, header_bytes, size = struct.unpack_from("<IHHQ", content, start)
        entry = start + header_bytes
        while (version, header_bytes) == (1, 16) and entry < start + header_bytes + size:
            _, _, entry_header_bytes, entry_size = struct.unpack_from("<HHIQ", content, entry)
            found.add(struct.unpack_from("<I", content, entry + 28)[0])
            entry += entry_header_bytes + entry_size
        start = content.find(FAT_BINARY, start + 4)
    return found
