"""Compiling: a small library of one kernel with the real nvcc, the cache, and messages; then the plugins themselves."""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from plugin_cases import (
    architectures_in,
    fake_headers,
    fake_search,
    fake_toolkit,
    real_headers,
    real_search,
    real_toolkit,
    write_headers,
    write_library,
    write_sources,
)

from edgeexport.errors import BuildError, EdgeExportError, UsageError
from edgeexport.plugin.compile import compile_library
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.sources import source_hash, sources_folder


def test_small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CXXFLAGS", "CUDAFLAGS", "LDFLAGS"):  # CMake would take them up
        monkeypatch.setenv(name, "--no-such-option")
    toolkit = real_toolkit()
    headers = find_headers(write_headers(tmp_path / "include"))
    sources = write_sources(tmp_path / "src")
    stages: list[str] = []
    first = compile_library(sources, [90, 87], toolkit, headers, search=real_search(tmp_path), on_stage=stages.append)
    assert stages[0].startswith("prepared by CMake ") and stages[-1] == "linked" and len(stages) == 4
    numbered = [f"compiled {name} ({place} of 2)" for name in ("add/add.cu", "registry.cpp") for place in (1, 2)]
    assert set(stages[1:3]) in ({numbered[0], numbered[3]}, {numbered[1], numbered[2]})
    facts = first.facts
    assert (facts.architectures, facts.tensorrt, facts.cuda) == ((87, 90), "10.14.1", toolkit.version)
    assert facts.source_hash == source_hash(sources)
    assert architectures_in(facts.path) == {87, 90}
    # Loads without a driver, and nothing of the CUDA runtime is seen from outside.
    library = ctypes.CDLL(str(facts.path))
    assert library.add_on_gpu(None) != 0
    with pytest.raises(AttributeError):
        _ = library.cudaMalloc
    assert "libcuda" not in subprocess.run(["ldd", facts.path], capture_output=True, text=True, check=True).stdout
    assert [path.name for path in facts.path.parent.iterdir()] == [facts.path.name]
    # A second time it is there, without CMake; in another folder and cache, and with make, it has the same bytes.
    again = compile_library(sources, [87, 90], toolkit, headers, search=fake_search(tmp_path))
    assert again.seconds is None and again.facts == facts and first.seconds is not None
    moved = write_sources(tmp_path / "elsewhere/src")
    stages.clear()
    search = real_search(tmp_path / "other", "make")
    other = compile_library(moved, [87, 90], toolkit, headers, search=search, on_stage=stages.append)
    assert other.seconds is not None and {"compiled add/add.cu", "compiled registry.cpp"} < set(stages)
    assert other.facts.path.read_bytes() == facts.path.read_bytes()


def test_damaged_cache_is_not_used(tmp_path: Path) -> None:
    toolkit = real_toolkit()
    headers = find_headers(write_headers(tmp_path / "include"))
    sources = write_sources(tmp_path / "src")
    (sources / "add/add.cu").unlink()  # quicker
    (sources / "registry.cpp").write_text((sources / "registry.cpp").read_text().replace("add(x, 0)", "*x"))
    search = real_search(tmp_path)
    file = compile_library(sources, [87], toolkit, headers, search=search).facts.path
    whole = file.read_bytes()
    for damage in (b"", whole[:1000]):
        file.write_bytes(damage)
        assert compile_library(sources, [87], toolkit, headers, search=search).seconds is not None
        assert file.read_bytes() == whole
    write_library(file, source_hash="00" * 32)
    assert compile_library(sources, [87], toolkit, headers, search=search).facts.source_hash == source_hash(sources)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("tool", "file", "text", "message"),
    [
        ("ninja", "registry.cpp", "int broken(", r"registry.cpp \| does not compile \| .*\n  registry.cpp:1.*error"),
        ("make", "registry.cpp", "int f(int unused) { return 0; }\n", "registry.cpp:1.*unused parameter"),
        (
            "ninja",
            "add/add.cu",
            "__global__ void k() { int unused = 1; }\n",
            r"add/add.cu \| .*\(1\).*never referenced",
        ),
        (
            "make",
            "registry.cpp",
            "void absent();\nvoid f() { absent(); }\n",
            r"link \| .*undefined reference to `absent",
        ),
        ("ninja", "registry.cpp", "int nothing = 0;\n", "has no edgeexport build record"),
    ],
)
def test_sources_that_do_not_compile(tmp_path: Path, tool: str, file: str, text: str, message: str) -> None:
    toolkit = real_toolkit()
    sources = write_sources(tmp_path / "src")
    (sources / "add/add.cu").unlink()
    (sources / "registry.cpp").write_text("int nothing = 0;\n")
    (sources / file).write_text(text)
    headers = find_headers(write_headers(tmp_path / "include"))
    stages: list[str] = []
    with pytest.raises(EdgeExportError, match=f"(?s){message}") as caught:
        compile_library(sources, [87], toolkit, headers, search=real_search(tmp_path, tool), on_stage=stages.append)
    assert f"compiled {caught.value.where}" not in " ".join(stages)  # nor is a file that failed told of as compiled
    assert not re.search(r"ninja: |make: | -o ", "\n".join(caught.value.details))  # the compiler's own lines alone
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_toolkit_that_cannot_compile(tmp_path: Path) -> None:
    """What nvcc says when a part of it is missing."""
    real, nvcc = real_toolkit(), tmp_path / "bin/nvcc"
    nvcc.parent.mkdir()
    lacking = "case \"$*\" in *.cu*) echo 'sh: 1: cicc: not found' >&2; exit 127;; esac"
    nvcc.write_text(f'#!/bin/sh\n{lacking}\nexec {real.nvcc} "$@"\n')
    nvcc.chmod(0o755)
    toolkit = replace(real, nvcc=nvcc)
    headers = find_headers(write_headers(tmp_path / "include"))
    with pytest.raises(BuildError, match=r"CMake \| cannot prepare the build \| .*\n.*cicc: not found") as caught:
        compile_library(write_sources(tmp_path / "src"), [87], toolkit, headers, search=real_search(tmp_path))
    assert "CUDA_HOME" in caught.value.remedy and caught.value.exit_code == 5


def test_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(stage: str) -> None:
        if stage.startswith("compiled"):
            raise KeyboardInterrupt

    headers = find_headers(write_headers(tmp_path / "include"))
    sources, search = write_sources(tmp_path / "src"), real_search(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compile_library(sources, [87], real_toolkit(), headers, search=search, on_stage=interrupt)
    assert not [path for path in search.cache.rglob("*") if path.is_file()]


def test_what_is_wrong_before_anything_is_compiled(tmp_path: Path) -> None:
    sources, headers = write_sources(tmp_path / "src"), fake_headers(tmp_path)
    with pytest.raises(UsageError, match="--cuda-arch 89"):
        compile_library(sources, [87, 89], fake_toolkit(tmp_path), headers, search=fake_search(tmp_path))
    with pytest.raises(BuildError, match=r"CMake \| found no cmake .* \| pip install cmake ninja"):
        compile_library(sources, [87], fake_toolkit(tmp_path), headers, search=fake_search(tmp_path))
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BuildError, match=r"cannot be written: .* \| set XDG_CACHE_HOME"):
        compile_library(sources, [87], fake_toolkit(tmp_path), headers, search=real_search(tmp_path))


@pytest.mark.parametrize("architectures", [(87,), pytest.param((86, 89, 90), marks=pytest.mark.slow)])
def test_plugin_library_compiles(architectures: tuple[int, ...]) -> None:
    """The library itself, into the user's cache, where builds find it: about a minute of one processor each."""
    built = compile_library(sources_folder(), architectures, real_toolkit(), real_headers())
    assert built.facts.architectures == architectures
    assert architectures_in(built.facts.path) == set(architectures)
    library = ctypes.CDLL(str(built.facts.path))
    library.edgeexport_plugins_build_info.restype = ctypes.c_char_p
    assert built.facts.source_hash.encode() in library.edgeexport_plugins_build_info()
    count = ctypes.c_int32()
    library.getCreators(ctypes.byref(count))
    assert count.value == 7
