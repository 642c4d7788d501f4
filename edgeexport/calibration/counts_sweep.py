"""Counts around the chosen ones, one of them changed at a time, to show how quality changes with each. No torch."""

from __future__ import annotations

from edgeexport.calibration.counts import Counts

__all__ = ["counts_around"]

_FACTORS = (0.0, 0.5, 1.5)


def counts_around(counts: Counts, num_patches: int, most_shared: int, align: int) -> tuple[Counts, ...]:
    """For each count that is not 0: none of it, about half and about one and a half times, the others as they are.

    Changes are multiples of ``align``, so that aligned counts stay aligned; what leaves no token is left out.

    Args:
        counts: The chosen ones.
        num_patches: N of the model.
        most_shared: The largest S there is.
        align: Of tokens, and of windows likewise: three tokens go with every window.
    """
    found: list[Counts] = []
    for factor in _FACTORS:
        changes = [Counts(_scaled(counts.num_shared, factor, align), counts.prune)]
        for block, k in counts.prune:
            changes.append(Counts.of(counts.num_shared, {**dict(counts.prune), block: _scaled(k, factor, align)}))
        for changed in changes:
            fits = changed.num_shared <= most_shared and changed.tokens(num_patches)[-1] > 0
            if fits and changed != counts and changed not in found:
                found.append(changed)
    return tuple(found)


def _scaled(count: int, factor: float, align: int) -> int:
    if factor == 0:
        return 0
    return max(count + align * round((factor - 1) * count / align), 0)
