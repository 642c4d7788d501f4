"""DToP, dynamic token pruning: easy tokens leave after an auxiliary head, with that head's prediction.

Source: "Dynamic Token Pruning in Plain Vision Transformers for Semantic Segmentation", section 3. As published a token leaves
when its head is confident about it beyond a threshold; the fixed form lets a constant number leave after each head (see
`edgeexport.reductions.dtop_selection`).
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
from edgeexport.config.values import integer, mapping
from edgeexport.ops.token_partition import token_partition
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.reductions.dtop_protection import uncertain_protection
from edgeexport.reductions.dtop_selection import (
    confidence_and_label,
    priority,
    prune_adaptive,
    prune_fixed,
    threshold_for_count,
)
from edgeexport.reductions.reduction import NotApplicable, Published, Reduction
from edgeexport.tokens.changes import Change, Cut
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.published_tokens import PublishedStage, PublishedTokens
from edgeexport.tokens.selection import chosen
from edgeexport.tokens.trace import Departed, Evidence, Trace

__all__ = ["Dtop", "DtopSpec", "PruneChange", "PruneEvidence", "prune_changes", "prune_counts"]


@dataclass(frozen=True)
class DtopSpec:
    """Dynamic token pruning: ``prune`` holds (block, tokens pruned after it), ascending, zero counts included."""

    prune: tuple[tuple[int, int], ...]
    protect_per_class: int


@dataclass(frozen=True, kw_only=True)
class PruneChange(Change):
    """``pruned`` tokens leave after ``block``."""

    pruned: int


@dataclass(frozen=True)
class PruneEvidence:
    """What an exit saw, for the n tokens that met it.

    Attributes:
        class_scores: float32 (B, K, n).
        confidence: float32 (B, n), each token's best class score.
        label: int32 (B, n), that class.
        priority: float32 (B, n), the pruning key: the largest leave.
        tokens: int32 (B, n), which tokens of block 1 they are.
        count: Tokens of block 1.
        per_class: Tokens protected per predicted class.
    """

    class_scores: Tensor
    confidence: Tensor
    label: Tensor
    priority: Tensor
    tokens: Tensor
    count: int
    per_class: int

    def scores(self, near_tie: float) -> NDArray:
        """Keys by token of block 1; infinite where the token's protection is a toss-up."""
        keys = self.priority.clone()
        for image, class_scores in enumerate(self.class_scores.numpy()):
            uncertain = uncertain_protection(class_scores, self.per_class, near_tie)
            keys[image][torch.from_numpy(uncertain)] = float("inf")
        row = torch.full((keys.shape[0], self.count), float("nan"))
        return row.scatter(1, self.tokens.long(), keys).numpy()

    def gaps(self) -> None:
        """Nothing is matched."""
        return None


class _Prune(nn.Module):
    """Chooses what leaves, and lets it go."""

    def __init__(self, change: PruneChange, num_classes: int, per_class: int) -> None:
        super().__init__()
        self.block, self.k = change.block, change.pruned
        self.count = change.tokens_in
        self.num_classes, self.per_class = num_classes, per_class
        self.select = _Select(self.k, num_classes, per_class)

    def forward(self, x: Tensor, scores: Tensor, rows: Tensor, trace: Trace) -> Tensor:
        name = f"pruned_tokens_{self.block}"
        alive = trace.alive
        if alive is None:
            alive = torch.arange(x.shape[1], dtype=torch.int32)[None].expand(x.shape[0], -1)
        confidence, label, kept, pruned, protected = self.select(scores)
        count = self.count + sum(item.tokens.shape[1] for item in trace.departed)
        keys = priority(confidence, protected)
        trace.keep(name, PruneEvidence(scores, confidence, label, keys, alive, count, self.per_class))
        gone = trace.outputs[name] = token_unmerge(alive[:, :, None], pruned)[:, :, 0]
        if name in trace.imposed:
            kept, pruned = token_partition(chosen(alive, trace.imposed[name]), self.k)
            gone = token_unmerge(alive[:, :, None], pruned)[:, :, 0]
        pruned_confidence = token_unmerge(confidence[:, :, None], pruned)[:, :, 0]
        trace.outputs[f"smallest_pruned_confidence_{self.block}"] = pruned_confidence.amin(dim=1)
        pruned_protected = token_unmerge(protected[:, :, None].to(torch.float32), pruned)[:, :, 0]
        trace.outputs[f"protected_pruned_{self.block}"] = pruned_protected.sum(dim=1).to(torch.int32)
        trace.departed.append(Departed(gone, token_unmerge(rows, pruned)))
        trace.alive = token_unmerge(alive[:, :, None], kept)[:, :, 0]
        return token_unmerge(x, kept)


class _Select(nn.Module):
    """Class scores (B, K, n) -> confidence and label (B, n), kept, pruned, protected; see `prune_fixed`."""

    def __init__(self, k: int, num_classes: int, per_class: int) -> None:
        super().__init__()
        self.k, self.num_classes, self.per_class = k, num_classes, per_class

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        confidence, label = confidence_and_label(scores)
        kept, pruned, protected = prune_fixed(confidence, label, self.k, self.num_classes, self.per_class)
        return confidence, label, kept, pruned, protected


class _Published(Published):
    def __init__(self, thresholds: Mapping[int, float], num_classes: int, per_class: int) -> None:
        super().__init__(dict.fromkeys(thresholds, Cut.EXIT))
        self.thresholds, self.num_classes, self.per_class = thresholds, num_classes, per_class

    def leave(self, number: int, x: Tensor, scores: Tensor, rows: Tensor, tokens: PublishedTokens) -> Tensor:
        confidence, label = confidence_and_label(scores)
        tokens.stages[number] = PublishedStage(tokens.alive, confidence[0], label[0])
        kept, pruned = prune_adaptive(
            confidence[0], label[0], self.thresholds[number], self.num_classes, self.per_class
        )
        tokens.outputs[f"pruned_tokens_{number}"] = tokens.alive[pruned].to(torch.int32)
        tokens.left.append((tokens.alive[pruned], rows[0, pruned]))
        tokens.alive = tokens.alive[kept]
        return x[:, kept]


class Dtop(Reduction):
    """See `Reduction`."""

    key: ClassVar[str] = "dtop"
    title: ClassVar[str] = "DToP"
    follows: ClassVar[frozenset[str]] = frozenset({"cts"})
    scopes: ClassVar[Mapping[str, str]] = {"#": "prune_#"}

    def refuses(self, facts: HostFacts) -> str:
        """It needs heads that predict for every token."""
        return "" if facts.variants and facts.num_classes and not facts.why_no_sharing else "DToP is for SegViT"

    def spec_from_config(
        self, value: object, place: Place, facts: HostFacts, tokens: int, folder: Path
    ) -> DtopSpec | None:
        """``dict(prune={block: tokens pruned after it}, protect_per_class)``; None where it names no stage."""
        config = mapping(value, place, ("protect_per_class", "prune"))
        problem, remedy = facts.why_no_exits
        if problem:
            raise place.error(value, problem, remedy)
        # A published host of DToP refuses a class token already; this states the rule for the method itself.
        if facts.prefix:
            raise place.error(value, "unsupported: DToP runs without a class token", "write with_cls_token=False")
        if "prune" not in config:
            raise place.missing("prune", "prune={block: tokens pruned after it}")
        prune = prune_counts(config["prune"], place.at("prune"), facts)
        protect = integer(config.get("protect_per_class", 5), place.at("protect_per_class"), minimum=0)
        spec = DtopSpec(prune=prune, protect_per_class=protect)
        self.changes(spec, facts, tokens, place)
        return spec if prune else None

    def resolved(self, given: Mapping[str, object], spec: DtopSpec) -> dict[str, object]:
        """Block numbers stay integers."""
        return {"prune": dict(spec.prune), "protect_per_class": spec.protect_per_class}

    def changes(self, spec: DtopSpec, facts: HostFacts, tokens: int, place: Place) -> tuple[PruneChange, ...]:
        """One per block that prunes anything; a stage that prunes 0 tokens does not exist, and neither does its head."""
        return prune_changes(spec.prune, facts, tokens, place.at("prune"))

    def step(self, spec: DtopSpec, facts: HostFacts, change: PruneChange, network: nn.Module | None) -> nn.Module:
        """See `_Prune`."""
        return _Prune(change, facts.num_classes, spec.protect_per_class)

    def published(
        self,
        spec: DtopSpec,
        facts: HostFacts,
        changes: Sequence[PruneChange],
        settings: Any,
        network: nn.Module | None,
    ) -> Published:
        """``settings``: block -> threshold; a block that is not named is not a pruning stage. Infinity only looks."""
        return _Published(settings or {}, facts.num_classes, spec.protect_per_class)

    def output_names(self, spec: DtopSpec, facts: HostFacts, change: PruneChange) -> tuple[str, ...]:
        """After block b: ``pruned_tokens_b`` int32 (B, k), ascending, of block 1's tokens; ``smallest_pruned_confidence_b``
        float32 (B,); ``protected_pruned_b`` int32 (B,), protected tokens that had to leave because k asked for more.
        """
        block = change.block
        return f"pruned_tokens_{block}", f"smallest_pruned_confidence_{block}", f"protected_pruned_{block}"

    def decisions(self, spec: DtopSpec, change: PruneChange) -> tuple[str, ...]:
        """``pruned_tokens_b``."""
        return (f"pruned_tokens_{change.block}",)

    def own_settings(self, spec: DtopSpec, facts: HostFacts) -> dict[int, float] | None:
        """The thresholds that the heads' configs state, of the blocks that prune; 1 where one states none."""
        stated = {item.block: item.threshold for item in facts.exits}
        pruning = [block for block, k in spec.prune if k]
        return {block: 1.0 if (theta := stated[block]) is None else theta for block in pruning} or None

    def settings_for_counts(
        self,
        spec: DtopSpec,
        facts: HostFacts,
        changes: Sequence[PruneChange],
        evidence: Mapping[str, Evidence],
        image: int,
    ) -> dict[int, float] | None:
        """Thresholds at which exactly k tokens leave."""
        thresholds = {}
        for change in changes:
            seen = evidence[f"pruned_tokens_{change.block}"]
            assert isinstance(seen, PruneEvidence)
            theta = threshold_for_count(
                seen.confidence[image], seen.label[image], change.pruned, facts.num_classes, spec.protect_per_class
            )
            if theta is None:
                raise NotApplicable(
                    f"no threshold prunes exactly {change.pruned} tokens after block {change.block}: fewer are "
                    "unprotected, or the k-th and the next have the same confidence"
                )
            thresholds[change.block] = theta
        return thresholds or None

    def longest_sort(self, spec: DtopSpec, facts: HostFacts, change: PruneChange) -> int:
        """Kept and taken tokens are put in order together."""
        return change.tokens_in

    def tokens_document(self, spec: DtopSpec, changes: Sequence[PruneChange]) -> dict[str, object]:
        """Heads and blocks tell it all."""
        return {}

    def manifest(self, spec: DtopSpec, changes: Sequence[PruneChange]) -> dict[str, object]:
        """``prune``."""
        return {"prune": [{"block": change.block, "k": change.pruned} for change in changes]}


def prune_counts(value: object, place: Place, facts: HostFacts) -> tuple[tuple[int, int], ...]:
    """``{block: count}`` as (block, count), ascending.

    Raises:
        RecipeError: No dict, a block without a head, or no count.
    """
    available = [item.block for item in facts.exits]
    listed = ", ".join(map(str, available)) or "none"
    if not isinstance(value, dict):
        raise place.error(value, "expected a dict of block: tokens pruned after it", "write prune={8: 464}")
    for block, count in value.items():
        at = place.at(block)
        if isinstance(block, bool) or not isinstance(block, int):
            raise at.error(count, f"a block is an integer, found {block!r}", f"blocks with an auxiliary head: {listed}")
        integer(count, at, minimum=0)
        if block not in available:
            raise at.error(count, f"no auxiliary head reads block {block}", f"blocks with an auxiliary head: {listed}")
    return tuple(sorted(value.items()))


def prune_changes(
    counts: Sequence[tuple[int, int]], facts: HostFacts, tokens: int, place: Place
) -> tuple[PruneChange, ...]:
    """Tokens that leave at exits: the one place that checks such counts.

    Args:
        counts: (block, tokens pruned after it).
        facts: The host's.
        tokens: That enter block 1.
        place: Where the counts stand.

    Raises:
        RecipeError: Negative, where no head reads, after the final head read, or not below the tokens entering the block.
    """
    available = [item.block for item in facts.exits]
    changes = []
    for block, k in counts:
        at = place.at(block)
        if k == 0:
            continue
        if k < 0:
            raise at.error(k, "is negative", "use 0 (no pruning there) or more")
        if block not in available:
            known = ", ".join(map(str, available)) or "none"
            remedy = "add a PruneHead whose in_index selects that block, or prune where a head is"
            raise at.error(k, f"no auxiliary head reads block {block} (heads read: {known})", remedy)
        if len(facts.reads) > 1:
            problem = f"the final head reads {len(facts.reads)} blocks and cannot follow tokens that left between them"
            raise at.error(k, problem, "use PruneHead as decode_head")
        if block > facts.reads[0]:
            raise at.error(
                k, f"the final head reads block {facts.reads[0]}, before these tokens leave", "prune earlier"
            )
        if k >= tokens:
            exceeds = f"exceeds the {tokens} tokens" if k > tokens else f"leaves none of the {tokens} tokens"
            raise at.error(k, f"{exceeds} entering block {block}", f"use a value below {tokens}")
        left = tokens - k
        reason = f"pruned {k} after block {block}"
        changes.append(
            PruneChange(
                block=block, cut=Cut.EXIT, tokens_in=tokens, tokens_out=left, working=left, reason=reason, pruned=k
            )
        )
        tokens = left
    return tuple(changes)
