"""Checks a runner against a bundle's golden.npz: numpy alone, so that it runs on the device."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexport.bundle import Bundle
from edgeexport.errors import BundleError
from edgeexport.verify.compare import (
    Comparison,
    comparable_images,
    judged,
    output_difference,
)
from edgeexport.verify.decisions import decision_outputs, decisions_between, with_empty_decisions

__all__ = ["GOLDEN_CHECK", "golden_comparisons"]

GOLDEN_CHECK = "golden outputs against this machine"


class _Runner(Protocol):
    name: str
    version: str

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]: ...


def golden_comparisons(bundle: Bundle, runner: _Runner) -> list[Comparison]:
    """Runs every stored case and compares outputs and decisions with what the reference computed at build time.

    Raises:
        BundleError: golden.npz is missing or damaged.
    """
    path = bundle.path / "golden.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(str(path), f"cannot be read ({error})", "copy or build the bundle again") from None
    cases = sorted({name.split("/")[0] for name in arrays if "/" in name})
    return [_one_case(case, arrays, runner) for case in cases]


def _one_case(case: str, arrays: Mapping[str, NDArray], runner: _Runner) -> Comparison:
    found = runner.run(arrays[f"{case}/image"], _below(arrays, f"{case}/input/"))
    names = tuple(str(name) for name in arrays[f"{case}/names"])
    stored = _below(arrays, f"{case}/")
    scores, gaps = _below(arrays, f"{case}/score/"), _below(arrays, f"{case}/gap/")
    found = with_empty_decisions(found, stored, decision_outputs(scores))
    returned = {name: score for name, score in scores.items() if set(decision_outputs([name])) <= found.keys()}
    decisions = decisions_between(found, stored, returned, gaps)
    decided = decision_outputs(scores)
    rows = comparable_images(decisions, len(names))
    ties = None
    if "near_tie" in stored:
        shape = stored["class_map"].shape
        bits = np.unpackbits(stored["near_tie"], count=math.prod(shape))
        ties = bits.reshape(shape).astype(bool)[rows]
    outputs = [
        output_difference(name, value[rows], stored[name][rows], ties)
        for name, value in found.items()
        if name in stored and name not in decided and rows
    ]
    return judged(
        GOLDEN_CHECK, "torch fixed, at build time", f"{runner.name} {runner.version}", names, outputs, decisions
    )


def _below(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    """The arrays whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
