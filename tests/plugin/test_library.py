"""What a library records, and the messages about one that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugin_cases import write_library

from edgeexport.errors import BundleError
from edgeexport.plugin.build_record import check_library, check_unregistered, facts_from_library


def test_facts_are_read_without_loading(tmp_path: Path) -> None:
    facts = facts_from_library(write_library(tmp_path / "lib.so", architectures="86, 87", machine=183))
    assert facts.as_dict() == {
        "library": str(tmp_path / "lib.so"),
        "architectures": [86, 87],
        "tensorrt_headers": "10.14.1",
        "cuda": "13.0",
        "source_hash": "ab" * 32,
        "machine": "aarch64",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "no ELF header"),
        (b"MZ" + bytes(100), "no ELF header"),
        (b"\x7fELF" + bytes(100), "no edgeexport build record"),
        (b"\x7fELF" + bytes(100) + b"EDGEEXPORT_PLUGINS_BUILD_INFO={", "no edgeexport build record"),
        (
            b"\x7fELF" + bytes(100) + b'EDGEEXPORT_PLUGINS_BUILD_INFO={"architectures": 87}\0',
            "no edgeexport build record",
        ),
    ],
)
def test_files_that_are_no_library_of_ours(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "lib.so").write_bytes(content)
    with pytest.raises(BundleError, match=message) as caught:
        facts_from_library(tmp_path / "lib.so")
    assert "edgeexport plugin build" in caught.value.remedy and caught.value.exit_code == 9


def test_fitting_library_passes(tmp_path: Path) -> None:
    facts = facts_from_library(write_library(tmp_path / "lib.so"))
    check_library(facts, architecture=87, tensorrt="10.3.0", machine="x86_64", source_hash="ab" * 32)


@pytest.mark.parametrize(
    ("wanted", "problem", "remedy"),
    [
        ({"architecture": 86}, "compiled for sm_87, the GPU needs sm_86 (compute capability 8.6)", "--cuda-arch 86"),
        ({"architecture": 110}, "the GPU needs sm_110 (compute capability 11.0)", "--cuda-arch 110"),
        ({"tensorrt": "11.4.1"}, "headers of TensorRT 10.14.1, TensorRT 11.4.1 is to load it", "--tensorrt-include"),
        (
            {"machine": "aarch64"},
            "is a library for x86_64, this device is aarch64",
            "on the device: edgeexport plugin build",
        ),
        ({"source_hash": "cd" * 32}, "from other sources (abababababab), expected cdcdcdcdcdcd", "plugin build"),
    ],
)
def test_library_for_something_else(tmp_path: Path, wanted: dict, problem: str, remedy: str) -> None:
    facts = facts_from_library(write_library(tmp_path / "lib.so"))
    with pytest.raises(BundleError) as caught:
        check_library(facts, **{"architecture": 87, **wanted})
    assert caught.value.where == str(tmp_path / "lib.so")
    assert problem in caught.value.problem and remedy in caught.value.remedy


def test_already_registered_plugins_are_named(tmp_path: Path) -> None:
    ours = ("TokenMatch", "TokenMerge")
    others = [("TokenMatch", "1", "other"), ("RoiAlign", "2", "")]
    check_unregistered(tmp_path / "lib.so", others, ours)
    with pytest.raises(BundleError, match="already registered in this process: edgeexport::TokenMatch 1; expected"):
        check_unregistered(tmp_path / "lib.so", [*others, ("TokenMatch", "1", "edgeexport")], ours)
