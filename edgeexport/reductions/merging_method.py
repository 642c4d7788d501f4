"""What merging methods have in common: outputs, steps, the published form, work and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgeexport.reductions.matching_macs import matching_macs
from edgeexport.reductions.merge_spec import MergeChange, MergeSpec, merges_manifest, merging_document
from edgeexport.reductions.merge_steps import MergeAround, MergeBetween, MergeBranches, merge_output_names
from edgeexport.reductions.published_merge import MergedTokens, merge_step_reference, unmerged_reference
from edgeexport.reductions.reduction import Published, Reduction
from edgeexport.tokens.changes import Cut
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.published_tokens import PublishedTokens

__all__ = ["MergingMethod", "PublishedMerging"]


class PublishedMerging(Published):
    """Merges image by image, in index sets and loops (see `edgeexport.reductions.published_merge`)."""

    def __init__(self, spec: MergeSpec, changes: Sequence[MergeChange], *, described: bool) -> None:
        super().__init__({change.block: change.cut for change in changes if change.acts})
        self.spec, self.metric, self.described = spec, spec.metric, described
        self.changes = {change.block: change for change in changes}

    def between(self, number: int, x: Tensor, metric: Tensor | None, tokens: PublishedTokens) -> Tensor:
        """Sizes add up, and weigh the next attention."""
        assert metric is not None
        step = self._merged(number, x[0], tokens.size, metric[0])
        if tokens.rotation is not None:
            tokens.rotation = self._rotations(tokens.rotation, tokens.size, step)
        tokens.size = step.size
        tokens.bias = step.size.log()[None, None, None] if self.spec.proportional_attention else None
        place = _places(step)
        tokens.origin = [place[token] for token in tokens.origin]
        self._tell(number, step, tokens)
        self._describe(step, tokens.origin, tokens)
        return step.x[None]

    def around(self, number: int, block: Any, x: Tensor, context: Tensor | None, tokens: PublishedTokens) -> Tensor:
        """Merged at the start of the block and copied back at its end, or around every branch."""
        metric, ones = x[0], torch.ones(x.shape[1])  # of the block's input, whatever the branches do to x
        step = self._merged(number, x[0], ones, metric)
        self._tell(number, step, tokens)
        if self.cuts[number] is Cut.AROUND:
            bias = step.size.log()[None, None, None] if self.spec.proportional_attention else None
            turned = {}
            if tokens.rotation is not None:
                turned = {"rotation": self._rotations(tokens.rotation, ones, step)}
            return unmerged_reference(block(step.x[None], bias, context, **turned)[0], step.groups)[None]
        if self.described:
            self._describe(step, _places(step), tokens)
        for residual in block.residuals:
            step = self._merged(number, residual.norm(x)[0], ones, metric)
            x = x + unmerged_reference(residual.added(step.x[None], None, context)[0], step.groups)[None]
        return x

    def _merged(self, number: int, x: Tensor, size: Tensor, metric: Tensor) -> MergedTokens:
        layout = self.changes[number].layout
        assert layout is not None
        return merge_step_reference(
            x,
            size,
            self.compared(number, metric),
            kind=layout.kind,
            prefix=layout.prefix,
            r=layout.r,
            columns=layout.columns,
            window=layout.window,
        )

    def compared(self, number: int, metric: Tensor) -> Tensor:
        """What decides in block ``number``, (n, D)."""
        return metric

    def _rotations(self, rotation: Tensor, size: Tensor, step: MergedTokens) -> Tensor:
        """Of the merged tokens, (m, 2 d), from those of the tokens that entered and their sizes: (n, 2 d) and (n,)."""
        if self.spec.rope == "destination":
            return torch.stack([rotation[group[0]] for group in step.groups])
        sums = [(rotation[group] * size[group][:, None]).sum(dim=0) / size[group].sum() for group in step.groups]
        return torch.stack(sums)

    def _tell(self, number: int, step: MergedTokens, tokens: PublishedTokens) -> None:
        source, target = ([edge[end] for edge in step.edges] for end in (0, 1))
        values = (torch.tensor(items, dtype=torch.int32) for items in (source, target, step.kept))
        tokens.outputs.update(zip(merge_output_names(number), values, strict=True))

    def _describe(self, step: MergedTokens, origin: Sequence[int], tokens: PublishedTokens) -> None:
        tokens.outputs |= {"size": step.size[:, None], "source": torch.tensor(origin, dtype=torch.int32)}


class MergingMethod(Reduction):
    """A `Reduction` whose spec is a `MergeSpec`."""

    scopes: ClassVar[Mapping[str, str]] = {"#": "merge_#"}

    def pooling(self, spec: MergeSpec) -> str:
        """The recipe's."""
        return spec.pool

    def step(self, spec: MergeSpec, facts: HostFacts, change: MergeChange, network: nn.Module | None) -> nn.Module:
        """By similarity."""
        return self.merge_step(spec, facts, change)

    def merge_step(
        self, spec: MergeSpec, facts: HostFacts, change: MergeChange, match: nn.Module | None = None
    ) -> nn.Module:
        """By where the change acts; ``match`` decides instead of similarity (see `MatchBySimilarity`)."""
        if change.cut is Cut.BETWEEN:
            return MergeBetween(spec, change, match)
        if change.cut is Cut.AROUND:
            return MergeAround(spec, change, match)
        return MergeBranches(spec, change, described=self.described(spec, facts), match=match)

    def published(
        self,
        spec: MergeSpec,
        facts: HostFacts,
        changes: Sequence[MergeChange],
        settings: Any,
        network: nn.Module | None,
    ) -> Published:
        """In loops."""
        return PublishedMerging(spec, changes, described=self.described(spec, facts))

    def output_names(self, spec: MergeSpec, facts: HostFacts, change: MergeChange) -> tuple[str, ...]:
        """Decisions; and ``source`` int32 (B, N0), the final token of every first one, and ``size`` float32 (B, M, 1), how many
        tokens every final one stands for, where tokens stay merged or the model is a single block.
        """
        return (*merge_output_names(change.block), *(("source", "size") if self.described(spec, facts) else ()))

    def extra_outputs(self, spec: MergeSpec, facts: HostFacts, changes: Sequence[MergeChange]) -> tuple[str, ...]:
        """``source`` and ``size``."""
        asked = any(change.requested for change in changes)
        return ("source", "size") if self.described(spec, facts) and asked else ()

    def decisions(self, spec: MergeSpec, change: MergeChange) -> tuple[str, ...]:
        """``merge_source_b``, ``merge_target_b``, ``merge_kept_b``."""
        return merge_output_names(change.block)

    def matching_macs(self, spec: MergeSpec, facts: HostFacts, change: MergeChange) -> int:
        """Vectors of a head's width, or of the tokens' where the metric is the tokens themselves."""
        if change.layout is None:
            return 0
        width = facts.embed_dims if spec.metric == "x" else facts.embed_dims // facts.num_heads
        return matching_macs(change.layout, width)

    def tokens_document(self, spec: MergeSpec, changes: Sequence[MergeChange]) -> dict[str, object]:
        """``merging``."""
        return {"merging": merging_document(spec, changes)}

    def manifest(self, spec: MergeSpec, changes: Sequence[MergeChange]) -> dict[str, object]:
        """``merges``."""
        return {"merges": merges_manifest(spec, changes)}

    @staticmethod
    def described(spec: MergeSpec, facts: HostFacts) -> bool:
        """Whether ``source`` and ``size`` mean something: of merges that last, or a single one; of several undone ones none."""
        return spec.dense is None or (spec.dense == "sd" and facts.depth == 1)


def _places(step: MergedTokens) -> list[int]:
    """Where every token of a merge stands after it."""
    place = {token: row for row, group in enumerate(step.groups) for token in group}
    return [place[token] for token in range(len(place))]
