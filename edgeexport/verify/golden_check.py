"""Checks a runner against a bundle's golden.npz: numpy alone, so that it runs on the device."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexport.bundle import Bundle
from edgeexport.errors import BundleError
from edgeexport.verify.compare import (
    Comparison,
    class_map_difference,
    decision_differences,
    float_difference,
    judged,
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
    cases = sorted({name.split("/")[0] for name in arrays})
    return [_one_case(case, arrays, runner) for case in cases]


def _one_case(case: str, arrays: Mapping[str, NDArray], runner: _Runner) -> Comparison:
    found = runner.run(arrays[f"{case}/image"])
    names = tuple(str(name) for name in arrays[f"{case}/names"])
    outputs, decisions = [], []
    for name, value in found.items():
        expected = arrays.get(f"{case}/{name}")
        if expected is None:
            continue
        if name == "class_map":
            bits = np.unpackbits(arrays[f"{case}/near_tie"], count=expected.size)
            outputs.append(class_map_difference(name, value, expected, bits.reshape(expected.shape).astype(bool)))
        elif name == "shared_windows" or name.startswith("pruned_tokens_"):
            decisions += decision_differences(name, value, expected, arrays.get(f"{case}/score/{name}"))
        elif value.dtype.kind == "f":
            outputs.append(float_difference(name, value, expected))
    return judged(
        GOLDEN_CHECK, "torch fixed, at build time", f"{runner.name} {runner.version}", names, outputs, decisions
    )
