"""A Jetson's power mode: the limits on cores, clocks and watts that nvpmodel has set."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.child import finished
from edgeexport.device.sysfs import text_of

__all__ = ["PowerMode", "read_power_mode"]

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class PowerMode:
    """A mode of nvpmodel. Numbers differ between modules: compare names. ``name`` is None where only the number is known."""

    id: int
    name: str | None

    def __str__(self) -> str:
        return f"{self.name} (id {self.id})" if self.name else f"id {self.id}"


def read_power_mode(root: Path = Path("/")) -> PowerMode | None:
    """Reads what nvpmodel wrote down; asks the program itself where that cannot be read.

    Args:
        root: Where /var and /etc are; the program is asked only for the running system's.

    Returns:
        None on a machine without power modes, or in a container that does not see them.
    """
    status = re.search(r"pmode:(\d+)", text_of(root / "var/lib/nvpmodel/status") or "")
    if status:
        number = int(status.group(1))
        return PowerMode(number, _mode_names(root).get(number))
    return _mode_from_program() if root == Path("/") else None


def _mode_names(root: Path) -> dict[int, str]:
    """Number -> name, from lines such as ``< POWER_MODEL ID=3 NAME=MODE_50W >``."""
    config = text_of(root / "etc/nvpmodel.conf") or ""
    entries = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]+)", config, re.MULTILINE)
    return {int(number): name for number, name in entries}


def _mode_from_program() -> PowerMode | None:
    """``nvpmodel -q`` prints 'NV Power Mode: MAXN' and, on a line of its own, the number."""
    program = shutil.which("nvpmodel")
    if program is None:
        return None
    try:
        done = finished([program, "-q"], _TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    name = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    number = re.search(r"^\s*(\d+)\s*$", done.stdout, re.MULTILINE)
    return PowerMode(int(number.group(1)), name.group(1) if name else None) if number else None
