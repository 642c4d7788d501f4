"""CacheMatch and CacheMerge: torch, the ONNX bodies, and plain loops agree; ties go to the lowest index."""

from __future__ import annotations

import numpy as np
import torch
from cache_cases import kept_by_onnx_bodies, match_by_onnx_body
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexport.ops.cache_match import cache_match_reference
from edgeexport.ops.cache_merge import cache_merge_reference
from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import PromptLayer


def brute_force(
    key: np.ndarray, importance: np.ndarray, modality: np.ndarray, valid: np.ndarray, *, budget: int, cross: bool,
    protect: int, keep_recent: int, absorb: bool,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """One KV head of one prompt, in loops."""
    places = [place for place in range(len(valid)) if valid[place]]
    forced = places[len(places) - min(keep_recent, len(places)) :]
    rest = sorted((p for p in places if p not in forced), key=lambda p: (-importance[p], p))
    pivots = sorted(forced + rest[: budget - len(forced)])
    ranked = sorted(pivots, key=lambda p: (-importance[p], p))
    is_open = [absorb and p not in ranked[:protect] for p in pivots]
    norm = np.maximum(np.sqrt((key * key).sum(1, dtype=np.float32)), np.float32(1e-12))
    unit = key / norm[:, None]
    target = [-1] * len(valid)
    for place in places:
        if place in pivots:
            target[place] = pivots.index(place)
            continue
        best, slot = -2.0, -1
        for s, p in enumerate(pivots):
            if is_open[s] and (cross or modality[p] == modality[place]):
                cosine = float(unit[p] @ unit[place])
                if cosine > best + 1e-6:
                    best, slot = cosine, s
        target[place] = slot
    return pivots + [-1] * (budget - len(pivots)), target


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    length = draw(st.integers(2, 12))
    budget = draw(st.integers(1, length))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)  # equal keys and equal cosines are common
    padding = draw(st.integers(0, length - 1))
    valid = (np.arange(length) >= padding).astype(np.int32)
    tensors = {
        "key": axes[rng.integers(0, 8, (1, 2, length))],
        "importance": rng.integers(0, 4, (1, 2, length)).astype(np.float32),
        "modality": rng.integers(0, 2, (1, length)).astype(np.int32),
        "valid": valid[None],
    }
    settled = {
        "budget": budget,
        "cross": draw(st.integers(0, 1)),
        "protect": draw(st.integers(0, budget)),
        "keep_recent": draw(st.integers(0, budget)),
        "absorb": draw(st.integers(0, 1)),
    }
    return {name: torch.from_numpy(value) for name, value in tensors.items()}, settled


@settings(max_examples=60, deadline=None)
@given(cases())
def test_cache_match_is_the_brute_force_in_torch_and_onnx(case: tuple[dict[str, torch.Tensor], dict[str, int]]) -> None:
    inputs, settled = case
    arguments = {
        "budget": settled["budget"],
        "cross": bool(settled["cross"]),
        "protect": [settled["protect"]] * 2,
        "keep_recent": settled["keep_recent"],
        "absorb": bool(settled["absorb"]),
    }
    found = cache_match_reference(*inputs.values(), **arguments)
    by_onnx = match_by_onnx_body(inputs, **{**settled, "protect": [settled["protect"]] * 2})
    for mine, theirs in zip(found, by_onnx, strict=True):
        assert torch.equal(mine, theirs)
    plain = {name: value.numpy()[0] for name, value in inputs.items()}
    for head in range(2):
        pivot, target = brute_force(
            plain["key"][head], plain["importance"][head], plain["modality"], plain["valid"],
            budget=settled["budget"], cross=bool(settled["cross"]), protect=settled["protect"],
            keep_recent=settled["keep_recent"], absorb=bool(settled["absorb"]),
        )  # fmt: skip
        assert found[0][0, head].tolist() == pivot
        assert found[1][0, head].tolist() == target


@settings(max_examples=30, deadline=None)
@given(cases())
def test_cache_merge_is_the_mean_of_what_went_to_a_slot(case: tuple[dict[str, torch.Tensor], dict[str, int]]) -> None:
    inputs, settled = case
    layer = PromptLayer(inputs["key"], inputs["key"], inputs["key"] * 2 + 1, inputs["modality"], inputs["valid"])
    spec = FlowMMSpec(
        settled["budget"], None, (bool(settled["cross"]),), None, ((settled["protect"],) * 2,), 1,
        settled["keep_recent"], "kv",
    )  # fmt: skip
    kept = kept_by_onnx_bodies(layer, inputs["importance"], spec)
    key, value, count = cache_merge_reference(layer.key, layer.value, kept.pivot, kept.target)
    torch.testing.assert_close(kept.key, key)
    torch.testing.assert_close(kept.value, value)
    assert torch.equal(kept.count, count)
    for head in range(2):
        for slot in range(settled["budget"]):
            members = np.flatnonzero(kept.target[0, head].numpy() == slot)
            assert int(count[0, head, slot]) == len(members)
            mean = layer.value[0, head][members].mean(0) if len(members) else torch.zeros(4)
            torch.testing.assert_close(value[0, head, slot], mean)


def test_only_the_key_of_a_pivot_stays_where_values_alone_are_averaged() -> None:
    key = torch.arange(12.0).reshape(1, 1, 4, 3)
    pivot, target = torch.tensor([[[1, 3]]], dtype=torch.int32), torch.tensor([[[0, 0, 0, 1]]], dtype=torch.int32)
    merged, value, count = cache_merge_reference(key, key, pivot, target, average_keys=False)
    assert merged[0, 0].tolist() == key[0, 0, [1, 3]].tolist()
    assert value[0, 0, 0].tolist() == [3.0, 4.0, 5.0] and count[0, 0].tolist() == [3, 1]
