"""Multiply-accumulates of timm hosts and diffusion blocks with token merging, beside those of the model left dense.

Computed from the merge schedule alone, never measured; the convention is that of `edgeexport.freeze.macs`, and the model is
counted as the published code runs it. `edgeexport.graph.cost` counts the exported graph itself.
Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeexport.freeze.accounting import TOKENS_SCHEMA
from edgeexport.freeze.macs import BlockMacs, layer_norm_macs, patch_embedding_macs
from edgeexport.freeze.merge_macs import merge_block_macs, sd_block_macs
from edgeexport.freeze.merge_schedule import MergeSchedule, merge_schedule
from edgeexport.freeze.merging_json import merging_json
from edgeexport.freeze.schedule import dense_recipe
from edgeexport.recipe.schema import Recipe, SdBlockSpec, SegVitSpec, TimmVitSpec

__all__ = ["CONVENTION", "MergeAccounting", "MergeMacs", "account_merging", "tokens_json"]

CONVENTION = (
    "multiply-accumulates per image, fvcore convention: multiply-accumulate 1, LayerNorm 5 per element; biases, "
    "activations, softmax, additions, pooling, selection, gathers, the mean of merged tokens and unmerging 0. Matching is "
    "the similarity of every source with every destination, counted in blocks that merge; without windows it is that of "
    "all even with all odd tokens, as the published code computes it. Optional norms of a host (of queries and keys, of "
    "branches, ahead of the blocks) and a pooling by attention are not counted. Token counts include class, distillation "
    "and register tokens"
)


@dataclass(frozen=True)
class MergeMacs:
    """Multiply-accumulates per image of one model with one merge schedule; ``blocks`` run parallel to its steps."""

    schedule: MergeSchedule
    embedding: int
    blocks: tuple[BlockMacs, ...]
    final_norm: int
    head: int

    @property
    def total(self) -> int:
        return self.embedding + sum(block.total for block in self.blocks) + self.final_norm + self.head


@dataclass(frozen=True)
class MergeAccounting:
    """A recipe's work beside that of the same model without merging."""

    reduced: MergeMacs
    dense: MergeMacs

    @property
    def ratio(self) -> float:
        """Dense work over reduced work: the speed-up that the saving allows."""
        return self.dense.total / self.reduced.total


def account_merging(recipe: Recipe) -> MergeAccounting:
    """Counts the fixed form of a timm or diffusion recipe and its dense counterpart.

    Raises:
        RecipeError: The tokens do not fit the method (see `merge_schedule`).
    """
    return MergeAccounting(reduced=_model_macs(recipe), dense=_model_macs(dense_recipe(recipe)))


def tokens_json(recipe: Recipe) -> dict[str, object]:
    """Returns the content of a bundle's tokens.json: schedule and work, reduced beside dense.

    Counts are exact integers per image; scaling and rounding are the reader's. Raises as `account_merging` does.
    """
    accounting = account_merging(recipe)
    reduced, dense = accounting.reduced, accounting.dense
    schedule, model = reduced.schedule, recipe.model
    patches = math.prod(schedule.grid)
    frames = {"frames": model.frames} if isinstance(model, TimmVitSpec) and model.frames is not None else {}
    return {
        "schema": TOKENS_SCHEMA,
        "provenance": "computed",
        "convention": CONVENTION,
        "image": [recipe.input.height, recipe.input.width],
        **frames,
        "grid": list(schedule.grid),
        "patches": patches,
        "class_token": isinstance(model, TimmVitSpec) and model.class_token,
        "num_prefix": schedule.prefix,
        "sharing": None,
        "merging": merging_json(recipe),
        "embedding": {"tokens": patches, "macs": reduced.embedding, "dense_macs": dense.embedding},
        "blocks": [
            {
                "block": step.block,
                "tokens_in": step.tokens_in,
                "tokens_out": step.tokens_out,
                "reason": step.reason,
                "macs": {
                    "attention": macs.attention,
                    "matching": macs.matching,
                    "mlp": macs.mlp,
                    "norms": macs.norms,
                    "total": macs.total,
                },
                "dense_macs": dense_macs.total,
            }
            for step, macs, dense_macs in zip(schedule.steps, reduced.blocks, dense.blocks, strict=True)
        ],
        "heads": [
            {
                "name": "head",
                "type": "Linear",
                "blocks": [len(schedule.steps)],
                "tokens": schedule.tokens_out,
                "pruned": 0,
                "macs": reduced.head,
                "dense_macs": dense.head,
            }
        ]
        if reduced.head
        else [],
        "final_norm": {"macs": reduced.final_norm, "dense_macs": dense.final_norm},
        "tail": {"macs": 0, "dense_macs": 0},
        "policy_network": {"macs": 0, "dense_macs": 0},
        "totals": {
            "macs": reduced.total,
            "macs_without_policy": reduced.total,
            "dense_macs": dense.total,
            "dense_over_reduced": accounting.ratio,
            "dense_over_reduced_without_policy": accounting.ratio,
        },
    }


def _model_macs(recipe: Recipe) -> MergeMacs:
    model, merge = recipe.model, recipe.reduction.merge
    assert not isinstance(model, SegVitSpec)
    schedule = merge_schedule(recipe)
    if isinstance(model, SdBlockSpec):
        blocks = tuple(sd_block_macs(step, model) for step in schedule.steps)
        return MergeMacs(schedule, embedding=0, blocks=blocks, final_norm=0, head=0)
    width = model.embed_dims
    return MergeMacs(
        schedule=schedule,
        embedding=patch_embedding_macs(
            math.prod(model.grid), model.in_channels, model.patch_size, width, model.tubelet if model.frames else 1
        ),
        blocks=tuple(
            merge_block_macs(step, merge, width, model.mlp_hidden, model.num_heads) for step in schedule.steps
        ),
        # A host without this norm has one on its pooled vector instead.
        final_norm=layer_norm_macs(schedule.tokens_out if model.final_norm else 1, width),
        head=(2 if model.distilled else 1) * model.num_classes * width,
    )
