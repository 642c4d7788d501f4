"""An axis of tokens, and a constant that has a row for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Axis", "Table"]


class Axis(NamedTuple):
    """An axis of ``per_token * n + fixed`` elements."""

    per_token: int
    fixed: int

    def size(self, tokens: int) -> int:
        """Its elements where there are so many tokens."""
        return self.per_token * tokens + self.fixed


@dataclass(frozen=True)
class Table:
    """A constant with a row for every token, such as sines of rotary positions, where it meets the tokens.

    Attributes:
        name: The constant.
        axis: Its axis of tokens, counted from the end (negative).
        first: The token of its first row.
        meets: Axes of the result of the node that reads it.
    """

    name: str
    axis: int
    first: int
    meets: tuple[Axis, ...]
