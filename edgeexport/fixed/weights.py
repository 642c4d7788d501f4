"""A recipe's model with its weights, and a statement of where they come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import nn

from edgeexport.bundle import sha256_of
from edgeexport.fixed.schedule import token_schedule
from edgeexport.hosts.checkpoint import load_policy_weights, load_weights, state_dict_from_file
from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.hosts.seeded import seed_plain_weights, seed_weights
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.hosts.timm_vit.steps import timm_vit_from_spec
from edgeexport.recipe.schema import Recipe

__all__ = ["WeightsOrigin", "model_from_recipe", "segvit_from_recipe"]


@dataclass(frozen=True)
class WeightsOrigin:
    """Where weights come from: ``origin`` is 'checkpoint' or 'random'. ``statement`` is for people."""

    origin: str
    seed: int | None
    file: str | None
    sha256: str | None
    policy_file: str | None
    policy_sha256: str | None
    statement: str

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return asdict(self)


def model_from_recipe(recipe: Recipe) -> tuple[nn.Module, WeightsOrigin]:
    """Builds the model in eval mode with its checkpoint, or with weights drawn from the recipe's seed.

    Returns:
        A `SegVit`, timm's `VisionTransformer` or an `SdBlock`, as ``recipe.model`` says; and where its weights are from.

    Raises:
        CheckpointError: A checkpoint is missing, damaged, unsafe, or does not fit.
    """
    if isinstance(recipe.model, SegVitSpec):
        return segvit_from_recipe(recipe)
    model: nn.Module
    if isinstance(recipe.model, TimmVitSpec):
        model, grid = timm_vit_from_spec(recipe.model), recipe.model.grid
        positions = grid if getattr(model, "pos_embed", None) is not None else None
    else:
        model, positions = SdBlock(recipe.model).eval(), None
    if recipe.checkpoint is None:
        seed_plain_weights(model, recipe.seed, positions)
    else:
        load_weights(model, state_dict_from_file(recipe.checkpoint), str(recipe.checkpoint))
    return model, _origin(recipe, False)


def segvit_from_recipe(recipe: Recipe) -> tuple[SegVit, WeightsOrigin]:
    """`model_from_recipe` for a SegViT."""
    schedule = token_schedule(recipe)
    with_policy = schedule.num_shared > 0
    model = SegVit(recipe.segvit, with_policy=with_policy)
    model.eval()
    policy_path = recipe.reduction.cts.policy_checkpoint if recipe.reduction.cts and with_policy else None
    if recipe.checkpoint is None:
        seed_weights(model, recipe.seed)
    else:
        # A checkpoint may lack what this recipe does not run, and may hold it.
        optional = [] if with_policy and policy_path is None else ["policy_net."]
        if not recipe.segvit.backbone.with_cls_token:
            optional.append("backbone.cls_token")
        active = {head.blocks[0] for head in schedule.heads if head.pruned}
        for index, head in enumerate(recipe.segvit.auxiliary_heads):
            if head.stages[0] not in active:
                optional.append(f"auxiliary_head.{index}.")
        if not active:
            optional.append("auxiliary_head.")
        load_weights(model, state_dict_from_file(recipe.checkpoint), str(recipe.checkpoint), optional=tuple(optional))
    if policy_path is not None and model.policy_net is not None:
        load_policy_weights(model.policy_net, policy_path)
    return model, _origin(recipe, policy_path is not None)


def _origin(recipe: Recipe, own_policy: bool) -> WeightsOrigin:
    policy = recipe.reduction.cts.policy_checkpoint if own_policy and recipe.reduction.cts else None
    if recipe.checkpoint is None:
        statement = f"random weights, seed {recipe.seed}: predictions mean nothing"
    else:
        statement = f"weights from {recipe.checkpoint.name}"
    return WeightsOrigin(
        origin="random" if recipe.checkpoint is None else "checkpoint",
        seed=recipe.seed if recipe.checkpoint is None else None,
        file=recipe.checkpoint.name if recipe.checkpoint else None,
        sha256=sha256_of(recipe.checkpoint) if recipe.checkpoint else None,
        policy_file=policy.name if policy else None,
        policy_sha256=sha256_of(policy) if policy else None,
        statement=statement,
    )
