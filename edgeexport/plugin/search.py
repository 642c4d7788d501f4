"""Where compilers, headers and caches are looked for; tests put fakes here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeexport.device.child import output_of

__all__ = ["Search", "cache_folder"]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The user's cache folder of edgeexport: under XDG_CACHE_HOME, else ``~/.cache``. It may not exist yet."""
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "edgeexport"


def _printed_by(command: Sequence[str], timeout_s: float) -> str | None:
    """Both outputs of a command that ended well in time, else None: nvcc describes itself on standard error."""
    return output_of(command, timeout_s, with_errors=True)


def _which(name: str) -> str | None:
    """A program on PATH, else beside this Python, where wheels such as cmake's put theirs."""
    return shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)


def _site_folders() -> tuple[Path, ...]:
    return tuple(Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages"))


@dataclass(frozen=True)
class Search:
    """How to look for things on a machine.

    ``run(command, timeout_s)`` gives what a command printed, or None if it failed. ``root`` is where /usr is.
    ``site_folders`` hold installed wheels. ``cache`` keeps compiled libraries and unpacked headers.
    """

    which: Callable[[str], str | None] = _which
    run: Callable[[Sequence[str], float], str | None] = _printed_by
    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    site_folders: tuple[Path, ...] = field(default_factory=_site_folders)
    cache: Path = field(default_factory=lambda: cache_folder(os.environ))
