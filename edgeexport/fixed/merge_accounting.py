"""Multiply-accumulates of timm hosts and diffusion blocks with token merging, beside those of the model left dense.

Computed from the merge schedule alone, never measured; the convention is that of `edgeexport.cost.macs`, and the model is
counted as the published code runs it. `edgeexport.graph.macs` counts the exported graph itself.
Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeexport.cost.macs import layer_norm_macs, patch_embedding_macs
from edgeexport.fixed.merge_macs import merge_block_macs, sd_block_macs
from edgeexport.fixed.merge_schedule import MergeSchedule, merge_schedule
from edgeexport.fixed.model_macs import Accounting, ModelMacs, tokens_document
from edgeexport.fixed.schedule import BlockTokens, dense_recipe
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.recipe.schema import Recipe

__all__ = ["CONVENTION", "MergeMacs", "account_merging", "tokens_json"]

CONVENTION = (
    "multiply-accumulates per image, fvcore convention: multiply-accumulate 1, LayerNorm 5 per element; biases, "
    "activations, softmax, additions, pooling, selection, gathers, the mean of merged tokens and unmerging 0. Matching is "
    "the similarity of every source with every destination, counted in blocks that merge; without windows it is that of "
    "all even with all odd tokens, as the published code computes it. Optional norms of a host (of queries and keys, of "
    "branches, ahead of the blocks) and a pooling by attention are not counted. Token counts include class, distillation "
    "and register tokens"
)


@dataclass(frozen=True, kw_only=True)
class MergeMacs(ModelMacs):
    """Multiply-accumulates per image of one model with one merge schedule; ``blocks`` run parallel to its steps.

    ``heads`` holds the classifier; it is empty where there is none.
    """

    schedule: MergeSchedule


def account_merging(recipe: Recipe) -> Accounting[MergeMacs]:
    """Counts the fixed form of a timm or diffusion recipe and its dense counterpart.

    Raises:
        RecipeError: The tokens do not fit the method (see `merge_schedule`).
    """
    return Accounting(reduced=_model_macs(recipe), dense=_model_macs(dense_recipe(recipe)))


def tokens_json(recipe: Recipe) -> dict[str, object]:
    """Returns the content of a bundle's tokens.json (see `tokens_document`). Raises as `account_merging` does."""
    accounting = account_merging(recipe)
    schedule, model = accounting.reduced.schedule, recipe.model
    patches = math.prod(schedule.grid)
    frames = {"frames": model.frames} if isinstance(model, TimmVitSpec) and model.frames is not None else {}
    geometry = {
        **frames,
        "grid": list(schedule.grid),
        "patches": patches,
        "class_token": isinstance(model, TimmVitSpec) and model.class_token,
        "num_prefix": schedule.prefix,
        "sharing": None,
    }
    blocks = (BlockTokens(step.block, step.tokens_in, step.tokens_out, step.reason) for step in schedule.steps)
    heads = (
        {
            "name": "head",
            "type": "Linear",
            "blocks": [len(schedule.steps)],
            "tokens": schedule.tokens_out,
            "pruned": 0,
            "macs": macs,
            "dense_macs": dense_macs,
        }
        for macs, dense_macs in zip(accounting.reduced.heads, accounting.dense.heads, strict=True)
    )
    return tokens_document(recipe, accounting, CONVENTION, geometry, patches, blocks, heads)


def _model_macs(recipe: Recipe) -> MergeMacs:
    model, merge = recipe.model, recipe.reduction.merge
    assert not isinstance(model, SegVitSpec)
    schedule = merge_schedule(recipe)
    if isinstance(model, SdBlockSpec):
        blocks = tuple(sd_block_macs(step, model) for step in schedule.steps)
        return MergeMacs(schedule=schedule, embedding=0, blocks=blocks, final_norm=0, heads=())
    width = model.embed_dims
    classifier = (2 if model.distilled else 1) * model.num_classes * width
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
        heads=(classifier,) if classifier else (),
    )
