"""Checkpoints of timm's ViTs under others' key names, and position embeddings of another image size."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgeexport.errors import CheckpointError
from edgeexport.hosts.checkpoint import unwrapped
from edgeexport.hosts.checkpoint_file import Checkpoint
from edgeexport.hosts.timm_vit.hugging_face import check_activation, hugging_face_root, state_from_hugging_face
from edgeexport.hosts.timm_vit.jax_arrays import is_jax, state_from_jax
from edgeexport.hosts.timm_vit.spec import TimmVitSpec

__all__ = ["timm_weights"]

_EMBEDDING = "patch_embed.proj.weight"
_LEFT_OUT = {"head.": "classifier", "head_dist.": "second classifier"}  # where the model has none
_BILINEAR = ("flexi", "radio")  # in names of models whose embeddings timm resamples bilinearly, without antialiasing


def timm_weights(
    model: nn.Module, spec: TimmVitSpec, checkpoint: Checkpoint, source: str
) -> tuple[dict[str, Tensor], str]:
    """A checkpoint's weights under timm's keys, position embeddings at the model's size; and what was done, for people.

    Hugging Face's and Google's names are translated here; Meta's (DINOv2, DINOv3, PE), OpenAI's and others' by timm's own
    loader, which also resamples position embeddings.

    Raises:
        CheckpointError: The weights are of another activation, or have biases that the model lacks.
    """
    state, done = checkpoint.state, []
    root = hugging_face_root(state)
    try:
        if is_jax(state):
            state = state_from_jax(state, source)
            done.append("arrays of the original ViT")
        elif root is not None:
            check_activation(checkpoint.config, model, source)
            state = state_from_hugging_face(state, root)
            done.append("key names of Hugging Face transformers")
        else:
            state = unwrapped(state, model.state_dict().keys())
    except (IndexError, RuntimeError, TypeError, ValueError) as error:  # whatever tensors of odd shapes make torch say
        problem = f"has the keys of a ViT, but not its tensors ({' '.join(str(error).split())[:160]})"
        raise CheckpointError(source, problem, "copy or export it again") from None
    if not _same_patches(model, state):
        return state, "; ".join(done)
    _check_biases(model, state, source)
    given, state = state, _as_timm_loads(model, spec, state)
    resampled = _resampled(spec, given.get("pos_embed"), state.get("pos_embed"))
    done += [resampled] if resampled else []
    wanted = model.state_dict()
    for part, what in _LEFT_OUT.items():  # as timm's loader leaves them out
        unused = [key for key in state if key.startswith(part)]
        if unused and not any(key.startswith(part) for key in wanted):
            state = {key: value for key, value in state.items() if key not in unused}
            done.append(f"its {what} left out")
    return state, "; ".join(done)


def _same_patches(model: Any, state: Mapping[str, Tensor]) -> bool:
    """Whether patches are as large as the model's: timm's loader would resample their weights without a word."""
    wanted = model.patch_embed.proj.weight.shape[-2:] if hasattr(model.patch_embed, "proj") else None
    return all(value.shape[-2:] == wanted for key, value in state.items() if key.endswith(_EMBEDDING))


def _check_biases(model: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Refuses biases that timm's loader would drop, where they are not zero; those of keys change nothing.

    Raises:
        CheckpointError: See above.
    """
    attention = model.blocks[0].attn
    if "storage_tokens" not in state or getattr(attention, "q_bias", None) is not None:
        return
    biases = [value.chunk(3) for key, value in state.items() if key.endswith("attn.qkv.bias")]
    if any(bool(torch.any(query)) or bool(torch.any(value)) for query, _, value in biases):
        problem = "its queries and values have biases, and the model has none"
        raise CheckpointError(
            source, problem, "choose the model.name that ends with '_qkvb', or set model.qkv_bias=True"
        )


def _as_timm_loads(model: Any, spec: TimmVitSpec, state: dict[str, Tensor]) -> dict[str, Tensor]:
    from timm.models import eva, vision_transformer

    bilinear = any(part in (spec.name or "") for part in _BILINEAR)
    settings: dict[str, Any] = {
        "interpolation": "bilinear" if bilinear else "bicubic",
        "antialias": spec.antialias and not bilinear,
    }
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints which biases it leaves out
            if isinstance(model, eva.Eva):
                return eva.checkpoint_filter_fn(dict(state), model, **settings)
            return vision_transformer.checkpoint_filter_fn(dict(state), model, adapt_layer_scale=True, **settings)
    except Exception:  # whatever a tensor of another shape makes it stumble on: what does not fit is said later
        return state


def _resampled(spec: TimmVitSpec, before: Tensor | None, after: Tensor | None) -> str:
    """What was done to the position embedding; empty where nothing was."""
    patches = math.prod(spec.grid[-2:])
    if before is None or after is None or before.ndim != 3 or after.ndim != 3:
        return ""
    if before.shape[1] >= patches and torch.equal(before[:, -patches:], after[:, -patches:]):
        return ""
    side = math.isqrt(before.shape[1])
    how = "bilinear" if any(part in (spec.name or "") for part in _BILINEAR) else "bicubic"
    smooth = "antialiased" if spec.antialias and how == "bicubic" else "without antialiasing"
    rows, columns = spec.grid[-2:]
    return f"position embedding resampled from {side}x{side} to {rows}x{columns} patches, {how}, {smooth}"
