"""Is this machine one that a target stands for?"""

from __future__ import annotations

from pathlib import Path

from edgeexport.device.machine import find_jetson
from edgeexport.device.targets import Target

__all__ = ["why_not_this_machine"]


def why_not_this_machine(target: Target, root: Path = Path("/")) -> str:
    """What this machine is instead of the Jetson that ``target`` names; empty if it is one, or ``target`` names none.

    A GPU of a PC is for the runtime to find.

    Args:
        target: A target.
        root: Where /proc and /etc are.
    """
    if not target.jetson_models:
        return ""
    jetson = find_jetson(root)
    if jetson is not None and any(name in jetson.model.lower() for name in target.jetson_models):
        return ""
    return f"this machine is {jetson.model if jetson is not None else 'no Jetson'}, expected a {target.title}"
