"""``edgeexport plugin test``: every way in which a library does not fit a device, told as found against expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_cases import write_library
from shared_cases import CommandResult

from edgeexport.plugin.sources import source_hash, sources_folder

Command = Callable[..., CommandResult]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A file with the record of a library for sm_87 and aarch64, of these sources."""
    return write_library(tmp_path / "plugins.so", source_hash=source_hash(sources_folder()), machine=183)


def test_library_that_fits(edgeexport: Command, library: Path) -> None:
    done = edgeexport("plugin", "test", library, "--target", "orin", "--tensorrt", "10.3.0")
    assert done.code == 0, done.err
    assert "fits: sm_87" in done.out


def test_a_library_of_this_pc_fits_no_jetson(edgeexport: Command, tmp_path: Path) -> None:
    """The target says the processor, unless --machine does."""
    library = write_library(tmp_path / "plugins.so", source_hash=source_hash(sources_folder()))
    done = edgeexport("plugin", "test", library, "--target", "orin")
    assert done.code == 9 and "is a library for x86_64, this device is aarch64" in done.err
    assert edgeexport("plugin", "test", library, "--target", "orin", "--machine", "x86_64").code == 0
    assert edgeexport("plugin", "test", library, "--target", "gpu", "--cuda-arch", "87").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "thor"], ["was compiled for sm_87", "needs sm_110", "--cuda-arch 110"]),
        (["--cuda-arch", "86"], ["was compiled for sm_87", "needs sm_86"]),
        (["--tensorrt", "11.4.1"], ["headers of TensorRT 10.14.1", "TensorRT 11.4.1 is to load it"]),
        (["--machine", "riscv64"], ["is a library for", "this device is riscv64", "build it on the device"]),
    ],
)
def test_library_that_does_not_fit(edgeexport: Command, library: Path, arguments: list[str], words: list[str]) -> None:
    done = edgeexport("plugin", "test", library, *arguments)
    assert done.code == 9
    for word in words:
        assert word in done.err


def test_library_of_other_sources_and_no_library(edgeexport: Command, tmp_path: Path) -> None:
    other = write_library(tmp_path / "other.so", source_hash="0" * 64, machine=183)
    done = edgeexport("plugin", "test", other)
    assert done.code == 9 and "was compiled from other sources" in done.err
    missing = edgeexport("plugin", "test", tmp_path / "none.so")
    assert missing.code == 9
