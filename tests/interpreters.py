"""Other Pythons on this machine, for what has to run in those of JetPack 6 (3.10) and 7 (3.12)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["found_interpreter", "interpreter"]


def found_interpreter(version: str) -> str | None:
    """A Python of that version with venv: on PATH, or one of pyenv's (whose own stand-ins may find none)."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for place in [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]:
        if place and subprocess.run([place, "-c", code], capture_output=True, text=True).stdout.strip() == version:
            return place
    return None


def interpreter(version: str) -> str:
    """As `found_interpreter`; skips the test where there is none."""
    found = found_interpreter(version)
    if found is None:
        pytest.skip(f"there is no Python {version} with venv on this machine")
    return found
