"""Multiply-accumulates of matching, as exact integers per image; the convention is that of `edgeexport.cost.macs`. Imports no
torch.
"""

from __future__ import annotations

from edgeexport.ops.match_tables import MatchLayout, tables_from_layout

__all__ = ["matching_macs"]


def matching_macs(layout: MatchLayout, width: int) -> int:
    """Similarity of every source with every destination that it may merge into, on vectors of ``width``.

    Without windows ``ceil(n / 2) floor(n / 2)`` pairs, as the published code runs it: prefix tokens are multiplied too and
    masked afterwards. With windows the pairs of each window; padding is not counted.
    """
    if layout.kind == "alternate":
        return (layout.tokens // 2) * ((layout.tokens + 1) // 2) * width
    tables = tables_from_layout(layout)
    sources, destinations = (_window_counts(tokens, tables.windows) for tokens in (tables.sources, tables.destinations))
    return sum(a * b for a, b in zip(sources, destinations, strict=True)) * width


def _window_counts(tokens: tuple[int, ...], windows: int) -> list[int]:
    """Tokens of each window; -1 is padding."""
    each = len(tokens) // windows
    return [sum(token >= 0 for token in tokens[number * each : (number + 1) * each]) for number in range(windows)]
