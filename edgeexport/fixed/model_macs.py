"""A model's multiply-accumulates part by part, beside those of the same model left dense, and tokens.json made from them.

How a family of models is counted is in `accounting` (SegViT) and `merge_accounting` (timm hosts and diffusion blocks).
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeexport.cost.macs import BlockMacs
from edgeexport.fixed.merging_json import merging_json
from edgeexport.fixed.schedule import BlockTokens
from edgeexport.recipe.schema import Recipe

__all__ = ["TOKENS_SCHEMA", "Accounting", "ModelMacs", "tokens_document"]

TOKENS_SCHEMA = "edgeexport.tokens/1"


@dataclass(frozen=True, kw_only=True)
class ModelMacs:
    """Multiply-accumulates per image of one model. ``policy`` is of the network that decides which tokens are shared."""

    embedding: int
    blocks: tuple[BlockMacs, ...]
    final_norm: int
    heads: tuple[int, ...]
    tail: int = 0
    policy: int = 0

    @property
    def backbone(self) -> int:
        """Patch embedding, blocks and final norm."""
        return self.embedding + sum(block.total for block in self.blocks) + self.final_norm

    @property
    def without_policy(self) -> int:
        """Everything but the policy network: what the papers' tables state."""
        return self.backbone + sum(self.heads) + self.tail

    @property
    def total(self) -> int:
        """Everything that runs, the policy network included."""
        return self.without_policy + self.policy


_Macs = TypeVar("_Macs", bound=ModelMacs)


@dataclass(frozen=True)
class Accounting(Generic[_Macs]):
    """A recipe's work beside that of the same model without reduction (and with its final head alone)."""

    reduced: _Macs
    dense: _Macs

    @property
    def ratio(self) -> float:
        """Dense work over reduced work, the policy network counted: the speed-up that the saving allows."""
        return self.dense.total / self.reduced.total

    @property
    def ratio_without_policy(self) -> float:
        """Dense work over reduced work, the policy network left out."""
        return self.dense.without_policy / self.reduced.without_policy


def tokens_document(
    recipe: Recipe,
    accounting: Accounting[_Macs],
    convention: str,
    geometry: Mapping[str, object],
    embedded: int,
    blocks: Iterable[BlockTokens],
    heads: Iterable[Mapping[str, object]],
) -> dict[str, object]:
    """Content of tokens.json: schedule and work, reduced beside dense.

    Counts are exact integers per image; scaling and rounding are the reader's.

    Args:
        recipe: What was counted.
        accounting: Its work.
        convention: What counts how much.
        geometry: Entries on the grid of patches, prefix tokens and sharing.
        embedded: Tokens that the patch embedding makes.
        blocks: In order; they run parallel to the accounting's.
        heads: Entries of the heads, complete.

    Raises:
        RecipeError: See `merging_json`.
    """
    reduced, dense = accounting.reduced, accounting.dense
    return {
        "schema": TOKENS_SCHEMA,
        "provenance": "computed",
        "convention": convention,
        "image": [recipe.input.height, recipe.input.width],
        **geometry,
        "merging": merging_json(recipe),
        "embedding": {"tokens": embedded, "macs": reduced.embedding, "dense_macs": dense.embedding},
        "blocks": [
            {
                "block": tokens.block,
                "tokens_in": tokens.tokens_in,
                "tokens_out": tokens.tokens_out,
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
            for tokens, macs, dense_macs in zip(blocks, reduced.blocks, dense.blocks, strict=True)
        ],
        "heads": [dict(head) for head in heads],
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
