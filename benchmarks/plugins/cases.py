"""What is timed: per op and shape the kernel, the torch reference, and the least to be read, written and computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plugins.launchers import Launchers
from edgeexport.ops.match_tables import MatchLayout, tables_from_layout
from edgeexport.ops.token_match import token_match_reference
from edgeexport.ops.token_match_merge import token_match_merge_reference
from edgeexport.ops.token_merge import token_merge_reference
from edgeexport.ops.token_partition import token_partition_reference
from edgeexport.ops.token_protect_select import token_protect_select_reference
from edgeexport.ops.token_unmerge import token_unmerge_reference

__all__ = ["OPS", "Case"]


@dataclass(frozen=True)
class Case:
    """One op at one shape and element type.

    ``kernel`` and ``torch`` do the same; ``differing`` says how much of their results differs, as a share of elements.
    ``bytes`` counts every input and output once, ``flop`` the products and sums of similarities or blends (0: none).
    """

    shape: str
    kernel: Callable[[], object]
    torch: Callable[[], object]
    differing: Callable[[], float]
    bytes: int
    flop: int = 0


_LAYOUTS = {
    "SegViT-B 512, ToMe r=312": (MatchLayout("alternate", 1025, 1, 312), 768),
    "ViT-L r=8": (MatchLayout("alternate", 197, 1, 8), 1024),
    "DeiT-S r=13": (MatchLayout("alternate", 197, 1, 13), 384),
}
_HEAD = 64
"""Width of the metric: that of a head of all three models."""


def token_match_cases(launchers: Launchers, dtype: torch.dtype, batch: int) -> list[Case]:
    """Matching on the mean of the keys."""
    cases = []
    for name, (layout, _) in _LAYOUTS.items():
        tables = tables_from_layout(layout)
        metric = torch.randn(batch, layout.tokens, _HEAD, device="cuda").to(dtype)
        kernel = launchers.token_match(metric, tables)
        eager = _bound(token_match_reference, metric, tables)
        cases.append(
            Case(
                f"{name}, batch {batch}",
                kernel,
                eager,
                _differing(kernel, eager),
                metric.nbytes + 4 * batch * (2 * tables.R + tables.K),
                2 * batch * len(tables.sources) * len(tables.destinations) * _HEAD,
            )
        )
    return cases


def token_merge_cases(launchers: Launchers, dtype: torch.dtype, batch: int) -> list[Case]:
    """Size-weighted means of tokens that a random metric chose."""
    cases = []
    for name, (layout, width) in _LAYOUTS.items():
        tables = tables_from_layout(layout)
        matched = token_match_reference(torch.randn(batch, layout.tokens, _HEAD, device="cuda"), tables)
        x = torch.randn(batch, layout.tokens, width, device="cuda").to(dtype)
        size = torch.randint(1, 5, (batch, layout.tokens, 1), device="cuda").float()
        source, target, kept = (index.contiguous() for index in matched)
        kernel = launchers.token_merge(x, size, source, target, kept, tables)

        eager = _bound(_merged_in_float32, x, size, *matched, tables)
        bytes_out = batch * tables.tokens_out * (width * x.element_size() + 4)
        indices = 4 * batch * (2 * tables.R + tables.K)
        cases.append(
            Case(
                f"{name}, batch {batch}",
                kernel,
                eager,
                _differing(kernel, eager),
                x.nbytes + size.nbytes + indices + bytes_out,
            )
        )
    return cases


def token_match_merge_cases(launchers: Launchers, dtype: torch.dtype, batch: int) -> list[Case]:
    """Both, on the mean of random keys."""
    cases = []
    for name, (layout, width) in _LAYOUTS.items():
        tables = tables_from_layout(layout)
        metric = torch.randn(batch, width // _HEAD, layout.tokens, _HEAD, device="cuda").to(dtype)
        x = torch.randn(batch, layout.tokens, width, device="cuda")
        size = torch.randint(1, 5, (batch, layout.tokens, 1), device="cuda").float()
        kernel = launchers.token_match_merge(metric, x, size, tables)
        eager = _bound(token_match_merge_reference, metric, x, size, tables)
        each_row = width * x.element_size() + 4 + metric.element_size()
        bytes_out = batch * (tables.tokens_out * each_row + 4 * (2 * tables.R + tables.K))
        cases.append(
            Case(
                f"{name}, batch {batch}",
                kernel,
                eager,
                _differing(kernel, eager),
                metric.nbytes + x.nbytes + size.nbytes + bytes_out,
                2 * batch * len(tables.sources) * len(tables.destinations) * _HEAD,
            )
        )
    return cases


def token_unmerge_cases(launchers: Launchers, dtype: torch.dtype, batch: int) -> list[Case]:
    """Rows back to all tokens: 712 of SegViT's CTS, and what r leaves of the classifiers."""
    cases = []
    shapes = {"SegViT-B 512, 712": (712, 1024, 768), "ViT-L r=8": (189, 197, 1024), "DeiT-S r=13": (184, 197, 384)}
    for name, (tokens, rows, width) in shapes.items():
        x = torch.randn(batch, tokens, width, device="cuda").to(dtype)
        index = torch.randint(0, tokens, (batch, rows), device="cuda", dtype=torch.int32)
        index[:, :tokens] = torch.arange(tokens, device="cuda", dtype=torch.int32)  # every row is read
        kernel = launchers.token_unmerge(x, index)
        eager = _bound(token_unmerge_reference, x, index)
        written = batch * rows * width * x.element_size()
        cases.append(
            Case(f"{name}, batch {batch}", kernel, eager, _differing(kernel, eager), x.nbytes + index.nbytes + written)
        )
    return cases


def token_partition_cases(launchers: Launchers, dtype: torch.dtype, batch: int) -> list[Case]:
    """SegViT's DToP and CTS, and the most tokens that the op is made for."""
    cases = []
    shapes = {"SegViT-B 512, DToP": (712, 256), "SegViT-B 512, CTS": (256, 103), "16384 tokens": (16384, 8192)}
    for name, (tokens, k) in shapes.items():
        score = torch.randn(batch, tokens, device="cuda").to(dtype)
        kernel = launchers.token_partition(score, k)
        eager = _bound(token_partition_reference, score, k)
        cases.append(
            Case(f"{name}, batch {batch}", kernel, eager, _differing(kernel, eager), score.nbytes + 4 * batch * tokens)
        )
    return cases


def token_protect_select_cases(launchers: Launchers, dtype: torch.dtype, batch: int) -> list[Case]:
    """DToP's stages on SegViT-B 512 on ADE20K, dense and behind CTS."""
    cases = []
    for name, (tokens, k) in {"SegViT-B 512, DToP": (1024, 461), "SegViT-B 512, CTS + DToP": (712, 256)}.items():
        scores = torch.randn(batch, 150, tokens, device="cuda").softmax(dim=1).to(dtype)
        x, rows = (torch.randn(batch, tokens, width, device="cuda").to(dtype) for width in (768, 150))
        alive = torch.arange(tokens, dtype=torch.int32, device="cuda")[None, :, None].repeat(batch, 1, 1)
        kernel = launchers.token_protect_select(scores, x, rows, alive, k, 5)
        eager = _bound(token_protect_select_reference, scores, x, rows, alive, k, 5)
        moved = batch * (x.element_size() * (768 * (tokens - k) + 150 * k) + 4 * tokens)
        cases.append(
            Case(f"{name}, batch {batch}", kernel, eager, _differing(kernel, eager), scores.nbytes + 2 * moved)
        )
    return cases


def upsample_argmax_cases(launchers: Launchers, dtype: torch.dtype, batch: int) -> list[Case]:
    """SegViT-B 512 on ADE20K, against interpolation and argmax. Random scores are less certain than trained ones."""
    cases = []
    scores = torch.randn(batch, 150, 32, 32, device="cuda").softmax(dim=1).to(dtype)

    def eager() -> Tensor:
        return F.interpolate(scores, size=(512, 512), mode="bilinear", align_corners=False).argmax(dim=1).int()

    for candidates in (16, 150):
        kernel = launchers.upsample_argmax(scores, 512, 512, candidates)
        flop = 7 * batch * 512 * 512 * candidates
        traffic = scores.nbytes + 4 * batch * (512 * 512 + 1)
        shape = f"SegViT-B 512, {candidates} candidates, batch {batch}"
        cases.append(Case(shape, kernel, eager, _differing(_first(kernel), eager), traffic, flop))
    return cases


OPS: dict[str, Callable[[Launchers, torch.dtype, int], list[Case]]] = {
    "TokenMatch": token_match_cases,
    "TokenMatchMerge": token_match_merge_cases,
    "TokenMerge": token_merge_cases,
    "TokenUnmerge": token_unmerge_cases,
    "TokenPartition": token_partition_cases,
    "TokenProtectSelect": token_protect_select_cases,
    "UpsampleArgmax": upsample_argmax_cases,
}


def _merged_in_float32(x: Tensor, size: Tensor, *matched_and_tables: Any) -> tuple[Tensor, Tensor]:
    merged, merged_size = token_merge_reference(x.float(), size, *matched_and_tables)
    return merged.to(x.dtype), merged_size


def _first(results: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], Tensor]:
    return lambda: results()[0]


def _bound(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _differing(kernel: Callable[[], object], eager: Callable[[], object]) -> Callable[[], float]:
    """Share of elements that differ: indices at all, values by more than a rounding of their type."""

    def tensors(result: object) -> list[Tensor]:
        return [result] if isinstance(result, Tensor) else list(result)  # type: ignore[call-overload]

    def share() -> float:
        wrong = total = 0
        for ours, theirs in zip(tensors(kernel()), tensors(eager()), strict=True):
            if ours.is_floating_point():
                tolerance = 2e-3 if ours.dtype == torch.float16 else 1e-5
                wrong += int((~torch.isclose(ours.float(), theirs.float(), tolerance, tolerance)).sum())
            else:
                wrong += int((ours != theirs).sum())
            total += ours.numel()
        return wrong / max(total, 1)

    return share
