"""What a test run makes once, whichever of its processes needs it first: bundles, in a folder that all of them see."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

__all__ = ["SharedBuilds", "made_once", "run_folder"]


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that lasts as long as this run's temporary files, the same in every process of the run."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    """``folder/name``, which ``make(path)`` makes for the first process that asks, while others wait; whole or not there."""
    found, partial = folder / name, folder / f".{name}.partial"
    with (folder / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(found)
    return found


class SharedBuilds:
    """Bundles built once per run. Each process gets a folder of its own, into which tests may add files; the files that a
    build wrote are shared (hard links), so a test that changes one works on a copy.
    """

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory, self._folder = factory, run_folder(factory)
        self._copies: dict[str, Path] = {}

    def bundle(
        self,
        recipe: str,
        target: str,
        *,
        options: Sequence[str] = (),
        precision: str = "fp32",
        text: str | None = None,
        plans: bool = False,
    ) -> Path:
        """The bundle of a shipped recipe, or of ``text`` as the file ``recipe``, which then lies beside the bundle; without the
        kernel plans, which take long, unless ``plans``.
        """
        asked = f"{recipe} {target} {precision} {list(options)!r} {text} {plans}"
        name = f"{Path(recipe).stem}-{target}-{precision}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
        if name not in self._copies:

            def make(folder: Path) -> None:
                from edgeexport.commands.build import build

                folder.mkdir()
                if text is not None:
                    (folder / recipe).write_text(text)
                source = recipe if text is None else folder / recipe
                work_dir = folder / "bundle"
                build(source, target, cfg_options=options, precision=precision, work_dir=work_dir, plans=plans)

            made = made_once(self._folder, name, make)
            self._copies[name] = self._factory.mktemp(name) / "copy"
            shutil.copytree(made, self._copies[name], copy_function=os.link)
        return self._copies[name] / "bundle"
