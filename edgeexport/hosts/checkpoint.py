"""Checkpoints: reading a state dict without executing code, and fitting it to a model with messages a person can use."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeexport.errors import CheckpointError
from edgeexport.hosts.checkpoint_causes import Misfit, likely_cause

__all__ = ["load_network_weights", "load_weights", "state_dict_from_file"]

# Keys that training leaves behind and inference does not use.
_UNUSED_PARTS = ("loss_decode.", "num_batches_tracked")
_SHOWN = 4
_SAVE_TENSORS = "keep only the tensors: torch.save({'state_dict': model.state_dict()}, path), or use .safetensors"
# In messages of torch's unpickler that meets anything but tensors and plain containers.
_REFUSALS = ("nsupported global", "nsupported GLOBAL", "reduce for unrecognized", "Can only create", "Can only build")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how the files of torch.save begin, since 1.6 and before


class _TrainingState:
    """Takes the place of what training leaves beside the weights: made of nothing, keeps nothing, runs nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# mmengine's checkpoints hold its message hub (histories of the losses, as numpy arrays), older ones numpy scalars; those of
# timm's and DeiT's training scripts their arguments.
_TRAINING_STATE = [
    (_TrainingState, f"{module}.{name}")
    for module, names in {
        "mmengine.logging.history_buffer": ("HistoryBuffer",),
        "argparse": ("Namespace",),
        "builtins": ("getattr",),  # the histories refer to their class's methods by it
        "numpy": ("dtype", "ndarray"),
        "numpy.core.multiarray": ("_reconstruct", "scalar"),
        "numpy._core.multiarray": ("_reconstruct", "scalar"),
    }.items()
    for name in names
]


def state_dict_from_file(path: Path) -> dict[str, Tensor]:
    """Reads `.safetensors`, or `.pth` in mmengine's and timm's layout (``state_dict`` inside), in DeiT's and MAE's
    (``model`` inside), or bare.

    Pickles are read with ``weights_only=True``: tensors and plain containers, never code. What mmengine
    and timm save of the training beside the weights is skipped.

    Raises:
        CheckpointError: Missing, truncated, not a checkpoint, or a pickle that would execute code.
    """
    if not path.is_file():
        raise CheckpointError(str(path), "no such checkpoint file", "give the path of a .pth or .safetensors file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(str(path), f"damaged safetensors file ({error})", "copy or export it again") from None
    content = _unpickled(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        problem = f"holds {'an empty' if isinstance(content, Mapping) else 'a'} {type(content).__name__}"
        raise CheckpointError(str(path), f"{problem}, expected a state dict", _SAVE_TENSORS)
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(content)[:_SHOWN]))
        raise CheckpointError(str(path), f"holds no tensors (keys: {keys}), expected a state dict", _SAVE_TENSORS)
    return tensors


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str, *, optional: tuple[str, ...] = ()) -> None:
    """Copies ``state`` into ``model``, requiring every weight that inference uses.

    Args:
        model: Receives the weights, as float32.
        state: Key -> tensor; training leftovers (`loss_decode.*`) are ignored, a ``module.`` prefix is dropped.
        source: Named in messages.
        optional: Prefixes that may be missing from ``state`` or be present in it without a place in the model.

    Raises:
        CheckpointError: Missing or unexpected keys or other shapes; lists the first few of each and the likely cause.
    """
    given = {key.removeprefix("module."): value for key, value in state.items()}
    wanted = model.state_dict()
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
    """Loads a network from its own file, whose keys may begin with ``prefix``. Raises as `load_weights` does."""
    state = state_dict_from_file(path)
    load_weights(network, {key.removeprefix(prefix): value for key, value in state.items()}, str(path))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _is_unused(key: str) -> bool:
    return any(part in key for part in _UNUSED_PARTS)


def _unpickled(path: Path) -> object:
    """What torch.save wrote, without executing code."""
    with path.open("rb") as stream:
        start = stream.read(8)
    if not start.startswith((_ZIP, _PICKLE)):
        beginning = f"begins with {start!r}" if start else "is empty"
        raise CheckpointError(
            str(path), f"{beginning}, which is no checkpoint of torch.save", "give a .pth or .safetensors file"
        )
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_TRAINING_STATE)):
            warnings.simplefilter("ignore")  # about pickle protocols, before the error that says it better
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise whatever the misread instruction happens to raise
        text = str(error)
        refused = next((line for line in text.splitlines() if any(sign in line for sign in _REFUSALS)), None)
        if refused is not None:
            reason = refused.strip().split(" was not an allowed global")[0][:160]
            problem = f"its pickle would execute code, which edgeexport never allows ({reason})"
            raise CheckpointError(str(path), problem, _SAVE_TENSORS) from None
        first = (text.rpartition("WeightsUnpickler error:")[2].strip().splitlines() or ["no detail"])[0]
        detail = f"{type(error).__name__}: {first}"[:160]
        raise CheckpointError(
            str(path), f"damaged, or not a checkpoint of torch.save ({detail})", "copy or save it again"
        ) from None
