"""Checkpoints: reading a state dict without executing code, and fitting it to a model with messages a person can use."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeexport.errors import CheckpointError

__all__ = ["load_policy_weights", "load_weights", "state_dict_from_file"]

# Keys that training leaves behind and inference does not use.
_UNUSED_PARTS = ("loss_decode.", "num_batches_tracked")
_SHOWN = 4


def state_dict_from_file(path: Path) -> dict[str, Tensor]:
    """Reads `.safetensors`, or `.pth` in mmengine's layout (``state_dict`` inside) or bare.

    Pickles are read with ``weights_only=True``: tensors and plain containers, never code.

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
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        detail = str(error)
        if "Unsupported" in detail or "WeightsUnpickler" in detail or "weights_only" in detail.lower():
            raise CheckpointError(
                str(path),
                f"its pickle would execute code, which edgeexport never allows ({_first_reason(detail)})",
                "keep only the tensors: torch.save({'state_dict': model.state_dict()}, path), or use .safetensors",
            ) from None
        raise CheckpointError(str(path), f"damaged pickle ({_first_reason(detail)})", "copy it again") from None
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(
            str(path), f"damaged or not a torch checkpoint ({_first_reason(str(error))})", "copy it again"
        ) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(str(path), f"holds {type(content).__name__}, expected a state dict", "")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(str(path), f"holds no tensors (keys: {', '.join(map(str, list(content)[:_SHOWN]))})", "")
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
    wrong = [
        f"{key} {tuple(given[key].shape)} against {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    if missing or unexpected or wrong:
        parts = [
            f"{len(keys)} {kind}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
            for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
            if keys
        ]
        raise CheckpointError(source, "keys do not fit the model; " + "; ".join(parts), _likely_cause(missing, wrong, given))
    usable = {key: given[key].to(torch.float32) for key in wanted if key in given and not _is_unused(key)}
    not_finite = [key for key, value in usable.items() if not torch.isfinite(value).all()]
    if not_finite:
        raise CheckpointError(source, f"NaN or infinite values in {', '.join(not_finite[:_SHOWN])}", "")
    model.load_state_dict(usable, strict=False)


def load_policy_weights(policy: nn.Module, path: Path) -> None:
    """Loads a policy network from its own file (published keys, with or without a ``policy_net.`` prefix)."""
    state = state_dict_from_file(path)
    load_weights(policy, {key.removeprefix("policy_net."): value for key, value in state.items()}, str(path))


def _is_unused(key: str) -> bool:
    return any(part in key for part in _UNUSED_PARTS)


def _first_reason(text: str) -> str:
    """The part of torch's long messages that says what is wrong."""
    for line in text.splitlines():
        if "Unsupported" in line or "GLOBAL" in line:
            return line.strip().split(" was not an allowed global")[0][:160]
    return (text.strip().splitlines() or ["no detail"])[0][:160]


def _likely_cause(missing: list[str], wrong: list[str], given: Mapping[str, Tensor]) -> str:
    if missing and all(key.startswith("policy_net.") for key in missing):
        return "likely cause: no policy network in this checkpoint; set reduction.cts.policy_checkpoint"
    if any(key.startswith("blocks.") for key in given):
        return "likely cause: a timm checkpoint; convert its keys to mmseg's (backbone.layers.<i>...)"
    if missing and all(key.startswith("auxiliary_head.") for key in missing):
        return "likely cause: trained without DToP's auxiliary heads; remove model.auxiliary_head and reduction.dtop"
    if any(key.startswith("backbone.pos_embed") for key in wrong):
        return "likely cause: another training size; set model.backbone.img_size to the size it was trained at"
    if wrong:
        return "likely cause: another model size or number of classes than model states"
    return "likely cause: the model in the recipe is not the one that was trained"
