"""Bipartite soft matching as published, one image at a time, in index sets and loops. The reference.

Source: "Token Merging: Your ViT But Faster", section 3 ("alternate"); "Token Merging for Fast Stable Diffusion", section 4
("cells"); "Delayed Spatial Merging", section 3 ("windows"). What the last leaves open is decided as the fixed form states
it: the number of merges of a window follows its number of tokens, and the tokens stand in raster order afterwards.

Nothing here is shared with the operators that it checks: candidates, shares and order are found again from the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeexport.errors import BuildError

__all__ = ["MergedTokens", "candidates_of", "merge_step_reference", "shares_of_windows", "unmerged_reference"]


@dataclass(frozen=True)
class MergedTokens:
    """One image's tokens after a merge; indices count the n tokens that entered it, prefix tokens included.

    Attributes:
        x: (m, C), the tokens that remain.
        size: (m,), how many tokens each stands for.
        groups: For every remaining token the tokens it is made of; the one that it replaces comes first.
        edges: (source, destination) of every merge: window by window, best first.
        kept: Candidates that did not merge: ascending with prefix tokens or windows, else best first.
    """

    x: Tensor
    size: Tensor
    groups: list[list[int]]
    edges: list[tuple[int, int]]
    kept: list[int]


def merge_step_reference(
    x: Tensor,
    size: Tensor,
    metric: Tensor,
    *,
    kind: str,
    prefix: int,
    r: int,
    columns: int = 0,
    window: int = 0,
) -> MergedTokens:
    """Merges the ``r`` sources that are most like a destination into it, weighted by size.

    Equal similarities: the lowest destination, then the lowest source first. A zero vector is like nothing: similarity 0.

    Args:
        x: (n, C), the tokens.
        size: (n,), how many tokens of the first block each stands for.
        metric: (n, D), what is compared.
        kind: 'alternate': every second token of the sequence is a source. 'cells': the first token of every 2x2 cell
            of the grid is a destination. 'windows': alternating inside each window of the grid.
        prefix: Leading tokens that never take part.
        r: How many tokens to merge.
        columns: Width of the token grid ('cells', 'windows').
        window: Side of a window in tokens ('windows').

    Raises:
        BuildError: ``r`` is negative, or more than this kind can merge.
    """
    count = x.shape[0]
    candidates = candidates_of(kind, count, prefix, columns, window)
    if kind == "windows":
        shares = shares_of_windows([len(sources) + len(destinations) for sources, destinations in candidates], r)
    else:
        shares = [r]
    unit = _unit_rows(metric)
    edges: list[tuple[int, int]] = []
    kept: list[int] = []
    for (sources, destinations), share in zip(candidates, shares, strict=True):
        most = min(len(sources), len(destinations)) if kind == "alternate" else len(sources)
        if not 0 <= share <= most:
            raise BuildError("merge reference", f"r = {r} with {count} tokens; at most {most} can merge", "lower r")
        ranked = _ranked(unit, sources, destinations)
        edges += [(source, target) for _, source, target in ranked[:share]]
        kept += [source for _, source, _ in ranked[share:]]
    if prefix or kind == "windows":
        kept.sort()
    heads = kept + [token for _, destinations in candidates for token in destinations]
    if kind == "windows":
        heads.sort()
    sources_of: dict[int, list[int]] = {}
    for source, target in sorted(edges):
        sources_of.setdefault(target, []).append(source)
    groups = [[head, *sources_of.get(head, [])] for head in [*range(prefix), *heads]]
    rows, sizes = zip(*(_merged_row(x, size, group) for group in groups), strict=True)
    return MergedTokens(torch.stack(rows), torch.stack(sizes), groups, edges, kept)


def unmerged_reference(rows: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Gives every token of a merge its group's row: (m, C) -> (n, C)."""
    count = sum(len(group) for group in groups)
    result = rows.new_zeros(count, rows.shape[1])
    for row, group in zip(rows, groups, strict=True):
        for token in group:
            result[token] = row
    return result


def candidates_of(kind: str, count: int, prefix: int, columns: int, window: int) -> list[tuple[list[int], list[int]]]:
    """(sources, destinations) of every window, in the order in which ties are decided; one window but for 'windows'."""
    if kind not in ("alternate", "cells", "windows"):
        raise BuildError("merge reference", f"unknown kind '{kind}'", "use alternate, cells or windows")
    tokens = range(prefix, count)
    if kind == "alternate":
        return [([token for token in tokens if token % 2 == 0], [token for token in tokens if token % 2 == 1])]
    place = {token: divmod(token - prefix, columns) for token in tokens}
    if kind == "cells":
        corners = {token for token in tokens if place[token][0] % 2 == 0 and place[token][1] % 2 == 0}
        return [([token for token in tokens if token not in corners], sorted(corners))]
    members: dict[tuple[int, int], list[int]] = {}
    for token in tokens:
        row, column = place[token]
        members.setdefault((row // window, column // window), []).append(token)
    return [(members[key][0::2], members[key][1::2]) for key in sorted(members)]


def shares_of_windows(counts: Sequence[int], r: int) -> list[int]:
    """Shares ``r`` merges out over windows of ``counts`` tokens: largest remainder, at most half of a window.

    What a full window cannot take goes to windows with room, one each in turn.

    Raises:
        BuildError: ``r`` is negative, or more than all windows together can merge.
    """
    room = [count // 2 for count in counts]
    if not 0 <= r <= sum(room):
        raise BuildError("merge reference", f"r = {r} over the windows; they can merge {sum(room)}", "lower r")
    total = max(sum(counts), 1)
    shares = [r * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda number: (-(r * counts[number] % total), number))
    for number in by_remainder[: r - sum(shares)]:
        shares[number] += 1
    shares = [min(share, most) for share, most in zip(shares, room, strict=True)]
    while sum(shares) < r:
        for number in [number for number, most in enumerate(room) if shares[number] < most][: r - sum(shares)]:
            shares[number] += 1
    return shares


def _unit_rows(metric: Tensor) -> Tensor:
    """Rows of length one in float32; zero rows stay zero."""
    rows = metric.to(torch.float32)
    length = rows.norm(dim=1, keepdim=True)
    return torch.where(length > 0, rows / length, torch.zeros_like(rows))


def _ranked(unit: Tensor, sources: list[int], destinations: list[int]) -> list[tuple[float, int, int]]:
    """(similarity, source, its best destination) of every source, best first."""
    if not destinations:
        return [(-float("inf"), source, -1) for source in sources]
    matches = []
    for source, row in zip(sources, (unit[sources] @ unit[destinations].T).tolist(), strict=True):
        best = max(row)
        matches.append((best, source, destinations[row.index(best)]))
    return sorted(matches, key=lambda entry: (-entry[0], entry[1]))


def _merged_row(x: Tensor, size: Tensor, group: list[int]) -> tuple[Tensor, Tensor]:
    if len(group) == 1:
        return x[group[0]], size[group[0]]
    total = size[group].sum()
    return (x[group] * size[group][:, None]).sum(dim=0) / total, total
