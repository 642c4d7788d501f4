"""Packages that are installed but do not load, as a torch made for another CUDA."""

from __future__ import annotations

import os
from pathlib import Path

from edgeexport.device.packages import EXPORT_PACKAGES

__all__ = ["WRONG_CUDA", "broken_site"]

WRONG_CUDA = "ImportError('libcudart.so.12: cannot open shared object file\\nsee the manual')"
VERSION = "2.8.0"


def broken_site(folder: Path, *modules: str, error: str = WRONG_CUDA) -> dict[str, str]:
    """Makes ``modules`` raise ``error`` as they are imported; returns the environment in which Python finds them first."""
    site = folder / "site"
    for name in modules:
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(f"def load():\n    raise {error}\nload()\n")
        package = EXPORT_PACKAGES[name]
        facts = site / f"{package.replace('-', '_')}-{VERSION}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {VERSION}\n")
    root = Path(__file__).resolve().parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(root)])}
