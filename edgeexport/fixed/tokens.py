"""A recipe's multiply-accumulates part by part, beside those of the same model left dense, and tokens.json made from them.

Computed from the token schedule alone, never measured; the convention is that of `edgeexport.cost.macs`. Models are counted as
they are written: what an exporter folds is not subtracted, and a tail is the published one, so that totals compare with
published ones whatever the exported graph looks like. `edgeexport.graph.macs` counts the graph itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeexport.cost.macs import BlockMacs
from edgeexport.fixed.schedule import TokenSchedule, dense_recipe, token_schedule
from edgeexport.hosts.host import Head
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS

__all__ = ["TOKENS_SCHEMA", "Accounting", "ModelMacs", "account", "tokens_json"]

TOKENS_SCHEMA = "edgeexport.tokens/1"


@dataclass(frozen=True, kw_only=True)
class ModelMacs:
    """Multiply-accumulates per image of one model with one token schedule; ``blocks`` run parallel to the schedule's.

    ``policy`` is of the networks that reductions bring along, 0 where none runs.
    """

    schedule: TokenSchedule
    embedding: int
    blocks: tuple[BlockMacs, ...]
    final_norm: int
    heads: tuple[Head, ...]
    tail: int = 0
    policy: int = 0

    @property
    def backbone(self) -> int:
        """Patch embedding, blocks and final norm."""
        return self.embedding + sum(block.total for block in self.blocks) + self.final_norm

    @property
    def without_policy(self) -> int:
        """Everything but the reductions' networks: what the papers' tables state."""
        return self.backbone + sum(head.macs for head in self.heads) + self.tail

    @property
    def total(self) -> int:
        """Everything that runs."""
        return self.without_policy + self.policy


@dataclass(frozen=True)
class Accounting:
    """A recipe's work beside that of the same model without reduction (and with its final head alone)."""

    reduced: ModelMacs
    dense: ModelMacs

    @property
    def ratio(self) -> float:
        """Dense work over reduced work, everything counted: the speed-up that the saving allows."""
        return self.dense.total / self.reduced.total

    @property
    def ratio_without_policy(self) -> float:
        """Dense work over reduced work, the reductions' networks left out."""
        return self.dense.without_policy / self.reduced.without_policy


def account(recipe: Recipe) -> Accounting:
    """Counts the recipe's fixed form and its dense counterpart.

    Raises:
        RecipeError: The token counts do not fit the model.
    """
    return Accounting(reduced=_model_macs(recipe), dense=_model_macs(dense_recipe(recipe)))


def tokens_json(recipe: Recipe) -> dict[str, object]:
    """Returns the content of a bundle's tokens.json: schedule and work, reduced beside dense.

    Counts are exact integers per image; scaling and rounding are the reader's.

    Raises:
        RecipeError: The token counts do not fit the model.
    """
    accounting = account(recipe)
    reduced, dense = accounting.reduced, accounting.dense
    schedule, host = reduced.schedule, recipe.host
    hidden = 0 if host.counts_prefix else schedule.facts.prefix
    dense_heads = {head.name: head.macs for head in dense.heads}
    document: dict[str, object] = {"sharing": None, "merging": None}
    for key, changes in schedule.changes.items():
        document |= REDUCTIONS[key].tokens_document(recipe.reductions[key], changes)
    return {
        "schema": TOKENS_SCHEMA,
        "provenance": "computed",
        "convention": host.convention,
        "image": [recipe.input.height, recipe.input.width],
        **host.geometry(recipe.model, schedule.facts),
        **document,
        "embedding": {"tokens": schedule.embedded, "macs": reduced.embedding, "dense_macs": dense.embedding},
        "blocks": [
            {
                "block": tokens.block,
                "tokens_in": tokens.tokens_in - hidden,
                "tokens_out": tokens.tokens_out - hidden,
                "reason": tokens.reason,
                "macs": {
                    "attention": macs.attention,
                    "matching": macs.matching,
                    "mlp": macs.mlp,
                    "norms": macs.norms,
                    "total": macs.total,
                },
                "dense_macs": dense_macs.total,
            }
            for tokens, macs, dense_macs in zip(schedule.blocks, reduced.blocks, dense.blocks, strict=True)
        ],
        "heads": [
            {
                "name": head.name,
                "type": head.type,
                "blocks": list(head.blocks),
                "tokens": head.tokens,
                "pruned": head.pruned,
                "macs": head.macs,
                "dense_macs": dense_heads.get(head.name, 0),
            }
            for head in reduced.heads
        ],
        "final_norm": {"macs": reduced.final_norm, "dense_macs": dense.final_norm},
        "tail": {"macs": reduced.tail, "dense_macs": dense.tail},
        "policy_network": {"macs": reduced.policy, "dense_macs": dense.policy},
        "totals": {
            "macs": reduced.total,
            "macs_without_policy": reduced.without_policy,
            "dense_macs": dense.total,
            "dense_over_reduced": accounting.ratio,
            "dense_over_reduced_without_policy": accounting.ratio_without_policy,
        },
    }


def _model_macs(recipe: Recipe) -> ModelMacs:
    schedule = token_schedule(recipe)
    facts = schedule.facts
    seen = recipe.input
    if facts.windows > 1:
        seen = replace(seen, height=facts.image[0], width=facts.image[1])
    own = recipe.host.macs(recipe.model, seen, schedule.embedded, schedule.blocks, schedule.exits)
    blocks = list(own.blocks)
    for key, change in schedule.acting:
        matching = REDUCTIONS[key].matching_macs(recipe.reductions[key], facts, change)
        block = blocks[change.block - 1]
        blocks[change.block - 1] = replace(block, matching=block.matching + matching)
    times = facts.windows
    return ModelMacs(
        schedule=schedule,
        embedding=times * own.embedding,
        blocks=tuple(block.times(times) for block in blocks),
        final_norm=times * own.final_norm,
        heads=tuple(replace(head, macs=times * head.macs) for head in own.heads),
        tail=times * own.tail,
        policy=times * sum(REDUCTIONS[key].network_macs(spec, facts) for key, spec in recipe.reductions.items()),
    )
