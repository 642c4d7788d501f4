"""Shape-aligned grouping of CTS: how many windows to share so that the token count suits the hardware.

Sharing S of the 2x2 windows leaves n = N - 3 S tokens. Matrix products prefer n to be a multiple of 8 (or 16, ...), so
a recipe states the least number of windows to share and the multiple, and the smallest S that serves is used.
"""

from __future__ import annotations

import math

__all__ = ["aligned_num_shared", "aligned_window_counts"]


def aligned_window_counts(num_patches: int, num_windows: int, align_tokens: int) -> range:
    """All S in 1..num_windows whose token count ``num_patches - 3 S`` is a multiple of ``align_tokens``, ascending.

    Residues of 3 S repeat with period ``align_tokens / gcd(3, align_tokens)``, so the counts are evenly spaced.
    """
    if align_tokens < 1:
        raise ValueError(f"align_tokens must be at least 1, found {align_tokens}")
    step = align_tokens // math.gcd(3, align_tokens)
    for first in range(1, min(step, num_windows) + 1):
        if (num_patches - 3 * first) % align_tokens == 0:
            return range(first, num_windows + 1, step)
    return range(0)


def aligned_num_shared(num_patches: int, num_windows: int, num_shared: int, align_tokens: int) -> int:
    """The smallest S >= ``num_shared`` that leaves a multiple of ``align_tokens`` tokens.

    ``num_shared`` = 0 stays 0 whatever the alignment: nothing is shared, the count is the model's own, and CTS emits
    no nodes.

    Args:
        num_patches: N, patches of the image.
        num_windows: 2x2 windows of the image, N / 4.
        num_shared: Windows that the recipe asks to share.
        align_tokens: The token count left must be a multiple of this; 1 leaves ``num_shared`` as it is.

    Raises:
        ValueError: ``num_shared`` is out of 0..num_windows, or no count from it up to num_windows serves; the message
            names the nearest that does.
    """
    if not 0 <= num_shared <= num_windows:
        raise ValueError(f"out of range: the image has {num_windows} windows to share")
    counts = aligned_window_counts(num_patches, num_windows, align_tokens)
    if num_shared == 0:
        return 0
    for count in counts:
        if count >= num_shared:
            return count
    fitting = f"the largest that does is {counts[-1]}" if counts else "no number of windows does"
    raise ValueError(
        f"sharing {num_shared} to {num_windows} windows never leaves a multiple of {align_tokens} tokens; {fitting}"
    )
