"""Multiply-accumulates of a SegViT recipe's fixed form, block by block, beside those of the same model left dense.

Computed from the token schedule alone, never measured; the convention is that of `edgeexport.freeze.macs`. Models are
counted as they are written: what an exporter folds (first decoder layers work on constant queries) is not subtracted,
and the tail is the published one (see `CONVENTION`), so that totals compare with published ones whatever the exported
graph looks like. `edgeexport.graph.cost` counts the graph itself.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.freeze.macs import (
    BlockMacs,
    atm_head_macs,
    bilinear_resize_macs,
    layer_norm_macs,
    mask_einsum_macs,
    patch_embedding_macs,
    policy_network_macs,
    prune_head_macs,
)
from edgeexport.freeze.merge_macs import merge_block_macs
from edgeexport.freeze.merge_schedule import MergeSchedule, merge_schedule
from edgeexport.freeze.merging_json import merging_json
from edgeexport.freeze.schedule import HeadTokens, TokenSchedule, dense_recipe, token_schedule
from edgeexport.recipe.schema import Recipe

__all__ = ["CONVENTION", "TOKENS_SCHEMA", "Accounting", "ModelMacs", "account", "tokens_json"]

TOKENS_SCHEMA = "edgeexport.tokens/1"

CONVENTION = (
    "multiply-accumulates per image, fvcore convention: multiply-accumulate 1, LayerNorm 5 per element, "
    "BatchNorm 2 per element, bilinear resize 4 per output element; biases, activations, softmax, additions, pooling, "
    "selection, gathers, the mean of merged tokens and unmerging 0. Matching is the similarity of every source with every "
    "destination, in blocks that merge. The model is counted as written, before an exporter folds constants. The tail is "
    "counted as the published code runs it, whatever form the bundle's tail takes: two bilinear resizes of the class scores to "
    "the image size (one in the head, one to the label size) and, for ATMHead, the full-resolution product of class "
    "probabilities and masks"
)


@dataclass(frozen=True)
class ModelMacs:
    """Multiply-accumulates per image of one model with one token schedule.

    ``blocks`` and ``heads`` run parallel to those of ``schedule``, and ``merging`` tells what merges inside the blocks.
    ``policy`` is 0 where no tokens are shared.
    """

    schedule: TokenSchedule
    merging: MergeSchedule
    embedding: int
    blocks: tuple[BlockMacs, ...]
    final_norm: int
    heads: tuple[int, ...]
    tail: int
    policy: int

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


@dataclass(frozen=True)
class Accounting:
    """A recipe's work beside that of the same model without reduction (and with its final head alone)."""

    reduced: ModelMacs
    dense: ModelMacs

    @property
    def ratio(self) -> float:
        """Dense work over reduced work, the policy network counted: the speed-up that the saving allows."""
        return self.dense.total / self.reduced.total

    @property
    def ratio_without_policy(self) -> float:
        """Dense work over reduced work, the policy network left out."""
        return self.dense.without_policy / self.reduced.without_policy


def account(recipe: Recipe) -> Accounting:
    """Counts the recipe's fixed form and its dense counterpart.

    Raises:
        RecipeError: The token counts do not fit the model (see `token_schedule`).
    """
    return Accounting(reduced=_model_macs(recipe), dense=_model_macs(dense_recipe(recipe)))


def tokens_json(recipe: Recipe) -> dict[str, object]:
    """Returns the content of a bundle's tokens.json: schedule and work, reduced beside dense.

    Counts are exact integers per image; scaling and rounding are the reader's. Raises as `account` does.
    """
    accounting = account(recipe)
    reduced, dense = accounting.reduced, accounting.dense
    schedule = reduced.schedule
    return {
        "schema": TOKENS_SCHEMA,
        "provenance": "computed",
        "convention": CONVENTION,
        "image": [recipe.input.height, recipe.input.width],
        "grid": list(schedule.grid),
        "patches": schedule.num_patches,
        "class_token": bool(schedule.num_prefix),
        "sharing": {
            "windows": schedule.num_windows,
            "requested": schedule.num_shared_requested,
            "shared": schedule.num_shared,
        }
        if schedule.num_shared
        else None,
        "merging": merging_json(recipe),
        "embedding": {"tokens": schedule.tokens_in, "macs": reduced.embedding, "dense_macs": dense.embedding},
        "blocks": [
            {
                "block": tokens.block,
                "tokens_in": tokens.tokens_in,
                "tokens_out": tokens.tokens_out,
                "reason": "; ".join(filter(None, (tokens.reason, step.reason))),
                "macs": {
                    "attention": macs.attention,
                    "matching": macs.matching,
                    "mlp": macs.mlp,
                    "norms": macs.norms,
                    "total": macs.total,
                },
                "dense_macs": dense_macs.total,
            }
            for tokens, step, macs, dense_macs in zip(
                schedule.blocks, reduced.merging.steps, reduced.blocks, dense.blocks, strict=True
            )
        ],
        "heads": [
            {
                "name": head.name,
                "type": head.spec.type,
                "blocks": list(head.blocks),
                "tokens": head.tokens,
                "pruned": head.pruned,
                "macs": macs,
                "dense_macs": dense.heads[0] if head.name == "decode_head" else 0,
            }
            for head, macs in zip(schedule.heads, reduced.heads, strict=True)
        ],
        "final_norm": {"macs": reduced.final_norm, "dense_macs": dense.final_norm},
        "tail": {"macs": reduced.tail, "dense_macs": dense.tail},
        "policy_network": {"macs": reduced.policy, "dense_macs": 0},
        "totals": {
            "macs": reduced.total,
            "macs_without_policy": reduced.without_policy,
            "dense_macs": dense.total,
            "dense_over_reduced": accounting.ratio,
            "dense_over_reduced_without_policy": accounting.ratio_without_policy,
        },
    }


def _model_macs(recipe: Recipe) -> ModelMacs:
    schedule, merging = token_schedule(recipe), merge_schedule(recipe)
    backbone = recipe.segvit.backbone
    width, height = recipe.input.width, recipe.input.height
    hidden = int(backbone.mlp_ratio * backbone.embed_dims)
    return ModelMacs(
        schedule=schedule,
        merging=merging,
        embedding=patch_embedding_macs(
            schedule.tokens_in, backbone.in_channels, backbone.patch_size, backbone.embed_dims
        ),
        blocks=tuple(
            merge_block_macs(step, recipe.reduction.merge, backbone.embed_dims, hidden, backbone.num_heads)
            for step in merging.steps
        ),
        final_norm=_final_norm_macs(recipe, schedule),
        heads=tuple(_head_macs(head) for head in schedule.heads),
        tail=_tail_macs(recipe),
        policy=policy_network_macs(height, width) if schedule.num_shared else 0,
    )


def _final_norm_macs(recipe: Recipe, schedule: TokenSchedule) -> int:
    """The norm follows the last block, so it runs only where a head reads that block."""
    backbone = recipe.segvit.backbone
    if not backbone.final_norm or len(schedule.blocks) != backbone.num_layers:
        return 0
    return layer_norm_macs(schedule.tokens_out + schedule.num_prefix, backbone.embed_dims)


def _head_macs(head: HeadTokens) -> int:
    spec = head.spec
    if spec.type == "ATMHead":
        return atm_head_macs(
            head.tokens, spec.in_channels, spec.width, spec.num_layers, spec.num_classes, len(head.blocks)
        )
    return prune_head_macs(head.tokens, spec.in_channels, spec.width, spec.num_layers, spec.num_classes)


def _tail_macs(recipe: Recipe) -> int:
    head, height, width = recipe.segvit.decode_head, recipe.input.height, recipe.input.width
    resizes = 2 * bilinear_resize_macs(head.num_classes, height, width)
    if head.type == "ATMHead":
        return resizes + mask_einsum_macs(head.num_classes, height, width)
    return resizes
