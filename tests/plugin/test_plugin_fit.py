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
    """A file with the record of a library for sm_87, of these sources."""
    return write_library(tmp_path / "plugins.so", source_hash=source_hash(sources_folder()))


def test_library_that_fits(edgeexport: Command, library: Path) -> None:
    done = edgeexport("plugin", "test", library, "--target", "orin", "--tensorrt", "10.3.0")
    assert done.code == 0, done.err
    assert "fits: sm_87" in done.out


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
    other = write_library(tmp_path / "other.so", source_hash="0" * 64)
    done = edgeexport("plugin", "test", other)
    assert done.code == 9 and "was compiled from other sources" in done.err
    missing = edgeexport("plugin", "test", tmp_path / "none.so")
    assert missing.code == 9
