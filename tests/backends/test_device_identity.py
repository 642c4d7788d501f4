"""Names of processors and GPUs, from recorded files and from a driver that stands in for CUDA's."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import Any

import pytest

from edgeexport.backends import device_identity
from edgeexport.backends.contract import DeviceIdentity
from edgeexport.backends.device_identity import gpu_identity, processor_identity


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: another\n"}, "AMD EPYC 7B13"),
        (
            {
                "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd42\n",
                "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            },
            "NVIDIA Jetson AGX Orin Developer Kit",
        ),
    ],
)
def test_processor(tmp_path: Path, files: dict[str, str], name: str) -> None:
    assert processor_identity(_write(tmp_path, files)) == DeviceIdentity(name, platform.machine(), None)


def test_processor_without_a_name(tmp_path: Path) -> None:
    assert processor_identity(tmp_path).name == (platform.processor() or "unknown processor")


class FakeDriver:
    """The functions of libcuda.so.1 that are called; ``fails`` returns an error code instead."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def __getattr__(self, function: str) -> Any:
        def call(*arguments: Any) -> int:
            if function == self.fails:
                return 100
            if function == "cuDeviceGetName":
                ctypes.memmove(arguments[0], b"Orin\0", 5)
            if function == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 8, 76: 7}[arguments[1]]
            return 0

        return call


def test_gpu() -> None:
    assert gpu_identity(FakeDriver()) == DeviceIdentity("Orin", platform.machine(), "8.7")


@pytest.mark.parametrize("function", ["cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute"])
def test_driver_without_a_gpu(function: str) -> None:
    assert gpu_identity(FakeDriver(fails=function)) is None


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        assert name == "libcuda.so.1"
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(device_identity.ctypes, "CDLL", absent)
    assert gpu_identity() is None
