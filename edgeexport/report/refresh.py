"""Brings report.html up to date with what a command has just put into a bundle. Runs on the device, without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeexport.errors import EdgeExportError
from edgeexport.report.html import write_report

__all__ = ["refresh_report"]


def refresh_report(bundle_path: Path, on_stage: Callable[[str], None] = lambda text: None) -> str:
    """Rewrites report.html from what is in the bundle; its photographs are kept.

    A page for people is no reason to fail a command whose own result is already written.

    Args:
        bundle_path: The bundle.
        on_stage: Hears the reason, should there be one.

    Returns:
        Empty, or why the page stayed as it was (a folder that cannot be written to, a damaged file).
    """
    try:
        write_report(bundle_path)
    except (EdgeExportError, OSError) as error:
        reason = f"report.html stays as it was: {error}"
        on_stage(reason)
        return reason
    return ""
