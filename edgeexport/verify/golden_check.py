"""Checks a runner against a bundle's golden.npz: numpy alone, so that it runs on the device."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexport.bundle import Bundle
from edgeexport.errors import BundleError
from edgeexport.verify.compare import (
    Comparison,
    comparable_images,
    decision_differences,
    judged,
    output_difference,
)

__all__ = ["GOLDEN_CHECK", "golden_comparisons"]

GOLDEN_CHECK = "golden outputs against this machine"


class _Runner(Protocol):
    name: str
    version: str

    def run(self, image: NDArray) -> dict[str, NDArray]: ...


def golden_comparisons(bundle: Bundle, runner: _Runner) -> list[Comparison]:
    """Runs every stored case and compares outputs and decisions with what the reference computed at build time.

    Raises:
        BundleError: golden.npz is missing or damaged.
    """
    path = bundle.path / "golden.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(str(path), f"cannot be read ({error})", "copy or build the bundle again") from None
    cases = sorted({name.split("/")[0] for name in arrays if "/" in name})
    return [_one_case(case, arrays, runner) for case in cases]


def _one_case(case: str, arrays: Mapping[str, NDArray], runner: _Runner) -> Comparison:
    found = runner.run(arrays[f"{case}/image"])
    names = tuple(str(name) for name in arrays[f"{case}/names"])
    decisions = [
        item
        for name, value in found.items()
        if f"{case}/score/{name}" in arrays
        for item in decision_differences(name, value, arrays[f"{case}/{name}"], arrays[f"{case}/score/{name}"])
    ]
    rows = comparable_images(decisions, len(names))
    ties = None
    if f"{case}/near_tie" in arrays:
        shape = arrays[f"{case}/class_map"].shape
        bits = np.unpackbits(arrays[f"{case}/near_tie"], count=math.prod(shape))
        ties = bits.reshape(shape).astype(bool)[rows]
    outputs = [
        output_difference(name, value[rows], arrays[f"{case}/{name}"][rows], ties)
        for name, value in found.items()
        if f"{case}/{name}" in arrays and f"{case}/score/{name}" not in arrays and rows
    ]
    return judged(
        GOLDEN_CHECK, "torch fixed, at build time", f"{runner.name} {runner.version}", names, outputs, decisions
    )
