"""random: tokens merge or leave by a fixed table drawn from a seed, whatever the image shows. The floor of every comparison.

A method that looks at the image has to beat it at equal counts. Nothing is published under this name: both forms go by the same
draws, and differ in how they carry them out.

- ``random=dict(r=8)`` merges as ToMe does, but by vectors that are drawn instead of keys: between attention and MLP of a
  classifier, around the blocks of a model that predicts for every token;
- ``random=dict(r=8, remove="prune")`` lets r tokens of a classifier vanish in every block, between attention and MLP;
- ``random=dict(prune={6: 256})`` lets tokens leave at the exits of a segmenter, with what the head there says of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.config.values import choice, integer, mapping
from edgeexport.ops.match_tables import tables_from_layout
from edgeexport.ops.token_match import token_match_reference
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.reductions.dtop import prune_changes, prune_counts
from edgeexport.reductions.merge_config import merge_spec_from_config, resolved_merge
from edgeexport.reductions.merge_spec import MergeChange, MergeSpec, merge_changes, undone_changes
from edgeexport.reductions.merging import Decision
from edgeexport.reductions.merging_method import PublishedMerging
from edgeexport.reductions.reduction import Published, Reduction
from edgeexport.reductions.tome import Tome
from edgeexport.tokens.changes import Change
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Departed, Trace

__all__ = ["Random", "RandomSpec"]

_TOME = Tome()  # merges as it does, by other vectors
_DRAWN_WIDTH = 8  # of the vectors that are drawn for matching


@dataclass(frozen=True)
class RandomSpec:
    """``merge`` says how many tokens each block removes, and ``remove``, 'merge' or 'prune', how; or ``exits`` holds (block,
    tokens that leave at the exit after it), and ``merge`` is None. ``seed`` decides which.
    """

    merge: MergeSpec | None
    remove: str
    exits: tuple[tuple[int, int], ...]
    seed: int


def _drawn_vectors(seed: int, change: Change) -> Tensor:
    """float32 (n, 8) for the tokens that meet a step."""
    generator = torch.Generator().manual_seed(seed * 1000 + change.block)
    return torch.randn(change.tokens_in, _DRAWN_WIDTH, generator=generator)


def _drawn_order(seed: int, change: Change, prefix: int) -> list[int]:
    """The tokens that meet a step, prefix left out, in a drawn order: the first leave."""
    generator = torch.Generator().manual_seed(seed * 1000 + change.block)
    return (torch.randperm(change.tokens_in - prefix, generator=generator) + prefix).tolist()


class _Drawn(nn.Module):
    """Takes the place of matching by similarity: constants (1, R), (1, R) and (1, K) for every image."""

    def __init__(self, seed: int, change: MergeChange) -> None:
        super().__init__()
        assert change.layout is not None
        decision = token_match_reference(_drawn_vectors(seed, change)[None], tables_from_layout(change.layout))
        self.source: Tensor
        self.target: Tensor
        self.kept: Tensor
        for name, value in zip(("source", "target", "kept"), decision, strict=True):
            self.register_buffer(name, value, persistent=False)

    def forward(self, metric: Tensor) -> tuple[Decision, Tensor]:
        batch = metric.shape[0]
        source, target, kept = (value.expand(batch, -1) for value in (self.source, self.target, self.kept))
        return (source, target, kept), metric


class _Vanish(nn.Module):
    """(B, n, C) -> (B, m, C): the tokens of a constant table stay, in order."""

    metric = "x"

    def __init__(self, seed: int, change: Change, prefix: int) -> None:
        super().__init__()
        leaving = set(_drawn_order(seed, change, prefix)[: change.tokens_in - change.tokens_out])
        stays = [token for token in range(change.tokens_in) if token not in leaving]
        self.stays: Tensor
        self.register_buffer("stays", torch.tensor([stays], dtype=torch.int32), persistent=False)

    def forward(self, x: Tensor, metric: Tensor, trace: Trace) -> Tensor:
        if trace.rotation is not None:  # the same for every image
            trace.rotation = trace.rotation[:, self.stays[0].long()]
        return token_unmerge(x, self.stays.expand(x.shape[0], -1))


class _Leave(nn.Module):
    """Tokens of a constant table leave at an exit."""

    def __init__(self, seed: int, change: Change) -> None:
        super().__init__()
        self.block, count = change.block, change.tokens_in - change.tokens_out
        order = _drawn_order(seed, change, 0)
        self.pruned: Tensor
        self.kept: Tensor
        for name, tokens in (("pruned", sorted(order[:count])), ("kept", sorted(order[count:]))):
            self.register_buffer(name, torch.tensor([tokens], dtype=torch.int32), persistent=False)

    def forward(self, x: Tensor, scores: Tensor, rows: Tensor, trace: Trace) -> Tensor:
        pruned, kept = (value.expand(x.shape[0], -1) for value in (self.pruned, self.kept))
        alive = trace.alive
        if alive is None:
            alive = torch.arange(x.shape[1], dtype=torch.int32)[None].expand(x.shape[0], -1)
        gone = trace.outputs[f"pruned_tokens_{self.block}"] = token_unmerge(alive[:, :, None], pruned)[:, :, 0]
        trace.departed.append(Departed(gone, token_unmerge(rows, pruned)))
        trace.alive = token_unmerge(alive[:, :, None], kept)[:, :, 0]
        return token_unmerge(x, kept)


class _PublishedMerging(PublishedMerging):
    """The published merge, on drawn vectors."""

    def __init__(self, spec: MergeSpec, changes: Sequence[MergeChange], *, seed: int, described: bool) -> None:
        super().__init__(spec, changes, described=described)
        self.seed = seed

    def compared(self, number: int, metric: Tensor) -> Tensor:
        return _drawn_vectors(self.seed, self.changes[number])


class _PublishedRemoval(Published):
    """Tokens vanish between attention and MLP, or leave at an exit, by index lists."""

    def __init__(self, changes: Sequence[Change], seed: int, prefix: int) -> None:
        super().__init__({change.block: change.cut for change in changes if change.acts})
        self.changes, self.seed, self.prefix = {change.block: change for change in changes}, seed, prefix

    def between(self, number: int, x: Tensor, metric: Tensor | None, tokens: PublishedTokens) -> Tensor:
        stays = self._split(number, self.prefix)[1]
        tokens.rotation = None if tokens.rotation is None else tokens.rotation[stays]
        return x[:, stays]

    def leave(self, number: int, x: Tensor, scores: Tensor, rows: Tensor, tokens: PublishedTokens) -> Tensor:
        pruned, kept = self._split(number, 0)
        tokens.outputs[f"pruned_tokens_{number}"] = tokens.alive[pruned].to(torch.int32)
        tokens.left.append((tokens.alive[pruned], rows[0, pruned]))
        tokens.alive = tokens.alive[kept]
        return x[:, kept]

    def _split(self, number: int, prefix: int) -> tuple[list[int], list[int]]:
        change = self.changes[number]
        order = _drawn_order(self.seed, change, prefix)
        count = change.tokens_in - change.tokens_out
        return sorted(order[:count]), [*range(prefix), *sorted(order[count:])]


class Random(Reduction):
    """See `Reduction`."""

    key: ClassVar[str] = "random"
    title: ClassVar[str] = "random"
    follows: ClassVar[frozenset[str]] = frozenset({"cts"})
    scopes: ClassVar[Mapping[str, str]] = {"#": "merge_#"}

    def refuses(self, facts: HostFacts) -> str:
        """Tokens of an image."""
        return "" if facts.patch_size else "random is for models of images"

    def spec_from_config(
        self, value: object, place: Place, facts: HostFacts, tokens: int, folder: Path
    ) -> RandomSpec | None:
        """``dict(r, seed, remove, proportional_attention, pool, unmerge)``, or ``dict(prune={block: tokens}, seed)``."""
        config = mapping(
            value, place, ("dense", "pool", "proportional_attention", "prune", "r", "remove", "seed", "unmerge")
        )
        seed = integer(config.get("seed", 0), place.at("seed"), minimum=0, maximum=2**31)
        if config.get("prune") is not None:
            for key in ("r", "remove", "pool", "proportional_attention", "dense", "unmerge"):
                if key in config:
                    raise place.at(key).error(config[key], "means nothing beside prune", "leave one of them out")
            problem, remedy = facts.why_no_exits
            if problem:
                raise place.at("prune").error(config["prune"], problem, remedy)
            if facts.prefix:
                raise place.error(
                    value, "unsupported: tokens leave without a class token", "write with_cls_token=False"
                )
            spec = RandomSpec(None, "prune", prune_counts(config["prune"], place.at("prune"), facts), seed)
            self.changes(spec, facts, tokens, place)
            return spec if spec.exits else None
        if tokens != facts.num_tokens:
            raise place.error(value, "merging is not defined on shared tokens", "use prune={block: tokens}")
        remove = choice(config.get("remove", "merge"), place.at("remove"), ("merge", "prune"))
        if remove == "prune" and (facts.variants or facts.restores):
            problem = f"{facts.name} needs every token back, and vanished ones are gone"
            raise place.at("remove").error(remove, problem, "use prune={block: tokens}, or remove='merge'")
        given = {key: entry for key, entry in config.items() if key not in ("prune", "remove", "seed")}
        merge, _ = merge_spec_from_config(self.key, {**given, "metric": "x"}, place, facts, ("dense", "unmerge"))
        return RandomSpec(merge, remove, (), seed)

    def resolved(self, given: Mapping[str, object], spec: RandomSpec) -> dict[str, object]:
        """Block numbers stay integers."""
        if spec.merge is None:
            return {"prune": dict(spec.exits), "seed": spec.seed}
        shared = {key: entry for key, entry in resolved_merge(given, spec.merge).items() if key != "metric"}
        return {**shared, "dense": spec.merge.dense is not None, "remove": spec.remove, "seed": spec.seed}

    def changes(self, spec: RandomSpec, facts: HostFacts, tokens: int, place: Place) -> tuple[Change, ...]:
        """As ToMe's, or as DToP's."""
        if spec.merge is None:
            return prune_changes(spec.exits, facts, tokens, place.at("prune"))
        changes = (merge_changes if spec.merge.dense is None else undone_changes)(spec.merge, facts, tokens)
        verb = "merged at random:" if spec.remove == "merge" else "dropped at random:"
        return tuple(replace(change, reason=change.reason.replace("merged", verb)) for change in changes)

    def pooling(self, spec: RandomSpec) -> str:
        """The recipe's."""
        return "mean" if spec.merge is None else spec.merge.pool

    def step(self, spec: RandomSpec, facts: HostFacts, change: Any, network: nn.Module | None) -> nn.Module:
        """Constants in every form."""
        if spec.merge is None:
            return _Leave(spec.seed, change)
        if spec.remove == "prune":
            return _Vanish(spec.seed, change, facts.prefix)
        return _TOME.merge_step(spec.merge, facts, change, _Drawn(spec.seed, change))

    def published(
        self, spec: RandomSpec, facts: HostFacts, changes: Sequence[Any], settings: Any, network: nn.Module | None
    ) -> Published:
        """By index lists."""
        if spec.merge is None or spec.remove == "prune":
            return _PublishedRemoval(changes, spec.seed, facts.prefix)
        return _PublishedMerging(spec.merge, changes, seed=spec.seed, described=_TOME.described(spec.merge, facts))

    def output_names(self, spec: RandomSpec, facts: HostFacts, change: Any) -> tuple[str, ...]:
        """Of merging, or ``pruned_tokens_b``; tokens that vanish leave no trace."""
        if spec.merge is None:
            return (f"pruned_tokens_{change.block}",)
        return () if spec.remove == "prune" else _TOME.output_names(spec.merge, facts, change)

    def extra_outputs(self, spec: RandomSpec, facts: HostFacts, changes: Sequence[Any]) -> tuple[str, ...]:
        """``pruned_tokens_b``, or as for merging."""
        if spec.merge is None:
            return tuple(f"pruned_tokens_{change.block}" for change in changes)
        return () if spec.remove == "prune" else _TOME.extra_outputs(spec.merge, facts, changes)

    def decisions(self, spec: RandomSpec, change: Any) -> tuple[str, ...]:
        """What was drawn; it is the same for every image, but pictures show it."""
        if spec.merge is None:
            return (f"pruned_tokens_{change.block}",)
        return () if spec.remove == "prune" else _TOME.decisions(spec.merge, change)

    def matching_macs(self, spec: RandomSpec, facts: HostFacts, change: Any) -> int:
        """Nothing is compared at run time."""
        return 0

    def tokens_document(self, spec: RandomSpec, changes: Sequence[Any]) -> dict[str, object]:
        """``merging``."""
        return {} if spec.merge is None else _TOME.tokens_document(spec.merge, changes)

    def manifest(self, spec: RandomSpec, changes: Sequence[Any]) -> dict[str, object]:
        """``prune`` or ``merges``."""
        if spec.merge is None:
            return {"prune": [{"block": change.block, "k": change.pruned} for change in changes]}
        return {} if spec.remove == "prune" else _TOME.manifest(spec.merge, changes)
