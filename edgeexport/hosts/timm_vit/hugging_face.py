"""Weights under the key names of Hugging Face transformers, renamed: ViT, DeiT, DINOv2, DINOv3, SigLIP, CLIP's image encoder.

What comes out has the names of the models' first publication, which timm's own loader takes: Meta's for DINOv2 and DINOv3,
timm's for the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edgeexport.documents.hugging_face import HuggingFaceConfig
from edgeexport.errors import CheckpointError
from edgeexport.hosts.timm_vit.branches import mlp_branches

__all__ = ["check_activation", "hugging_face_root", "state_from_hugging_face"]

_PATCHES = r"embeddings\.patch_embeddings?\.(?:projection\.)?"
_ANCHOR = re.compile(rf"((?:[a-z0-9_]+\.)*?)(?:{_PATCHES}weight|embeddings\.cls_token)")
_BLOCK = re.compile(r"(?:model\.)?(?:encoder\.)?layers?\.(\d+)\.(.+)\.(weight|bias|lambda1)")
_HEADS = {"classifier": "head", "cls_classifier": "head", "distillation_classifier": "head_dist"}
_UNUSED = ("pooler.", "embeddings.position_ids")
_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.class_embedding": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.position_embedding.weight": "pos_embed",
    "head.probe": "attn_pool.latent",
}
_MODULES = {
    "layernorm": "norm",
    "norm": "norm",
    "post_layernorm": "norm",
    "pre_layrnorm": "norm_pre",  # spelt so
    "head.attention.out_proj": "attn_pool.proj",
    "head.layernorm": "attn_pool.norm",
    "head.mlp.fc1": "attn_pool.mlp.fc1",
    "head.mlp.fc2": "attn_pool.mlp.fc2",
}
_IN_BLOCK = {
    "layernorm_before": "norm1",
    "layer_norm1": "norm1",
    "norm1": "norm1",
    "layernorm_after": "norm2",
    "layer_norm2": "norm2",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "self_attn.out_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.w12",
    "mlp.weights_out": "mlp.w3",
    "layer_scale1": "ls1",
    "layer_scale2": "ls2",
}
_JOINED = {
    f"{attention}.{name}": part
    for attention in ("attention.attention", "attention", "self_attn")
    for names, part in ((("query", "q_proj"), "q"), (("key", "k_proj"), "k"), (("value", "v_proj"), "v"))
    for name in names
}
_GATED = {"mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down"}
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "relu": "relu",
}
"""transformers' name -> timm's."""
_UNSTATED = {"siglip": "gelu_pytorch_tanh", "clip": "quick_gelu"}  # transformers' defaults, which its files leave out
_COMPUTED = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "GELUQuick": "quick_gelu", "QuickGELU": "quick_gelu"}


def hugging_face_root(state: Mapping[str, Tensor]) -> str | None:
    """What stands ahead of an image encoder's keys ('vit.', 'vision_model.', ''); None for other key names."""
    return next((match[1] for key in state if (match := _ANCHOR.fullmatch(key)) is not None), None)


def state_from_hugging_face(state: Mapping[str, Tensor], root: str) -> dict[str, Tensor]:
    """Renames; keys that are not known stay as they are. ``root`` is what `hugging_face_root` found."""
    own = {key.removeprefix(root): value for key, value in state.items() if key.startswith(root)}
    result: dict[str, Tensor] = {}
    blocks: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, value in own.items():
        block = _BLOCK.fullmatch(key)
        if block is None:
            result |= _outside(key, value, own)
            continue
        number, module, leaf = block.groups()
        if module in _IN_BLOCK:
            result[f"blocks.{number}.{_IN_BLOCK[module]}.{'gamma' if leaf == 'lambda1' else leaf}"] = value
        elif (part := _JOINED.get(module) or _GATED.get(module)) is not None:
            blocks.setdefault((number, leaf), {})[part] = value
        else:
            result[key] = value
    for (number, leaf), parts in blocks.items():
        result |= {f"blocks.{number}.{key}.{leaf}": value for key, value in _joined(parts, "storage_tokens" in result)}
    return result | _heads(state)


def check_activation(config: HuggingFaceConfig | None, model: Any, source: str) -> None:
    """Refuses a model whose activation is not that of the checkpoint's config.json.

    Raises:
        CheckpointError: See above.
    """
    act = getattr(mlp_branches(model.blocks[0])[0].layer, "act", None)
    if config is None or act is None:
        return
    stated = {**config, **(config.get("vision_config") or {})}
    kind = str(stated.get("model_type"))
    name = stated.get("hidden_act") or next((name for part, name in _UNSTATED.items() if part in kind), "gelu")
    wanted, found = _ACTIVATIONS.get(str(name)), _COMPUTED.get(type(act).__name__, type(act).__name__.lower())
    if getattr(act, "approximate", "none") == "tanh":
        found = "gelu_tanh"
    gated = found == "silu" and kind.startswith("dinov2")  # its gated MLP has it, whatever is stated
    if wanted is not None and wanted != found and not gated:
        problem = f"its config.json says hidden_act '{name}', and the model computes {found}"
        raise CheckpointError(source, problem, f"set model.act_layer='{wanted}', or choose another model.name")


def _outside(key: str, value: Tensor, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One key that belongs to no block."""
    if key in _OUTSIDE:
        return {_OUTSIDE[key]: value if key == "embeddings.mask_token" else value.reshape(1, -1, value.shape[-1])}
    if key == "embeddings.register_tokens":  # DINOv3 has no position embedding
        return {"register_tokens" if "embeddings.position_embeddings" in own else "storage_tokens": value}
    if match := re.fullmatch(rf"{_PATCHES}(weight|bias)", key):
        return {f"patch_embed.proj.{match[1]}": value}
    if match := re.fullmatch(r"head\.attention\.in_proj_(weight|bias)", key):
        width = value.shape[0] // 3
        return {f"attn_pool.q.{match[1]}": value[:width], f"attn_pool.kv.{match[1]}": value[width:]}
    module, _, leaf = key.rpartition(".")
    if module in _MODULES:
        return {f"{_MODULES[module]}.{leaf}": value}
    return {} if key.startswith(_UNUSED) or module in _HEADS else {key: value}


def _joined(parts: Mapping[str, Tensor], dinov3: bool) -> list[tuple[str, Tensor]]:
    """Projections that stand apart, as the published models have them: a missing bias of the keys is zero."""
    joined = []
    if "q" in parts and "v" in parts:
        key = parts.get("k", torch.zeros_like(parts["q"]))
        joined.append(("attn.qkv", torch.cat([parts["q"], key, parts["v"]])))
    if "gate" in parts and "up" in parts:
        apart = [("mlp.w1", parts["gate"]), ("mlp.w2", parts["up"])]
        joined += apart if dinov3 else [("mlp.w12", torch.cat([parts["gate"], parts["up"]]))]
        joined += [("mlp.w3", parts["down"])] if "down" in parts else []
    else:
        joined += [(name, parts[part]) for part, name in (("up", "mlp.fc1"), ("down", "mlp.fc2")) if part in parts]
    return joined


def _heads(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Classifiers, and CLIP's projection into its embedding, which has no bias."""
    found = {
        f"{name}.{leaf}": state[f"{module}.{leaf}"]
        for module, name in _HEADS.items()
        for leaf in ("weight", "bias")
        if f"{module}.{leaf}" in state
    }
    projection = state.get("visual_projection.weight")
    if projection is not None:
        found |= {"head.weight": projection, "head.bias": torch.zeros(projection.shape[0])}
    return found
