"""golden.npz: inputs, and what the reference computed for them, so that a device can check itself without torch.

Keys are ``<case>/<name>``: ``case0/image`` (input form), ``case0/input/<name>`` for further inputs, ``case0/<output>`` for
every graph output and inner output, ``case0/score/<decision>`` the reference's scores behind a decision and
``case0/gap/<decision>`` the leads behind a merge's targets, ``case0/near_tie`` pixels whose class is a toss-up,
``case0/names``; and ``weights``, a statement of where they come from. Full-resolution scores behind an ATMHead's class map
are left out for their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeexport.verify.reference import Reference

__all__ = ["GOLDEN_CASES", "write_golden"]

GOLDEN_CASES = 2
_LARGEST_INNER = 1 << 23


def write_golden(path: Path, references: Sequence[Reference], weights: str) -> None:
    """Writes the first `GOLDEN_CASES` references; the same arrays give the same bytes."""
    arrays: dict[str, Any] = {"weights": np.array(weights), **_golden_arrays(references)}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _golden_arrays(references: Sequence[Reference]) -> dict[str, NDArray]:
    arrays: dict[str, NDArray] = {}
    for number, reference in enumerate(references[:GOLDEN_CASES]):
        case = f"case{number}"
        arrays[f"{case}/names"] = np.array(reference.batch.names)
        arrays[f"{case}/image"] = reference.batch.pixels
        for name, value in reference.batch.extra.items():
            arrays[f"{case}/input/{name}"] = value
        for name, value in reference.outputs.items():
            if name != "class_scores" or value.size <= _LARGEST_INNER:
                arrays[f"{case}/{name}"] = value
        for name, value in reference.decision_scores.items():
            arrays[f"{case}/score/{name}"] = value
        for name, value in reference.decision_gaps.items():
            arrays[f"{case}/gap/{name}"] = value
        if reference.near_tie is not None:
            arrays[f"{case}/near_tie"] = np.packbits(reference.near_tie)
    return arrays
