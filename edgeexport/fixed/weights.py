"""A recipe's model with its weights, and a statement of where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from edgeexport.bundle import sha256_of
from edgeexport.bundle.weights_hash import weights_sha256
from edgeexport.errors import plain_text
from edgeexport.fixed.schedule import token_schedule
from edgeexport.hosts.checkpoint import load_network_weights, load_weights
from edgeexport.hosts.checkpoint_file import checkpoint_from_file
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS

__all__ = ["WeightsOrigin", "model_from_recipe"]


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
        The host's module, with the networks of reductions as attributes of it; and where its weights are from.

    Raises:
        CheckpointError: A checkpoint is missing, damaged, unsafe, or does not fit.
        RecipeError: The recipe's counts do not fit the model.
    """
    host, schedule = recipe.host, token_schedule(recipe)
    model = host.model(recipe.model)
    files: dict[str, Path] = {}
    optional = [f"{method.network}." for method in REDUCTIONS.values() if method.network is not None]
    for key, spec in recipe.reductions.items():
        method = REDUCTIONS[key]
        if method.network is None or not method.uses_network(spec):
            continue
        model.add_module(method.network, method.new_network())
        file = method.network_checkpoint(spec)
        if file is None:
            optional.remove(f"{method.network}.")
        else:
            files[method.network] = file
    taken: list[str] = []
    if recipe.checkpoint is None:
        host.seed(model, recipe.model, recipe.seed)
    elif not host.checkpoint_is_model:
        # A checkpoint may lack what this recipe does not run, and may hold it.
        optional += host.optional_keys(recipe.model, [leaving.block for leaving in schedule.exits])
        source = str(recipe.checkpoint)
        checkpoint = checkpoint_from_file(recipe.checkpoint)
        state, adapted = host.adapted(model, recipe.model, checkpoint, source)
        load_weights(model, state, f"{source} ({adapted})" if adapted else source, optional=tuple(optional))
        taken = [text for text in (checkpoint.taken, adapted) if text]
    for name, file in files.items():
        load_network_weights(model.get_submodule(name), file, f"{name}.")
    return model, _origin(recipe, next(iter(files.values()), None), taken)


def _origin(recipe: Recipe, policy: Path | None, taken: Sequence[str]) -> WeightsOrigin:
    """``taken``: which of the checkpoint's weights, and what was done to them."""
    name = plain_text(recipe.checkpoint.name) if recipe.checkpoint else None
    random = f"random weights, seed {recipe.seed}: predictions mean nothing"
    return WeightsOrigin(
        origin="random" if recipe.checkpoint is None else "checkpoint",
        seed=recipe.seed if recipe.checkpoint is None else None,
        file=name,
        sha256=weights_sha256(recipe.checkpoint) if recipe.checkpoint else None,
        policy_file=plain_text(policy.name) if policy else None,
        policy_sha256=sha256_of(policy) if policy else None,
        statement=": ".join([f"weights from {name}", *(["; ".join(taken)] if taken else [])]) if name else random,
    )
