"""DSM, delayed spatial merging: ToMe that starts late, and inside windows at first.

Source: "Training-Free Acceleration of ViTs with Delayed Spatial Merging", section 3. It lets the first D blocks merge nothing.
Then tokens merge inside windows of the token grid, of w x w tokens in the first merging block and larger by a constant in
every block after it, until one window holds the whole grid; from there on it is ToMe. What the paper leaves open is
decided here as follows:

- prefix tokens stay outside the windows and never merge;
- the window grows with every block after the delay, also past a block that merges nothing;
- a block's r is shared out over its windows in proportion to the tokens that they hold (largest remainder, at most half
  of a window's tokens; see `edgeexport.ops.match_tables`);
- windows that reach over the right or lower edge of the grid are padded, and padding is no token: neither source nor
  destination, of size 0, and not carried on;
- after a windowed merge the n tokens that are left, prefix apart, stand in ascending order of their index and are laid out
  anew, row by row, in ceil(sqrt(n)) columns; the last row may be partial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from edgeexport.config.place import Place
from edgeexport.ops.match_tables import MatchLayout, largest_r
from edgeexport.reductions.merge_config import delay_and_windows, merge_spec_from_config, resolved_merge
from edgeexport.reductions.merge_spec import MergeChange, MergeSpec, merge_change, merging_document, requested_in
from edgeexport.reductions.merging_method import MergingMethod
from edgeexport.tokens.changes import Cut
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["Dsm"]


class Dsm(MergingMethod):
    """See `Reduction`."""

    key: ClassVar[str] = "dsm"
    title: ClassVar[str] = "DSM"

    def refuses(self, facts: HostFacts) -> str:
        """It keeps tokens merged, at least to the end."""
        needed = facts.variants and not facts.restores
        return f"DSM is for classifiers, and {facts.name} needs every token back" if needed else ""

    def spec_from_config(
        self, value: object, place: Place, facts: HostFacts, tokens: int, folder: Path
    ) -> MergeSpec | None:
        """``dict(r, metric, pool, proportional_attention, delay, window, growth)``."""
        spec, given = merge_spec_from_config(self.key, value, place, facts, ("delay", "growth", "window"))
        delay, window, growth = delay_and_windows(given, place, facts)
        return replace(spec, delay=delay, window=window, growth=growth)

    def resolved(self, given: Mapping[str, object], spec: MergeSpec) -> dict[str, object]:
        """With ``delay``, ``window`` and ``growth``."""
        return {
            **resolved_merge(given, spec),
            "delay": spec.delay,
            "window": spec.window,
            "growth": spec.growth,
        }

    def changes(self, spec: MergeSpec, facts: HostFacts, tokens: int, place: Place) -> tuple[MergeChange, ...]:
        """One per executed block."""
        columns = facts.grid[-1]
        windowed = spec.window is not None
        changes: list[MergeChange] = []
        for block in range(1, facts.executed + 1):
            requested = requested_in(spec, block)
            kind, width, side = "alternate", 0, 0
            if windowed and spec.window is not None and block > spec.delay:
                side = spec.window + spec.growth * (block - spec.delay - 1)
                rows = -(-(tokens - facts.prefix) // columns)
                if side < max(rows, columns):
                    kind, width = "windows", columns
                else:
                    windowed, side = False, 0  # for good: a global merge leaves no raster order
            r = min(requested, largest_r(kind, tokens, facts.prefix, width, side)) if requested else 0
            layout = MatchLayout(kind, tokens, facts.prefix, r, width, side) if r else None
            raster = layout is not None and kind == "windows"
            changes.append(merge_change(block, Cut.BETWEEN, requested, layout, tokens, raster=raster))
            tokens -= r
            if raster:
                columns = math.isqrt(tokens - facts.prefix - 1) + 1  # ceil(sqrt), exactly; a merge leaves at least one
        return tuple(changes)

    def tokens_document(self, spec: MergeSpec, changes: Sequence[MergeChange]) -> dict[str, object]:
        """``merging``, with the method's own settings."""
        own = {"delay": spec.delay, "window": spec.window, "growth": spec.growth}
        return {"merging": {**merging_document(spec, changes), **own}}
