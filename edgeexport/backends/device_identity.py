"""What an engine is bound to: the processor's or the GPU's name; and the settings of the machine that shape its build.

Read from the system and the driver, no package needed.
"""

from __future__ import annotations

import ctypes
import platform
import re
from pathlib import Path
from typing import Any

from edgeexport.backends.contract import DeviceIdentity
from edgeexport.device.machine import UNKNOWN_MODEL, find_jetson
from edgeexport.device.power_mode import read_power_mode
from edgeexport.device.sysfs import text_of

__all__ = ["build_settings", "gpu_identity", "gpu_multiprocessors", "processor_identity"]

_NAME_BYTES = 256
# CUdevice_attribute of the CUDA driver's interface, which never change.
_MULTIPROCESSORS, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 16, 75, 76


def processor_identity(root: Path = Path("/")) -> DeviceIdentity:
    """The processor by the name that Linux gives it; on a Jetson, where there is none, by its model.

    Args:
        root: Where /proc, /sys and /etc are.
    """
    match = re.search(r"^model name\s*:\s*(.+)$", text_of(root / "proc/cpuinfo") or "", re.MULTILINE)
    board = _board(root)
    name = match.group(1).strip() if match else board or platform.processor() or "unknown processor"
    return DeviceIdentity(name, platform.machine(), board=board)


def gpu_identity(driver: Any = None, root: Path = Path("/")) -> DeviceIdentity | None:
    """The first NVIDIA GPU that the CUDA driver shows to this process; None without a driver or GPU.

    Args:
        driver: The driver's library, loaded; None loads libcuda.so.1. Tests put a fake here.
        root: Where /proc, /sys and /etc are.
    """
    opened = _first_gpu(driver)
    if opened is None:
        return None
    cuda, device = opened
    name = ctypes.create_string_buffer(_NAME_BYTES)
    major, minor = (_attribute(cuda, device, which) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    if cuda.cuDeviceGetName(name, _NAME_BYTES, device) != 0 or major is None or minor is None:
        return None
    return DeviceIdentity(name.value.decode(errors="replace"), platform.machine(), f"{major}.{minor}", _board(root))


def gpu_multiprocessors(driver: Any = None) -> int | None:
    """Streaming multiprocessors of that GPU which are switched on: a Jetson's power modes switch some off.

    Args:
        driver: As for `gpu_identity`.
    """
    opened = _first_gpu(driver)
    return None if opened is None else _attribute(*opened, _MULTIPROCESSORS)


def build_settings(on_gpu: bool, driver: Any = None, root: Path = Path("/")) -> dict[str, Any]:
    """Settings that a runtime tunes an engine to while it builds; to be recorded in engine.json, where they are known.

    Args:
        on_gpu: Whether the engine runs on the GPU.
        driver: As for `gpu_identity`.
        root: Where /var and /etc are.

    Returns:
        'power_mode', the name of a Jetson's nvpmodel mode ('id 7' where only the number is known), and
        'gpu_multiprocessors', how many are switched on in it.
    """
    mode = read_power_mode(root)
    multiprocessors = gpu_multiprocessors(driver) if on_gpu else None
    settings = {"power_mode": mode and (mode.name or str(mode)), "gpu_multiprocessors": multiprocessors}
    return {name: value for name, value in settings.items() if value is not None}


def _board(root: Path) -> str | None:
    """A Jetson's model; None for another machine, or where it is hidden."""
    jetson = find_jetson(root)
    return None if jetson is None or jetson.model == UNKNOWN_MODEL else jetson.model


def _first_gpu(driver: Any) -> tuple[Any, ctypes.c_int] | None:
    """The driver, and the first GPU that it shows."""
    if driver is None:
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            return None
    device = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    return driver, device


def _attribute(driver: Any, device: ctypes.c_int, which: int) -> int | None:
    value = ctypes.c_int()
    return value.value if driver.cuDeviceGetAttribute(ctypes.byref(value), which, device) == 0 else None
