"""Token schedule: how many tokens of an image enter and leave every block of a recipe's fixed form, and why.

Everything is known before any weight is loaded: counts depend on the recipe alone, only the choice of tokens depends on the
image. Token counts are per image and include prefix tokens, block numbers are 1-based.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeexport.hosts.host import ExitTokens
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.tokens.changes import BlockTokens, Change, Cut, tokens_of_blocks
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["TokenSchedule", "dense_recipe", "token_schedule"]


@dataclass(frozen=True)
class TokenSchedule:
    """Every token count of a recipe's fixed form, per image.

    Attributes:
        facts: The host's.
        changes: By the method's key: what it does, steps that remove nothing included.
        blocks: The executed blocks.
    """

    facts: HostFacts
    changes: Mapping[str, tuple[Any, ...]]
    blocks: tuple[BlockTokens, ...]

    @property
    def acting(self) -> tuple[tuple[str, Change], ...]:
        """(key, change) of every step that removes anything, block by block."""
        steps = [(key, change) for key, own in self.changes.items() for change in own if change.acts]
        return tuple(sorted(steps, key=lambda item: item[1].block))

    @property
    def embedded(self) -> int:
        """Patch tokens that are embedded (patches that share a token are pooled before)."""
        return self.tokens_in - self.facts.prefix

    @property
    def tokens_in(self) -> int:
        """Tokens that enter block 1."""
        return self.blocks[0].tokens_in

    @property
    def tokens_out(self) -> int:
        """Tokens that leave the last block."""
        return self.blocks[-1].tokens_out

    @property
    def exits(self) -> tuple[ExitTokens, ...]:
        """Where tokens leave, in order of depth."""
        return tuple(
            ExitTokens(change.block, change.tokens_in, change.tokens_in - change.tokens_out)
            for _, change in self.acting
            if change.cut is Cut.EXIT
        )


def token_schedule(recipe: Recipe) -> TokenSchedule:
    """Computes the token counts of a recipe's fixed form.

    Raises:
        RecipeError: A count does not fit the model.
    """
    facts = recipe.facts
    tokens = facts.num_tokens
    changes: dict[str, tuple[Any, ...]] = {}
    for key, spec in recipe.reductions.items():
        changes[key] = REDUCTIONS[key].changes(spec, facts, tokens, recipe.place_of(key))
        tokens = next((change.tokens_out for change in changes[key] if change.cut is Cut.EMBEDDING), tokens)
    every = [change for own in changes.values() for change in own]
    blocks = tokens_of_blocks(facts.num_tokens, facts.executed, every, recipe.host.num_branches)
    return TokenSchedule(facts, changes, blocks)


def dense_recipe(recipe: Recipe) -> Recipe:
    """The same model without token reduction; of ``extra_outputs`` only the host's own remain."""
    kept = recipe.host.extra_outputs(recipe.model, recipe.output, recipe.tail)
    extra = tuple(name for name in recipe.extra_outputs if name in kept)
    return replace(recipe, reductions={}, extra_outputs=extra)
