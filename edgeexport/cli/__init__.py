"""The command line: options and nothing else. What a command does is in commands/, how results look in terminal/."""

from __future__ import annotations

from edgeexport.cli.app import main

__all__ = ["main"]
