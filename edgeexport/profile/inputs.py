"""What is fed to a bundle's engine while it is timed: the first case of golden.npz, which holds a photograph."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray

from edgeexport.bundle import Bundle
from edgeexport.documents import read_golden

__all__ = ["GOLDEN_INPUT", "Feed", "golden_feed"]

GOLDEN_INPUT = "golden.npz, case0"

_CASE = "case0"


@dataclass(frozen=True)
class Feed:
    """The graph's first input at its shape and dtype, and its further inputs by name."""

    image: NDArray
    extra: dict[str, NDArray]


def golden_feed(bundle: Bundle) -> Feed:
    """Reads the first golden case's inputs.

    Raises:
        BundleError: golden.npz is missing or damaged.
    """
    prefix = f"{_CASE}/input/"
    arrays = read_golden(
        bundle.path / "golden.npz", bundle.manifest, lambda name: name == f"{_CASE}/image" or name.startswith(prefix)
    )
    extra = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return Feed(arrays[f"{_CASE}/image"], extra)
