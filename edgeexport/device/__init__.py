"""Devices that bundles are built for, and what the machine at hand can do about them. Runs without torch."""

from __future__ import annotations

from edgeexport.device.targets import TARGETS, Target, target_named

__all__ = ["TARGETS", "Target", "target_named"]
