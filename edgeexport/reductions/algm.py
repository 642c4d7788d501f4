"""ALGM, adaptive local-then-global merging: windows whose tokens are alike merge early, alike tokens anywhere merge later.

Source: Norouzi et al., "ALGM: Adaptive Local-then-Global Token Merging for Efficient Semantic Segmentation with Plain Vision
Transformers" (CVPR 2024, arXiv 2406.09936), section 3, and where that leaves a choice, what its published code does:

- both steps act between attention and MLP, on the tokens after the attention's residual, which are also what is compared;
- local (block 1): a 2x2 window of patches merges into its mean when the mean cosine of its pairs is at least ``threshold``;
  afterwards [prefix | merged windows, the most alike first | other patches, ascending];
- global (block 5 of 12 there): even positions are matched with odd ones as in ToMe; those merge whose best cosine is at least
  the mean of all best cosines plus their standard deviation divided by the block's number. The first source (the class
  token) counts in neither. Means are weighted by size;
- attention is not weighted by sizes (the code hands them over and does not use them);
- merged tokens stay merged through the decoder, and masks are copied back to patches. On a SegViT, whose head reads features
  of several blocks, tokens are copied back ahead of the head.

The published code takes the least count of a batch; here every image has its own. The fixed form merges constant counts,
``windows`` and ``r``, of the most alike: what the published form does on an image where it arrives at these counts.
A distillation token, with which the published code does not run, is left out like the class token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.config.values import integer, mapping, number, pair
from edgeexport.ops.match_tables import MatchLayout, largest_r
from edgeexport.reductions.matching_macs import matching_macs
from edgeexport.reductions.merge_spec import MergeChange, MergeSpec, merge_change
from edgeexport.reductions.merge_steps import MergeBetween, merge_output_names
from edgeexport.reductions.merging_method import PublishedMerging
from edgeexport.reductions.published_merge import candidates_of
from edgeexport.reductions.reduction import Published, Reduction
from edgeexport.reductions.window_merge import (
    WindowLayout,
    merge_windows,
    ranked_windows,
    window_similarity,
    window_similarity_reference,
    windows_reference,
)
from edgeexport.tokens.changes import Change, Cut
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace

__all__ = ["Algm", "AlgmSpec", "WindowsChange"]

_KEYS = ("blocks", "r", "threshold", "windows")
_THRESHOLD = 0.88  # the published code's
_ALIKE = MergeSpec("algm", (), proportional_attention=False, metric="x")


@dataclass(frozen=True)
class AlgmSpec:
    """``windows`` 2x2 windows merge in the first of ``blocks``, ``r`` tokens in the second; ``threshold``: as published."""

    blocks: tuple[int, int]
    windows: int
    r: int
    threshold: float


@dataclass(frozen=True, kw_only=True)
class WindowsChange(Change):
    """``layout.merged`` windows of four tokens become one each."""

    layout: WindowLayout


@dataclass(frozen=True)
class _Similarities:
    """Evidence: the mean cosine of every window."""

    windows: Tensor

    def scores(self, near_tie: float) -> NDArray:
        return self.windows.numpy()

    def gaps(self) -> None:
        return None


class _MergeWindows(nn.Module):
    """The local step, (B, n, C) -> (B, n - 3 S, C)."""

    metric = "x"

    def __init__(self, change: WindowsChange) -> None:
        super().__init__()
        self.layout, self.name = change.layout, _decision(change)

    def forward(self, x: Tensor, metric: Tensor, trace: Trace) -> Tensor:
        similarity = window_similarity(metric, self.layout)
        chosen = trace.outputs[self.name] = ranked_windows(similarity, self.layout.merged)
        trace.keep(self.name, _Similarities(similarity))
        merged = merge_windows(x, trace.imposed.get(self.name, chosen), self.layout)
        trace.size, trace.origin = merged.size, merged.position
        trace.outputs |= {"source": trace.origin, "size": trace.size}
        return merged.x


class _PublishedAlgm(PublishedMerging):
    """One image in loops; ``adaptive``: counts by thresholds, else those of the changes."""

    def __init__(self, spec: AlgmSpec, changes: Sequence[Change], *, adaptive: bool) -> None:
        merges = [change for change in changes if isinstance(change, MergeChange)]
        super().__init__(_ALIKE, merges, described=True)
        self.cuts = {change.block: Cut.BETWEEN for change in changes if change.acts}
        self.threshold = spec.threshold if adaptive else None
        self.windows = {change.block: change for change in changes if isinstance(change, WindowsChange)}

    def between(self, number: int, x: Tensor, metric: Tensor | None, tokens: PublishedTokens) -> Tensor:
        if (change := self.windows.get(number)) is not None:
            return self._local(change, x[0], tokens)
        if self.threshold is not None:
            given = self.changes[number]
            assert metric is not None and given.layout is not None
            r = _adaptive_count(metric[0], given.layout.prefix, number)
            layout = MatchLayout("alternate", x.shape[1], given.layout.prefix, r)
            adapted = merge_change(number, Cut.BETWEEN, r, layout, x.shape[1])
            self.changes = {**self.changes, number: adapted}
        return super().between(number, x, metric, tokens)

    def _local(self, change: WindowsChange, x: Tensor, tokens: PublishedTokens) -> Tensor:
        layout = change.layout
        similarity = window_similarity_reference(x, layout)
        ranked = sorted(range(layout.windows), key=lambda window: (-similarity[window], window))
        if self.threshold is None:
            ranked = ranked[: layout.merged]
        else:
            ranked = [window for window in ranked if similarity[window] >= self.threshold]
        rows, tokens.size, place = windows_reference(x, ranked, layout)
        tokens.origin = [place[token] for token in tokens.origin]
        tokens.outputs[_decision(change)] = torch.tensor(ranked, dtype=torch.int32)
        tokens.scores[_decision(change)] = torch.tensor(similarity)
        tokens.outputs |= {"size": tokens.size[:, None], "source": torch.tensor(tokens.origin, dtype=torch.int32)}
        return rows[None]


class Algm(Reduction):
    """See `Reduction`."""

    key: ClassVar[str] = "algm"
    title: ClassVar[str] = "ALGM"
    scopes: ClassVar[Mapping[str, str]] = {"#": "merge_#"}

    def refuses(self, facts: HostFacts) -> str:
        """It merges for a prediction per patch."""
        return "" if facts.restores and not facts.why_no_sharing else "ALGM is for SegViT and Segmenter"

    def spec_from_config(self, value: object, place: Place, facts: HostFacts, tokens: int, folder: Path) -> AlgmSpec:
        """``dict(windows, r, blocks, threshold)``."""
        config = mapping(value, place, _KEYS)
        for key, example in (
            ("windows", "windows=96 (2x2 windows that merge)"),
            ("r", "r=128 (tokens that merge later)"),
        ):
            if key not in config:
                raise place.missing(key, example)
        middle = min(max(2, 5 * facts.depth // 12), facts.depth)  # block 5 of 12 as published
        at = place.at("blocks")
        local, later = pair(config.get("blocks", (1, middle)), at)
        if not 1 <= local < later <= facts.executed:
            problem = f"expected two blocks, the first before the second, of 1 to {facts.executed}"
            raise at.error(config.get("blocks", (1, middle)), problem, f"write blocks=(1, {middle})")
        threshold = number(config.get("threshold", _THRESHOLD), place.at("threshold"))
        if not -1 <= threshold <= 1:
            problem = "out of range: a cosine lies between -1 and 1"
            raise place.at("threshold").error(config.get("threshold"), problem)
        spec = AlgmSpec(
            blocks=(local, later),
            windows=integer(config["windows"], place.at("windows"), minimum=0),
            r=integer(config["r"], place.at("r"), minimum=0),
            threshold=threshold,
        )
        self.changes(spec, facts, tokens, place)
        return spec

    def resolved(self, given: Mapping[str, object], spec: AlgmSpec) -> dict[str, object]:
        """All of it."""
        return {"windows": spec.windows, "r": spec.r, "blocks": list(spec.blocks), "threshold": spec.threshold}

    def changes(self, spec: AlgmSpec, facts: HostFacts, tokens: int, place: Place) -> tuple[Change, ...]:
        """One per executed block: ``windows`` save three tokens each; ``r``, as far as half of the tokens allow."""
        local, later = spec.blocks
        changes: list[Change] = []
        for block in range(1, facts.executed + 1):
            if block == local and spec.windows:
                changes.append(_windows_change(spec, facts, tokens, place.at("windows")))
            elif block == later and spec.r:
                r = min(spec.r, largest_r("alternate", tokens, facts.prefix, 0))
                layout = MatchLayout("alternate", tokens, facts.prefix, r) if r else None
                changes.append(merge_change(block, Cut.BETWEEN, spec.r, layout, tokens))
            else:
                changes.append(merge_change(block, Cut.BETWEEN, 0, None, tokens))
            tokens = changes[-1].tokens_out
        return tuple(changes)

    def step(self, spec: AlgmSpec, facts: HostFacts, change: Any, network: nn.Module | None) -> nn.Module:
        """By what the change is."""
        return _MergeWindows(change) if isinstance(change, WindowsChange) else MergeBetween(_ALIKE, change)

    def published(
        self, spec: AlgmSpec, facts: HostFacts, changes: Sequence[Change], settings: Any, network: nn.Module | None
    ) -> Published:
        """With settings adaptive, else at the counts of the changes, of the most alike."""
        return _PublishedAlgm(spec, changes, adaptive=settings is not None)

    def own_settings(self, spec: AlgmSpec, facts: HostFacts) -> dict[int, float]:
        """The local block's threshold; the global one is the image's own."""
        return {spec.blocks[0]: spec.threshold}

    def output_names(self, spec: AlgmSpec, facts: HostFacts, change: Any) -> tuple[str, ...]:
        """Decisions; ``source`` int32 (B, N0), the final token of every first one, and ``size`` float32 (B, M, 1)."""
        return (*self.decisions(spec, change), "source", "size")

    def extra_outputs(self, spec: AlgmSpec, facts: HostFacts, changes: Sequence[Any]) -> tuple[str, ...]:
        """``source`` and ``size``."""
        return ("source", "size") if any(change.acts for change in changes) else ()

    def decisions(self, spec: AlgmSpec, change: Any) -> tuple[str, ...]:
        """``merged_windows_b``, int32 (B, S), the most alike first; and as for ToMe."""
        return (_decision(change),) if isinstance(change, WindowsChange) else merge_output_names(change.block)

    def matching_macs(self, spec: AlgmSpec, facts: HostFacts, change: Any) -> int:
        """Six pairs of a window; every even token with every odd one."""
        if isinstance(change, WindowsChange):
            return 6 * change.layout.windows * facts.embed_dims
        return 0 if change.layout is None else matching_macs(change.layout, facts.embed_dims)

    def longest_sort(self, spec: AlgmSpec, facts: HostFacts, change: Any) -> int:
        """Kept and taken tokens are put in order together."""
        return facts.num_patches if isinstance(change, WindowsChange) else 0

    def tokens_document(self, spec: AlgmSpec, changes: Sequence[Any]) -> dict[str, object]:
        """``merging``."""
        return {
            "merging": {
                "method": self.key,
                "dense": None,
                "metric": "x",
                "proportional_attention": False,
                "pool": "mean",
                **_per_block(changes),
                "tokens_out": changes[-1].tokens_out,
            }
        }

    def manifest(self, spec: AlgmSpec, changes: Sequence[Any]) -> dict[str, object]:
        """``merges``."""
        common = {"raster": False, "dense": None}
        merges = []
        for change in changes:
            layout = change.layout
            if layout is None:
                continue
            if isinstance(change, WindowsChange):
                sides = {"columns": layout.columns, "window": 2}
                own = {
                    "kind": "pools",
                    "tokens": layout.tokens,
                    "prefix": layout.prefix,
                    "r": 3 * layout.merged,
                    **sides,
                }
            else:
                own = layout.as_dict()
            merges.append({"block": change.block, **common, **own})
        return {"merges": merges}


def _decision(change: WindowsChange) -> str:
    return f"merged_windows_{change.block}"


def _windows_change(spec: AlgmSpec, facts: HostFacts, tokens: int, at: Place) -> WindowsChange:
    rows, columns = facts.grid[-2:]
    if rows % 2 or columns % 2:
        problem = f"a grid of {rows} x {columns} patches does not divide into 2 x 2 windows"
        remedy = f"use an input.shape whose height and width are multiples of {2 * facts.patch_size}"
        raise at.error(spec.windows, problem, remedy)
    if spec.windows > (most := facts.num_patches // 4):
        raise at.error(spec.windows, f"exceeds the {most} windows of 2x2 patches", f"use 0 to {most}")
    left = tokens - 3 * spec.windows
    return WindowsChange(
        block=spec.blocks[0],
        cut=Cut.BETWEEN,
        tokens_in=tokens,
        tokens_out=left,
        working=left,
        reason=f"merged {spec.windows} windows of 2x2",
        layout=WindowLayout(tokens, facts.prefix, columns, spec.windows),
    )


def _per_block(changes: Sequence[Any]) -> dict[str, list[int]]:
    local = [isinstance(change, WindowsChange) for change in changes]
    realised = [change.tokens_in - change.tokens_out for change in changes]
    pairs = list(zip(changes, local, realised, strict=True))
    return {
        "requested": [count if is_local else change.requested for change, is_local, count in pairs],
        "realised": realised,
        "windows": [2 if is_local else 0 for is_local in local],
    }


def _adaptive_count(metric: Tensor, prefix: int, block: int) -> int:
    """How many sources have a best cosine of at least the mean plus the standard deviation / block, of tokens (n, C)."""
    ((sources, destinations),) = candidates_of("alternate", metric.shape[0], prefix, 0, 0)
    unit = metric.to(torch.float32) / metric.to(torch.float32).norm(dim=1, keepdim=True)
    best = (unit[sources] @ unit[destinations].T).amax(dim=1)
    counted = best if prefix else best[1:]
    threshold = counted.mean() + counted.std() / block
    return int((best >= threshold).sum())
