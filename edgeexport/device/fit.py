"""Is this machine one that a target stands for?"""

from __future__ import annotations

import platform
from pathlib import Path

from edgeexport.device.machine import UNKNOWN_MODEL, find_jetson
from edgeexport.device.targets import Target

__all__ = ["why_not_this_machine"]

_ARCHITECTURE = "aarch64"


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
