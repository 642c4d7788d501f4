"""Is this machine one that a target stands for?"""

from __future__ import annotations

import platform
import re
from pathlib import Path

from edgeexport.device.machine import UNKNOWN_MODEL, find_jetson
from edgeexport.device.targets import TARGETS, Target

__all__ = ["module_here", "why_not_this_machine"]

_ARCHITECTURE = "aarch64"
_MEMORY = re.compile(r"^MemTotal:\s*(\d{1,15}) kB", re.MULTILINE)


def why_not_this_machine(target: Target, root: Path = Path("/"), architecture: str = platform.machine()) -> str:
    """What this machine is instead of the Jetson that ``target`` names; empty if it is one, or ``target`` names none.

    A GPU of a PC is for the runtime to find.

    Args:
        target: A target.
        root: Where /proc, /sys and /etc are.
        architecture: Of the processor.
    """
    if not target.jetson_models:
        return ""
    jetson = find_jetson(root)
    if jetson is not None and any(name in jetson.model.lower() for name in target.jetson_models):
        return ""
    if jetson is not None and jetson.model != UNKNOWN_MODEL:
        return f"this machine is {jetson.model}, expected a {target.title}"
    machine = "no Jetson" if jetson is None else "a Jetson that does not tell its model"
    # Docker's own mark: it hides the device tree of the machine it runs on.
    hidden = (root / ".dockerenv").exists() and (jetson is not None or architecture == _ARCHITECTURE)
    hint = " (docker hides it: give --security-opt systempaths=unconfined)" if hidden else ""
    return f"this machine is {machine}{hint}, expected a {target.title}"


def module_here(target: Target, root: Path = Path("/")) -> Target:
    """Of the targets whose machines call themselves as ``target``'s do, the one with this machine's memory.

    Engines fit them all; clocks and ceilings differ. The first of them where the memory is not known.
    """
    alike = [other for other in TARGETS.values() if other.jetson_models == target.jetson_models]
    try:
        told = _MEMORY.search((root / "proc" / "meminfo").read_text(encoding="ascii", errors="replace"))
    except OSError:
        told = None
    if told is None:
        return alike[0]
    return min(alike, key=lambda other: abs((other.memory_gb or 0) - int(told[1]) * 1024 / 1e9))
