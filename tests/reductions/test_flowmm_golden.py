"""FlowMM on one layer against the golden data, through the loops, the fixed form and its ops in ONNX Runtime."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from cache_cases import kept_by_onnx_bodies
from shared_cases import golden_case, golden_folder

from edgeexport.reductions import CACHE_REDUCTIONS
from edgeexport.reductions.flowmm_published import published_cache
from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import CacheFacts, KeptCache, PromptLayer, proxy_importance

LAYERS = ["flowmm_layer", "flowmm_layer_padded", "flowmm_layer_ties"]


def cases() -> list[tuple[str, str]]:
    """Every case of every folder, as the folder's config lists them; a placeholder where the data are absent."""
    found = []
    for name in LAYERS:
        config = golden_folder() / name / "config.json"
        listed = json.loads(config.read_text())["cases"] if config.is_file() else {"": None}
        found += [(name, case) for case in listed]
    return found


def spec_of(entry: dict[str, Any], kv_heads: int) -> FlowMMSpec:
    protect = entry.get("protect")
    return FlowMMSpec(
        budget=entry["budget"],
        theta=entry["theta"],
        flow=None,
        tau=entry.get("tau"),
        protect=None if protect is None else ((protect,) * kv_heads,),
        proxies=entry["proxies"],
        keep_recent=entry.get("keep_recent", 0),
        merge=entry.get("merge", "kv"),
    )


def layer_of(arrays: dict[str, Any], row: slice = slice(None)) -> PromptLayer:
    query, key, value = (torch.from_numpy(arrays[name][row]) for name in ("query", "key", "value"))
    modality, valid = (torch.from_numpy(arrays[name][row].astype(np.int32)) for name in ("modality", "valid"))
    return PromptLayer(query, key, value, modality, valid)


def assert_kept(kept: KeptCache, arrays: dict[str, Any], case: str, row: slice = slice(None)) -> None:
    for name in ("pivot", "target", "count"):
        np.testing.assert_array_equal(getattr(kept, name).numpy(), arrays[f"{case}_{name}"][row], err_msg=name)
    for name in ("key", "value"):
        np.testing.assert_allclose(getattr(kept, name).numpy(), arrays[f"{case}_{name}"][row], atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("name", "case"), cases())
def test_flowmm_adaptive_is_the_golden_layer(name: str, case: str) -> None:
    golden = golden_case(name)
    layer = layer_of(golden.arrays)
    found = published_cache(layer, spec_of(golden.config["cases"][case], layer.key.shape[1]), 0)
    assert_kept(found.kept, golden.arrays, case)
    np.testing.assert_allclose(found.rho, golden.arrays[f"{case}_rho"], atol=1e-5)
    np.testing.assert_allclose(found.importance, golden.arrays[f"{case}_importance"], atol=1e-5)


@pytest.mark.parametrize(("name", "case"), cases())
def test_flowmm_fixed_and_its_ops_are_the_golden_layer(name: str, case: str) -> None:
    """With flow and protect as theta and tau decide, the fixed form keeps the same, in torch and in ONNX Runtime."""
    golden = golden_case(name)
    entry = golden.config["cases"][case]
    for b in range(golden.arrays["valid"].shape[0]):
        row = slice(b, b + 1)
        layer = layer_of(golden.arrays, row)
        heads, length = layer.key.shape[1], layer.key.shape[2]
        facts = CacheFacts(1, layer.query.shape[1], heads, layer.key.shape[3], length, visual=True)
        spec = spec_of(entry, heads)
        pivot, importance = golden.arrays[f"{case}_pivot"][b], golden.arrays[f"{case}_importance"][b]
        protect = spec.protect or (
            tuple(int((importance[h][pivot[h][pivot[h] >= 0]] > spec.tau).sum()) for h in range(heads)),
        )
        constants = (bool(golden.arrays[f"{case}_rho"][b] > spec.theta),), protect
        fixed = FlowMMSpec(
            spec.budget, None, constants[0], None, constants[1], spec.proxies, spec.keep_recent, spec.merge
        )
        step = CACHE_REDUCTIONS["flowmm"].step(fixed, facts, 0)
        found = step(layer)
        assert_kept(found, golden.arrays, case, row)
        seen = proxy_importance(layer.query[:, :, -spec.proxies :], layer.key, layer.valid)
        np.testing.assert_allclose(seen.numpy(), golden.arrays[f"{case}_importance"][row], atol=1e-5)
        assert_kept(kept_by_onnx_bodies(layer, seen, fixed), golden.arrays, case, row)
