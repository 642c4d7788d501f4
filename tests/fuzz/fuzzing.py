"""Draws inputs of a kind, runs them, and shrinks what is found."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import torch
from harness import Finding, outcomes
from hypothesis import HealthCheck, Phase, settings
from kind import Kind

import edgeexport

__all__ = ["drawn", "import_all", "layer", "shrunk", "signature"]


def import_all() -> None:
    """All of edgeexport, once, ahead of the processes that are forked; one thread, for OpenMP's do not outlive a fork."""
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(edgeexport.__path__, "edgeexport."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def layer(kind: Kind, base: Path) -> Callable[[Path], None]:
    """Lays out what a kind needs of ``base``, as hard links: whoever changes a file unlinks it first, as edgeexport does."""

    def lay_out(folder: Path) -> None:
        for name in kind.needs:
            if (base / name).is_dir():
                shutil.copytree(base / name, folder / name, copy_function=os.link)
            else:
                os.link(base / name, folder / name)

    return lay_out


def drawn(kind: Kind, base: Path, count: int, seed: int) -> list[Any]:
    """Up to ``count`` damages, the same for the same seed."""
    damages: list[Any] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(kind.damages(base))
    def draw(damage: Any) -> None:
        damages.append(damage)

    draw()
    return damages


def shrunk(kind: Kind, base: Path, damage: Any, found: Finding, tries: int = 150) -> Any:
    """A simpler damage with the same finding, or ``damage`` where none is found."""
    options = settings(max_examples=tries, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    try:
        return hypothesis.find(
            kind.damages(base), lambda other: signature(kind, base, other) == found.signature, settings=options
        )
    except hypothesis.errors.NoSuchExample:
        return damage


def signature(kind: Kind, base: Path, damage: Any) -> str | None:
    """Of one input's finding, if it is one."""
    (found,) = outcomes(kind.read, [damage], layer(kind, base))
    return None if found is None else found.signature
