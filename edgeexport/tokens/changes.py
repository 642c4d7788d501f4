"""What happens to the number of tokens, and where: the words in which hosts and reductions speak of counts. Imports no torch.

A block is cut in five places, and a reduction acts at one of them:

- `EMBEDDING`: ahead of block 1, before patches are embedded;
- `BETWEEN`: between a block's attention and what follows it, for good;
- `AROUND`: at the start of a block, undone at its end;
- `BRANCHES`: behind the norm of every residual branch, undone before the branch is added;
- `EXIT`: after a block whose head predicts for every token, so that some may leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["BlockTokens", "BranchTokens", "Change", "Cut", "tokens_of_blocks"]


class Cut(Enum):
    """Where a reduction acts."""

    EMBEDDING = "embedding"
    BETWEEN = "between"
    AROUND = "around"
    BRANCHES = "branches"
    EXIT = "exit"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one step of a reduction does to the tokens of an image, prefix tokens included.

    Attributes:
        block: 1-based; 1 for what happens ahead of block 1.
        cut: Where.
        tokens_in: Tokens that meet the step.
        tokens_out: Tokens that go on after it, or after it is undone.
        working: Tokens on which the cut part of the block works.
        reason: Why the count changes, for people.
    """

    block: int
    cut: Cut
    tokens_in: int
    tokens_out: int
    working: int
    reason: str

    @property
    def acts(self) -> bool:
        """Whether there is anything to do: a step that removes nothing does not exist in a graph."""
        return self.working < self.tokens_in


@dataclass(frozen=True)
class BranchTokens:
    """One residual branch of a block: how many tokens its norm and its work run on."""

    norm: int
    work: int


@dataclass(frozen=True)
class BlockTokens:
    """Tokens entering block ``block`` and leaving it (after any exit there), prefix tokens included.

    ``branches`` are the block's residual branches in order. ``reason`` tells what changed the count on the way into or out of
    the block; empty where nothing did.
    """

    block: int
    tokens_in: int
    tokens_out: int
    branches: tuple[BranchTokens, ...]
    reason: str

    @property
    def working(self) -> int:
        """The fewest tokens on which a branch works."""
        return min(branch.work for branch in self.branches)


def tokens_of_blocks(
    tokens: int, executed: int, changes: Iterable[Change], num_branches: int = 2
) -> tuple[BlockTokens, ...]:
    """The tokens of every executed block.

    Args:
        tokens: Of the dense model, prefix included.
        executed: Blocks that run.
        changes: Of all reductions, those of one block in the order in which they happen.
        num_branches: Residual branches of a block.
    """
    by_block: dict[int, list[Change]] = {}
    for change in changes:
        by_block.setdefault(change.block, []).append(change)
    blocks = []
    for block in range(1, executed + 1):
        entering = None
        own = by_block.get(block, [])
        branches = None
        for change in own:
            if change.cut is Cut.EMBEDDING:
                tokens = change.tokens_out
        entering = tokens
        branches = [BranchTokens(entering, entering)] * num_branches
        for change in own:
            if change.cut is not Cut.EMBEDDING:
                branches = _cut(branches, change)
                tokens = change.tokens_out
        reason = "; ".join(change.reason for change in own if change.reason)
        blocks.append(BlockTokens(block, entering, tokens, tuple(branches), reason))
    return tuple(blocks)


def _cut(branches: Sequence[BranchTokens], change: Change) -> list[BranchTokens]:
    left = change.working
    if change.cut is Cut.BETWEEN:
        return [branches[0], *(BranchTokens(left, left) for _ in branches[1:])]
    if change.cut is Cut.AROUND:
        return [BranchTokens(left, left) for _ in branches]
    if change.cut is Cut.BRANCHES:
        return [BranchTokens(branch.norm, left) for branch in branches]
    return list(branches)
