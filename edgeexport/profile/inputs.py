"""What is fed to a bundle's engine while it is timed: the first case of golden.npz, which holds a photograph."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexport.bundle import Bundle
from edgeexport.errors import BundleError

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
    path = bundle.path / "golden.npz"
    prefix = f"{_CASE}/input/"
    try:
        with np.load(path, allow_pickle=False) as stored:
            extra = {name.removeprefix(prefix): stored[name] for name in stored.files if name.startswith(prefix)}
            return Feed(stored[f"{_CASE}/image"], extra)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(str(path), f"holds no input to time ({error})", "copy or build the bundle again") from None
