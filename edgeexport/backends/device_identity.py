"""What an engine is bound to: the processor's or the GPU's name. Read from the system and the driver, no package needed."""

from __future__ import annotations

import ctypes
import platform
import re
from pathlib import Path
from typing import Any

from edgeexport.backends.contract import DeviceIdentity
from edgeexport.device.machine import find_jetson

__all__ = ["gpu_identity", "processor_identity"]

_NAME_BYTES = 256
# CUdevice_attribute of the CUDA driver's interface, which never change.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


def processor_identity(root: Path = Path("/")) -> DeviceIdentity:
    """The processor by the name that Linux gives it; on a Jetson, where there is none, by its model.

    Args:
        root: Where /proc, /sys and /etc are.
    """
    found = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    jetson = None if found else find_jetson(root)
    name = found.group(1).strip() if found else jetson.model if jetson is not None else ""
    return DeviceIdentity(name or platform.processor() or "unknown processor", platform.machine())


def gpu_identity(driver: Any = None) -> DeviceIdentity | None:
    """The first NVIDIA GPU that the CUDA driver shows to this process; None without a driver or GPU.

    Args:
        driver: The driver's library, loaded; None loads libcuda.so.1. Tests put a fake here.
    """
    if driver is None:
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    parts = (ctypes.c_int(), ctypes.c_int())
    succeeded = (
        driver.cuInit(0) == 0
        and driver.cuDeviceGet(ctypes.byref(device), 0) == 0
        and driver.cuDeviceGetName(name, _NAME_BYTES, device) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(parts[0]), _CAPABILITY_MAJOR, device) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(parts[1]), _CAPABILITY_MINOR, device) == 0
    )
    if not succeeded:
        return None
    capability = f"{parts[0].value}.{parts[1].value}"
    return DeviceIdentity(name.value.decode(errors="replace"), platform.machine(), capability)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
