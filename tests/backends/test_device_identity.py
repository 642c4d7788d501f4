"""Names of processors and GPUs, from recorded files and from a driver that stands in for CUDA's."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import Any

import pytest
from sysfs_trees import write_tree

from edgeexport.backends import device_identity
from edgeexport.backends.contract import DeviceIdentity
from edgeexport.backends.device_identity import (
    build_settings,
    gpu_identity,
    gpu_multiprocessors,
    processor_identity,
)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


ORIN_NX = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
AGX_ORIN = "NVIDIA Jetson AGX Orin Developer Kit"


@pytest.mark.parametrize(
    ("files", "name", "board"),
    [
        (
            {"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: another\n"},
            "AMD EPYC 7B13",
            None,
        ),
        (
            {"proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd42\n", "proc/device-tree/model": f"{AGX_ORIN}\0"},
            AGX_ORIN,
            AGX_ORIN,
        ),
        (
            # The kernels of L4T give every Jetson's processor this name.
            {"proc/cpuinfo": "model name\t: ARMv8 Processor rev 1 (v8l)\n", "proc/device-tree/model": ORIN_NX},
            "ARMv8 Processor rev 1 (v8l)",
            ORIN_NX,
        ),
    ],
)
def test_processor(tmp_path: Path, files: dict[str, str], name: str, board: str | None) -> None:
    assert processor_identity(_write(tmp_path, files)) == DeviceIdentity(name, platform.machine(), None, board)


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
                arguments[0]._obj.value = {16: 14, 75: 8, 76: 7}[arguments[1]]
            return 0

        return call


def test_gpu(tmp_path: Path) -> None:
    assert gpu_identity(FakeDriver(), tmp_path) == DeviceIdentity("Orin", platform.machine(), "8.7")
    assert gpu_multiprocessors(FakeDriver()) == 14


def test_gpus_of_one_name_on_two_boards(tmp_path: Path) -> None:
    """CUDA calls the GPUs of all Orin modules 'Orin', with compute capability 8.7."""
    found = [
        gpu_identity(FakeDriver(), _write(tmp_path / str(number), {"proc/device-tree/model": f"{model}\0"}))
        for number, model in enumerate((AGX_ORIN, ORIN_NX))
    ]
    assert [item and item.board for item in found] == [AGX_ORIN, ORIN_NX]
    assert found[0] is not None and found[1] is not None and not found[0].may_be(found[1])


def test_board_that_is_hidden(tmp_path: Path) -> None:
    release = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n"}
    found = gpu_identity(FakeDriver(), _write(tmp_path, release))
    assert found is not None and found.board is None


@pytest.mark.parametrize("function", ["cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute"])
def test_driver_without_a_gpu(function: str) -> None:
    assert gpu_identity(FakeDriver(fails=function)) is None
    assert (gpu_multiprocessors(FakeDriver(fails=function)) is None) == (function != "cuDeviceGetName")


def test_settings_of_the_build(tmp_path: Path) -> None:
    root = write_tree(tmp_path, "agx_orin")
    assert build_settings(True, FakeDriver(), root) == {"power_mode": "MAXN", "gpu_multiprocessors": 14}
    assert build_settings(False, FakeDriver(), root) == {"power_mode": "MAXN"}
    (root / "etc/nvpmodel.conf").unlink()
    assert build_settings(False, root=root) == {"power_mode": "id 0"}
    (root / "var/lib/nvpmodel/status").unlink()
    assert build_settings(True, FakeDriver(fails="cuInit"), root) == {}


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        assert name == "libcuda.so.1"
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(device_identity.ctypes, "CDLL", absent)
    assert gpu_identity() is None and gpu_multiprocessors() is None
