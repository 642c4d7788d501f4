"""The two ops on a decoder's cache, run from their ONNX bodies in ONNX Runtime."""

from __future__ import annotations

import torch
from ops.op_models import one_node_model, run_model
from torch import Tensor

from edgeexport.ops import cache_match, cache_merge
from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import KeptCache, PromptLayer

__all__ = ["kept_by_onnx_bodies", "match_by_onnx_body"]


def match_by_onnx_body(inputs: dict[str, Tensor], **attributes: int | list[int]) -> list[Tensor]:
    """Pivot and target of `CacheMatch`."""
    batch, heads, length = inputs["importance"].shape
    outputs = {"pivot": (6, (batch, heads, attributes["budget"])), "target": (6, (batch, heads, length))}
    return run_model(one_node_model(cache_match.onnx_function(), inputs, outputs, attributes), inputs)


def kept_by_onnx_bodies(layer: PromptLayer, importance: Tensor, spec: FlowMMSpec) -> KeptCache:
    """What the ops keep of a layer, by the constants of ``spec`` for layer 0."""
    assert spec.flow is not None and spec.protect is not None
    shared = {"importance": importance, "modality": layer.modality, "valid": layer.valid}
    pivot, target = match_by_onnx_body(
        {"key": layer.key, **shared},
        budget=spec.budget,
        cross=int(spec.flow[0]),
        protect=list(spec.protect[0]),
        keep_recent=spec.keep_recent,
        absorb=int(spec.merge != "evict"),
    )
    inputs = {"key": layer.key, "value": layer.value, "pivot": pivot, "target": target}
    kept = (*pivot.shape, layer.key.shape[3])
    outputs = {"merged_key": (1, kept), "merged_value": (1, kept), "count": (6, tuple(pivot.shape))}
    model = one_node_model(cache_merge.onnx_function(), inputs, outputs, {"average_keys": int(spec.merge == "kv")})
    key, value, count = run_model(model, inputs)
    return KeptCache(key, value, pivot.to(torch.int32), target, count)
