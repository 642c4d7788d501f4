"""Index tables of token matching: which tokens may merge into which, fixed at build time from the token layout alone.

Tokens that enter a block are numbered 0..N-1, prefix tokens (class, distillation, register) first. Prefix tokens neither
merge nor receive. All others are sources or destinations; a source is matched to destinations of its own window only.
Where there are no windows there is one that holds all tokens. Three layouts:

- ``alternate`` (ToMe): even positions of the whole sequence are sources, odd ones destinations;
- ``windows`` (DSM): the patch tokens lie row-major on a grid whose last row may be partial. Windows of ``window`` x
  ``window`` cells cover it; where they reach beyond the grid there is simply no token, and a window without any token
  does not exist. In a window its tokens in row-major order alternate: source, destination, source, ...
- ``cells`` (Stable Diffusion): in every 2x2 cell of the grid the top-left token is the destination, the others are
  sources.

The r merges of windows are shared out in proportion to their tokens by largest remainder (the paper leaves this open):
at most half of a window's tokens merge, and what exceeds that goes to windows with room, one each in turn.

No torch and no numpy: the device side reads these tables too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property

from edgeexport.errors import BuildError

__all__ = ["KINDS", "MatchLayout", "MatchTables", "largest_r", "tables_from_layout"]

KINDS = ("alternate", "windows", "cells")


@dataclass(frozen=True)
class MatchLayout:
    """How the tokens of one block lie, and how many of them merge.

    Attributes:
        kind: 'alternate', 'windows' or 'cells'.
        tokens: N, tokens that enter, prefix included.
        prefix: P, tokens at the start that take no part.
        r: Tokens that merge, between 1 and `largest_r`.
        columns: Columns of the token grid (windows, cells); 0 where there is none.
        window: Side of a window in tokens (windows); 0 where there are none.
    """

    kind: str
    tokens: int
    prefix: int
    r: int
    columns: int = 0
    window: int = 0

    def as_dict(self) -> dict[str, str | int]:
        """JSON-ready, for the manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> MatchLayout:
        """The inverse of `as_dict`; further keys are left alone."""
        numbers = {name: _integer(values, name) for name in ("tokens", "prefix", "r", "columns", "window")}
        return cls(kind=str(values["kind"]), **numbers)


@dataclass(frozen=True)
class MatchTables:
    """The tables of one block; every entry is a token index unless it is called a position.

    Attributes:
        tokens: N, tokens that enter, prefix included.
        prefix: P; the prefix tokens are 0..P-1.
        windows: W.
        sources: W x na, window by window ascending; windows with fewer sources end in -1.
        destinations: W x nb, likewise.
        r_per_window: W numbers, how many sources of a window merge.
        taken: R positions in the list of sources sorted by score: the j-th best of window w is at w * na + j, and
            what pads a window comes last in it.
        left: K positions in the same list: the sources that stay.
        ascending: Whether tokens that stay are ordered by index; else by falling score.
    """

    tokens: int
    prefix: int
    windows: int
    sources: tuple[int, ...]
    destinations: tuple[int, ...]
    r_per_window: tuple[int, ...]
    taken: tuple[int, ...]
    left: tuple[int, ...]
    ascending: bool

    @cached_property
    def destination_tokens(self) -> tuple[int, ...]:
        """The destinations in table order, padding left out; they end the output in this order."""
        return tuple(token for token in self.destinations if token >= 0)

    @property
    def num_sources(self) -> int:
        """Sources that exist: R + K."""
        return self.R + self.K

    @property
    def R(self) -> int:
        """Tokens that merge."""
        return len(self.taken)

    @property
    def K(self) -> int:
        """Sources that stay."""
        return len(self.left)

    @property
    def tokens_out(self) -> int:
        """M = N - R."""
        return self.tokens - self.R


def largest_r(kind: str, tokens: int, prefix: int, columns: int = 0, window: int = 0) -> int:
    """The most tokens that may merge in this layout (arguments as in `MatchLayout`).

    Raises:
        BuildError: The layout is impossible.
    """
    windows = _window_tokens(MatchLayout(kind, tokens, prefix, 1, columns, window))
    if kind == "cells":
        return (tokens - prefix) * 3 // 4
    return sum(len(members) // 2 for members in windows)


@cache
def tables_from_layout(layout: MatchLayout) -> MatchTables:
    """Derives the tables.

    Raises:
        BuildError: The layout is impossible, or ``r`` is out of range.
    """
    largest = largest_r(layout.kind, layout.tokens, layout.prefix, layout.columns, layout.window)
    if not 1 <= layout.r <= largest:
        raise BuildError(
            _where(layout),
            f"r = {layout.r}, expected 1 to {largest}",
            "clamp r to what the layout allows; r = 0 needs no tables",
        )
    windows = _window_tokens(layout)
    if layout.kind == "cells":
        (members,) = windows
        split = [_split_by_cells(members, layout)]
        shares = [layout.r]
    elif layout.kind == "windows":
        split = [(members[0::2], members[1::2]) for members in windows]
        shares = _shares([len(members) for members in windows], layout.r)
    else:
        (members,) = windows
        split = [([i for i in members if i % 2 == 0], [i for i in members if i % 2 == 1])]
        shares = [layout.r]
    na = max(len(sources) for sources, _ in split)
    nb = max(len(destinations) for _, destinations in split)
    taken, left = [], []
    for number, ((sources, _), share) in enumerate(zip(split, shares, strict=True)):
        taken += [number * na + rank for rank in range(share)]
        left += [number * na + rank for rank in range(share, len(sources))]
    return MatchTables(
        tokens=layout.tokens,
        prefix=layout.prefix,
        windows=len(split),
        sources=tuple(token for sources, _ in split for token in _padded(sources, na)),
        destinations=tuple(token for _, destinations in split for token in _padded(destinations, nb)),
        r_per_window=tuple(shares),
        taken=tuple(taken),
        left=tuple(left),
        ascending=layout.prefix > 0 or layout.kind == "windows",
    )


def _window_tokens(layout: MatchLayout) -> list[list[int]]:
    """The tokens of each window that has any, row-major inside; one window where the layout has none."""
    where, prefix, patches, columns = _where(layout), layout.prefix, layout.tokens - layout.prefix, layout.columns
    if layout.kind not in KINDS:
        raise BuildError(where, f"no such layout, expected one of {', '.join(KINDS)}", "use one of them")
    if prefix < 0 or patches < 0:
        raise BuildError(
            where,
            f"{prefix} prefix tokens of {layout.tokens}, expected between 0 and all of them",
            "check the token counts",
        )
    everything = list(range(prefix, layout.tokens))
    if layout.kind == "alternate":
        return [everything]
    if columns < 1:
        raise BuildError(where, f"a grid of {columns} columns, expected at least 1", "state the grid's columns")
    if layout.kind == "cells":
        if columns % 2 or patches % (2 * columns):
            raise BuildError(
                where,
                f"{patches} patch tokens in {columns} columns, expected an even number of columns and of full rows",
                "use an input size that gives an even grid",
            )
        return [everything]
    side = layout.window
    if side < 1:
        raise BuildError(where, f"windows of side {side}, expected at least 1", "state the windows' side")
    across = -(-columns // side)
    members: dict[int, list[int]] = {}
    for patch in range(patches):
        row, column = divmod(patch, columns)
        members.setdefault(row // side * across + column // side, []).append(prefix + patch)
    return [members[number] for number in sorted(members)]


def _split_by_cells(members: list[int], layout: MatchLayout) -> tuple[list[int], list[int]]:
    corner = [(patch // layout.columns) % 2 == 0 and (patch % layout.columns) % 2 == 0 for patch in range(len(members))]
    pairs = list(zip(members, corner, strict=True))
    return [token for token, is_corner in pairs if not is_corner], [token for token, is_corner in pairs if is_corner]


def _shares(counts: list[int], r: int) -> list[int]:
    """``r`` shared out in proportion to ``counts`` by largest remainder, at most half of each (see the module)."""
    total = sum(counts)
    shares = [r * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda number: (-(r * counts[number] % total), number))
    for number in by_remainder[: r - sum(shares)]:
        shares[number] += 1
    shares = [min(share, count // 2) for share, count in zip(shares, counts, strict=True)]
    missing = r - sum(shares)
    while missing:
        for number, count in enumerate(counts):
            if missing and shares[number] < count // 2:
                shares[number] += 1
                missing -= 1
    return shares


def _padded(tokens: list[int], length: int) -> list[int]:
    return tokens + [-1] * (length - len(tokens))


def _where(layout: MatchLayout) -> str:
    return f"token matching, layout '{layout.kind}' of {layout.tokens} tokens"


def _integer(values: Mapping[str, object], name: str) -> int:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise BuildError(f"token layout, {name}", f"{value!r}, expected an integer", "build the bundle again")
    return value
