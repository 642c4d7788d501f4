"""Fitting a checkpoint to a model, with messages a person can use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeexport.errors import CheckpointError
from edgeexport.hosts.checkpoint_causes import Misfit, likely_cause
from edgeexport.hosts.checkpoint_file import checkpoint_from_file

__all__ = ["load_network_weights", "load_weights", "unwrapped"]

# Keys that training leaves behind and inference does not use.
_UNUSED_PARTS = ("loss_decode.", "num_batches_tracked")
# What wraps a model at training and stands ahead of its keys.
_WRAPPERS = ("_orig_mod.", "backbone.", "model.", "module.", "teacher.")
_DEEPEST = 4  # wrappers in each other
_SHOWN = 4


def unwrapped(state: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """``state`` without what wraps the model: of all prefixes such as ``module.`` or ``teacher.backbone.`` the one behind which
    most ``wanted`` keys stand is taken off; keys elsewhere stay if they are wanted.
    """
    prefixes = {""}
    for key in state:
        prefix = ""
        for _ in range(_DEEPEST):
            prefix += next((part for part in _WRAPPERS if key.startswith(prefix + part)), "")
            prefixes.add(prefix)
    ranked = sorted(prefixes, key=len)
    best = max(ranked, key=lambda prefix: sum(prefix + key in state for key in wanted))
    inside = {key.removeprefix(best): value for key, value in state.items() if key.startswith(best)}
    return inside | {key: value for key, value in state.items() if key in wanted and key not in inside}


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str, *, optional: tuple[str, ...] = ()) -> None:
    """Copies ``state`` into ``model``, requiring every weight that inference uses.

    Args:
        model: Receives the weights, as float32.
        state: Key -> tensor; training leftovers (`loss_decode.*`) are ignored, prefixes of wrappers taken off (`unwrapped`).
        source: Named in messages.
        optional: Prefixes that may be missing from ``state`` or be present in it without a place in the model.

    Raises:
        CheckpointError: Missing or unexpected keys or other shapes; lists the first few of each and the likely cause.
    """
    wanted = model.state_dict()
    given = unwrapped(state, wanted.keys())
    missing = [key for key in wanted if key not in given and not _is_unused(key) and not key.startswith(optional)]
    unexpected = [key for key in given if key not in wanted and not _is_unused(key) and not key.startswith(optional)]
    wrong = [key for key in wanted if key in given and given[key].shape != wanted[key].shape]
    if missing or unexpected or wrong:
        shapes = [f"{key} {tuple(given[key].shape)} against {tuple(wanted[key].shape)}" for key in wrong]
        problems = [
            f"{len(keys)} {kind}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
            for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if keys
        ]
        misfit = Misfit(_shapes(given), _shapes(wanted), missing, unexpected, wrong)
        raise CheckpointError(source, "keys do not fit the model; " + "; ".join(problems), likely_cause(misfit))
    usable = {key: given[key].to(torch.float32) for key in wanted if key in given and not _is_unused(key)}
    not_finite = [key for key, value in usable.items() if not torch.isfinite(value).all()]
    if not_finite:
        more = ", ..." if len(not_finite) > _SHOWN else ""
        raise CheckpointError(
            source,
            f"NaN or infinite values in {len(not_finite)} weights: {', '.join(not_finite[:_SHOWN])}{more}",
            "likely cause: a diverged training, or a float16 overflow; use an earlier checkpoint",
        )
    model.load_state_dict(usable, strict=False)


def load_network_weights(network: nn.Module, path: Path, prefix: str) -> None:
    """Loads a network from its own file, or from a model's file, where its keys begin with ``prefix``.

    Raises as `load_weights` does.
    """
    state = checkpoint_from_file(path).state
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    load_weights(network, own or state, str(path))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _is_unused(key: str) -> bool:
    return any(part in key for part in _UNUSED_PARTS)
