"""Multiply-accumulates of a SegViT recipe's fixed form, block by block, beside those of the same model left dense.

Computed from the token schedule alone, never measured; the convention is that of `edgeexport.cost.macs`. Models are
counted as they are written: what an exporter folds (first decoder layers work on constant queries) is not subtracted,
and the tail is the published one (see `CONVENTION`), so that totals compare with published ones whatever the exported
graph looks like. `edgeexport.graph.macs` counts the graph itself.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeexport.cost.macs import (
    atm_head_macs,
    bilinear_resize_macs,
    layer_norm_macs,
    mask_einsum_macs,
    patch_embedding_macs,
    policy_network_macs,
    prune_head_macs,
)
from edgeexport.fixed.merge_macs import merge_block_macs
from edgeexport.fixed.merge_schedule import MergeSchedule, merge_schedule
from edgeexport.fixed.model_macs import Accounting, ModelMacs, tokens_document
from edgeexport.fixed.schedule import HeadTokens, TokenSchedule, dense_recipe, token_schedule
from edgeexport.recipe.schema import Recipe

__all__ = ["CONVENTION", "SegVitMacs", "account", "tokens_json"]

CONVENTION = (
    "multiply-accumulates per image, fvcore convention: multiply-accumulate 1, LayerNorm 5 per element, "
    "BatchNorm 2 per element, bilinear resize 4 per output element; biases, activations, softmax, additions, pooling, "
    "selection, gathers, the mean of merged tokens and unmerging 0. Matching is the similarity of every source with every "
    "destination, in blocks that merge. The model is counted as written, before an exporter folds constants. The tail is "
    "counted as the published code runs it, whatever form the bundle's tail takes: two bilinear resizes of the class scores to "
    "the image size (one in the head, one to the label size) and, for ATMHead, the full-resolution product of class "
    "probabilities and masks"
)


@dataclass(frozen=True, kw_only=True)
class SegVitMacs(ModelMacs):
    """Multiply-accumulates per image of one SegViT with one token schedule.

    ``blocks`` and ``heads`` run parallel to those of ``schedule``, and ``merging`` tells what merges inside the blocks.
    ``policy`` is 0 where no tokens are shared.
    """

    schedule: TokenSchedule
    merging: MergeSchedule


def account(recipe: Recipe) -> Accounting[SegVitMacs]:
    """Counts the recipe's fixed form and its dense counterpart.

    Raises:
        RecipeError: The token counts do not fit the model (see `token_schedule`).
    """
    return Accounting(reduced=_model_macs(recipe), dense=_model_macs(dense_recipe(recipe)))


def tokens_json(recipe: Recipe) -> dict[str, object]:
    """Returns the content of a bundle's tokens.json (see `tokens_document`). Raises as `account` does."""
    accounting = account(recipe)
    reduced, dense = accounting.reduced, accounting.dense
    schedule = reduced.schedule
    sharing = {
        "windows": schedule.num_windows,
        "requested": schedule.num_shared_requested,
        "shared": schedule.num_shared,
    }
    geometry = {
        "grid": list(schedule.grid),
        "patches": schedule.num_patches,
        "class_token": bool(schedule.num_prefix),
        "sharing": sharing if schedule.num_shared else None,
    }
    blocks = (
        replace(tokens, reason="; ".join(filter(None, (tokens.reason, step.reason))))
        for tokens, step in zip(schedule.blocks, reduced.merging.steps, strict=True)
    )
    heads = (
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
    )
    return tokens_document(recipe, accounting, CONVENTION, geometry, schedule.tokens_in, blocks, heads)


def _model_macs(recipe: Recipe) -> SegVitMacs:
    schedule, merging = token_schedule(recipe), merge_schedule(recipe)
    backbone = recipe.segvit.backbone
    width, height = recipe.input.width, recipe.input.height
    hidden = int(backbone.mlp_ratio * backbone.embed_dims)
    return SegVitMacs(
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
