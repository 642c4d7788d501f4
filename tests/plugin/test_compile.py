"""Compiling: a small library of one kernel with the real nvcc, the cache, and messages; then the plugins themselves."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_cases import (
    CPU,
    architectures_in,
    fake_headers,
    fake_search,
    fake_toolkit,
    real_headers,
    real_toolkit,
    write_headers,
    write_library,
    write_sources,
)

from edgeexport.errors import BuildError, UsageError
from edgeexport.plugin.compile import compile_cpu_library, compile_library
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.sources import source_hash, sources_folder
from edgeexport.plugin.toolkit import find_compiler


def test_small_library(tmp_path: Path) -> None:
    toolkit = real_toolkit()
    headers = find_headers(write_headers(tmp_path / "include"))
    sources = write_sources(tmp_path / "src")
    stages: list[str] = []
    first = compile_library(sources, [90, 87], toolkit, headers, search=fake_search(tmp_path), on_stage=stages.append)
    assert stages == ["compiled add/add.cu (1 of 2)", "compiled registry.cpp (2 of 2)", "linked"]
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
    # A second time it is there; in another folder and cache it has the same bytes.
    again = compile_library(sources, [87, 90], toolkit, headers, search=fake_search(tmp_path))
    assert again.seconds is None and again.facts == facts and first.seconds is not None
    moved = write_sources(tmp_path / "elsewhere/src")
    other = compile_library(moved, [87, 90], toolkit, headers, search=fake_search(tmp_path / "other"))
    assert other.seconds is not None
    assert other.facts.path.read_bytes() == facts.path.read_bytes()


def test_damaged_cache_is_not_used(tmp_path: Path) -> None:
    toolkit = real_toolkit()
    headers = find_headers(write_headers(tmp_path / "include"))
    sources = write_sources(tmp_path / "src")
    (sources / "add/add.cu").unlink()  # quicker
    (sources / "registry.cpp").write_text((sources / "registry.cpp").read_text().replace("add(x, 0)", "*x"))
    search = fake_search(tmp_path)
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
    ("file", "text", "message"),
    [
        ("registry.cpp", "int broken(", "registry.cpp .* ended with exit code 1\n.*registry.cpp:1.*error"),
        ("registry.cpp", "int f(int unused) { return 0; }\n", "unused parameter"),
        ("add/add.cu", "__global__ void k() { int unused = 1; }\n", "add/add.cu .*never referenced"),
        ("registry.cpp", "void absent();\nvoid f() { absent(); }\n", "link .*undefined reference to `absent"),
        ("registry.cpp", "int nothing = 0;\n", "has no edgeexport build record"),
    ],
)
def test_sources_that_do_not_compile(tmp_path: Path, file: str, text: str, message: str) -> None:
    toolkit = real_toolkit()
    sources = write_sources(tmp_path / "src")
    (sources / "add/add.cu").unlink()
    (sources / "registry.cpp").write_text("int nothing = 0;\n")
    (sources / file).write_text(text)
    headers = find_headers(write_headers(tmp_path / "include"))
    with pytest.raises(Exception, match=f"(?s){message}"):
        compile_library(sources, [87], toolkit, headers, search=fake_search(tmp_path))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_what_is_wrong_before_anything_is_compiled(tmp_path: Path) -> None:
    sources, headers = write_sources(tmp_path / "src"), fake_headers(tmp_path)
    with pytest.raises(UsageError, match="--cuda-arch 89"):
        compile_library(sources, [87, 89], fake_toolkit(tmp_path), headers, search=fake_search(tmp_path))
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BuildError, match=r"cannot be written: .* \| set XDG_CACHE_HOME"):
        compile_library(sources, [87], fake_toolkit(tmp_path), headers, search=fake_search(tmp_path))


def test_cpu_library(tmp_path: Path) -> None:
    compiler = find_compiler()
    sources, search = write_sources(tmp_path / "src"), fake_search(tmp_path)
    stages: list[str] = []
    file = compile_cpu_library(sources, compiler, search=search, on_stage=stages.append)
    assert ctypes.CDLL(str(file)).edgeexport_cpu_add(2, 3) == 5
    assert compile_cpu_library(sources, compiler, search=search, on_stage=stages.append) == file
    assert stages == ["compiled add/add_cpu.cpp (1 of 1)", "linked"]
    (sources / "add/add_cpu.cpp").write_text(CPU.replace("return a + b", "return a"))
    with pytest.raises(BuildError, match="unused parameter"):
        compile_cpu_library(sources, compiler, search=search)


def test_sanitized_cpu_library_ends_at_the_first_finding(tmp_path: Path) -> None:
    compiler = find_compiler()
    sources = write_sources(tmp_path / "src")
    file = compile_cpu_library(sources, compiler, sanitize=True, search=fake_search(tmp_path))
    runtime = subprocess.run([compiler.path, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    code = f"import ctypes; print(ctypes.CDLL({str(file)!r}).edgeexport_cpu_add(2**31 - 1, int('{{}}')))"
    environ = {"LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    runs = [
        subprocess.run([sys.executable, "-c", code.format(b)], env=environ, capture_output=True, text=True, check=False)
        for b in (0, 1)
    ]
    assert runs[0].stdout.strip() == str(2**31 - 1) and runs[0].returncode == 0, runs[0].stderr
    assert runs[1].returncode != 0 and "signed integer overflow" in runs[1].stderr


@pytest.mark.parametrize("architectures", [(87,), (86, 89, 90)])
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
    assert count.value == 5
