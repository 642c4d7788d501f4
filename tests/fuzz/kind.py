"""What a kind of input is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

__all__ = ["Kind"]


@dataclass(frozen=True)
class Kind:
    """``damages(base)`` says what can be wrong, ``read(damage, folder)`` makes the input in a copy of base and reads it."""

    name: str
    damages: Callable[[Path], st.SearchStrategy[Any]]
    read: Callable[[Any, Path], None]
    quick: int
    """Inputs of a run of the test suite; 0 leaves the kind to `make fuzz`."""
    needs: tuple[str, ...] = ()
    """Files and folders of the base."""
