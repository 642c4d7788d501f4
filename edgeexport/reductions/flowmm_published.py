"""FlowMM as the paper states it, prompt by prompt and head by head, in loops: what the fixed form is compared with.

Source: FlowMM (arXiv 2511.05534), equations 6 to 10. The paper leaves open how an open pivot takes tokens up, and what
happens to rotary embedding; here keys are merged as cached, without turning them back, and the merge is a plain mean.
Slots of too short a prompt stay empty, with count 0. No code of the method is public.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import KeptCache, PromptLayer, prompt_attention

__all__ = ["PublishedCache", "cache_by_attention", "flow_ratio", "published_cache"]


@dataclass(frozen=True)
class PublishedCache:
    """What is kept, and what the decisions went by.

    Attributes:
        kept: See `KeptCache`.
        rho: float64 (B,), the flow ratio; NaN where ``flow`` decides and only the proxies' queries are there.
        importance: float64 (B, Hkv, L).
        lead: float64 (B, Hkv, L), by how much the best cosine of a matched token leads its second; infinite elsewhere.
    """

    kept: KeptCache
    rho: NDArray
    importance: NDArray
    lead: NDArray


def flow_ratio(weights: NDArray, modality: NDArray, valid: NDArray) -> float:
    """Equations 6 and 7: the share of a prompt's attention that runs between tokens of different modality, mean over heads.

    Args:
        weights: (heads, L, L), rows of queries; rows and columns of padding are left out.
        modality, valid: (L,).
    """
    present = valid > 0
    between = (modality[:, None] != modality[None]) & present[:, None] & present[None]
    within = present[:, None] & present[None]
    return float(np.mean([(head * between).sum() / (head * within).sum() for head in weights]))


def published_cache(layer: PromptLayer, spec: FlowMMSpec, number: int) -> PublishedCache:
    """Shrinks the cache of layer ``number`` (from 0), whose queries are all L places' unless constants decide.

    Cosine, importance and rho are float64.
    """
    weights = prompt_attention(layer.query.double(), layer.key.double(), layer.valid)
    return cache_by_attention(weights, layer, spec, number)


def cache_by_attention(attention: Tensor, layer: PromptLayer, spec: FlowMMSpec, number: int) -> PublishedCache:
    """The same by attention that another execution computed: (B, Hkv, G, n, L), of the last n places; queries are not read."""
    weights = attention.double().numpy()
    batch, heads, length, size = layer.key.shape
    key, value = layer.key.double().numpy(), layer.value.double().numpy()
    modality, valid = layer.modality.numpy(), layer.valid.numpy() > 0
    places_seen = weights.shape[3]
    whole = places_seen == length
    rho = np.full(batch, np.nan)
    importance = np.zeros((batch, heads, length))
    lead = np.full((batch, heads, length), np.inf)
    pivot = np.full((batch, heads, spec.budget), -1, np.int32)
    target = np.full((batch, heads, length), -1, np.int32)
    count = np.zeros((batch, heads, spec.budget), np.int32)
    kept_key, kept_value = (np.zeros((batch, heads, spec.budget, size)) for _ in range(2))
    for b in range(batch):
        if whole:
            rho[b] = flow_ratio(weights[b].reshape(-1, length, length), modality[b], valid[b])
        cross = _crosses(spec, number, rho[b])
        proxies = [place for place in range(length) if valid[b, place]][-spec.proxies :]
        rows = [place - length + places_seen for place in proxies]
        for h in range(heads):
            importance[b, h] = weights[b, h][:, rows].sum(axis=(0, 1))
            chosen = _pivots(importance[b, h], valid[b], spec)
            slots: list[list[int]] = [[place] for place in chosen]
            is_open = _open(importance[b, h], chosen, spec, number, h)
            unit = key[b, h] / np.maximum(np.linalg.norm(key[b, h], axis=1, keepdims=True), 1e-12)
            allowed = {  # slots that a token of each modality may go to
                int(kind): [s for s, p in enumerate(chosen) if is_open[s] and (cross or modality[b, p] == kind)]
                for kind in np.unique(modality[b])
            }
            pivots = {kind: unit[[chosen[s] for s in slots_of_kind]] for kind, slots_of_kind in allowed.items()}
            has_slot = set(chosen)
            for place in range(length):
                if not valid[b, place] or place in has_slot or spec.merge == "evict":
                    continue
                among = allowed[int(modality[b, place])]
                if not among:
                    continue
                cosine = pivots[int(modality[b, place])] @ unit[place]
                best = int(np.argmax(cosine))
                lead[b, h, place] = np.inf if len(among) == 1 else cosine[best] - np.partition(cosine, -2)[-2]
                slots[among[best]].append(place)
            for s, members in enumerate(slots):
                pivot[b, h, s], count[b, h, s] = chosen[s], len(members)
                target[b, h, members] = s
                kept_key[b, h, s] = key[b, h, chosen[s]] if spec.merge == "v" else key[b, h, members].mean(axis=0)
                kept_value[b, h, s] = value[b, h, members].mean(axis=0)
    tensors = (torch.from_numpy(array) for array in (pivot, target, count))
    kept = KeptCache(torch.from_numpy(kept_key).float(), torch.from_numpy(kept_value).float(), *tensors)
    return PublishedCache(kept, rho, importance, lead)


def _crosses(spec: FlowMMSpec, number: int, rho: float) -> bool:
    if spec.flow is not None:
        return spec.flow[number]
    return spec.theta is not None and bool(rho > spec.theta)


def _pivots(importance: NDArray, valid: NDArray, spec: FlowMMSpec) -> list[int]:
    """Positions, ascending: those that are forced, then the most important, the lowest position first among equals."""
    places = [place for place in range(len(valid)) if valid[place]]
    forced = places[len(places) - spec.keep_recent :] if spec.keep_recent else []
    others = sorted((p for p in places if p not in forced), key=lambda p: (-importance[p], p))
    return sorted([*forced, *others[: max(spec.budget - len(forced), 0)]])


def _open(importance: NDArray, chosen: list[int], spec: FlowMMSpec, number: int, head: int) -> list[bool]:
    """Which slots may absorb."""
    if spec.protect is None:
        return [spec.tau is None or bool(importance[place] <= spec.tau) for place in chosen]
    order = sorted(range(len(chosen)), key=lambda s: (-importance[chosen[s]], chosen[s]))
    closed = set(order[: spec.protect[number][head]])
    return [s not in closed for s in range(len(chosen))]
