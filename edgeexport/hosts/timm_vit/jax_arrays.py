"""The arrays of the original ViT (and AugReg, DeiT-like) as Google publishes them in .npz files, under timm's keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from edgeexport.errors import CheckpointError

__all__ = ["is_jax", "state_from_jax"]

_ANCHOR = "embedding/kernel"
_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.+)")
_OUTSIDE = {
    "embedding/kernel": "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "cls": "cls_token",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "pos_embedding": "pos_embed",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
    "head/kernel": "head.weight",
    "head/bias": "head.bias",
}
_IN_BLOCK = {
    f"{jax}/{leaf}": f"{ours}.{'bias' if leaf == 'bias' else 'weight'}"
    for jaxes, ours, leaves in (
        (("LayerNorm_0",), "norm1", ("scale", "bias")),
        (("LayerNorm_1", "LayerNorm_2"), "norm2", ("scale", "bias")),
        (("MlpBlock_0/Dense_0", "MlpBlock_3/Dense_0"), "mlp.fc1", ("kernel", "bias")),
        (("MlpBlock_0/Dense_1", "MlpBlock_3/Dense_1"), "mlp.fc2", ("kernel", "bias")),
    )
    for jax in jaxes
    for leaf in leaves
}
_ATTENTION = re.compile(r"MultiHeadDotProductAttention_[01]/(query|key|value|out)/(kernel|bias)")


def is_jax(state: Mapping[str, Tensor]) -> bool:
    """Whether these are arrays of a ViT in Google's names."""
    return any(key == _ANCHOR or key.endswith(f"/{_ANCHOR}") for key in state)


def state_from_jax(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Renames and turns: kernels are (in, out), those of attention (in, heads, width) and (heads, width, out).

    Raises:
        CheckpointError: The blocks are stacked into one array per weight, or arrays are not of a ViT's number of axes.
    """
    root = next(key.removesuffix(_ANCHOR) for key in state if key == _ANCHOR or key.endswith(f"/{_ANCHOR}"))
    own = {key.removeprefix(root): value for key, value in state.items() if key.startswith(root)}
    if any(key.startswith("Transformer/encoderblock/") for key in own):
        problem = "holds all blocks of a ViT stacked in one array per weight (big_vision with scan)"
        raise CheckpointError(source, problem, "give a .safetensors file of it")
    result: dict[str, Tensor] = {}
    joined: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, value in own.items():
        block = _BLOCK.fullmatch(key)
        if block is None:
            if not key.startswith("pre_logits/"):  # not used since, and dropped by timm as well
                result[_OUTSIDE.get(key, key)] = _turned(value) if key.endswith("kernel") else _batched(key, value)
        elif (attention := _ATTENTION.fullmatch(block[2])) is not None:
            joined.setdefault((block[1], attention[2]), {})[attention[1]] = value
        else:
            name = _IN_BLOCK.get(block[2])
            turned = _turned(value) if block[2].endswith("kernel") else value
            result[key if name is None else f"blocks.{block[1]}.{name}"] = turned
    for (number, leaf), parts in joined.items():
        result |= {f"blocks.{number}.attn.{key}": value for key, value in _attention(leaf, parts)}
    return result


def _attention(leaf: str, parts: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    name = "bias" if leaf == "bias" else "weight"
    found = []
    if {"query", "key", "value"} <= parts.keys():
        each = [parts[part] for part in ("query", "key", "value")]
        flat = [part.flatten() if leaf == "bias" else part.flatten(1).T for part in each]
        found.append((f"qkv.{name}", torch.cat(flat)))
    if "out" in parts:
        out = parts["out"]
        found.append((f"proj.{name}", out if leaf == "bias" else out.flatten(0, -2).T))
    return found


def _turned(kernel: Tensor) -> Tensor:
    """(in, out) -> (out, in); of a convolution (H, W, in, out) -> (out, in, H, W)."""
    return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.transpose(0, 1)


def _batched(key: str, value: Tensor) -> Tensor:
    return value[None] if key == "pos_embedding" and value.ndim == 2 else value
