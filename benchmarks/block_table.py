"""Latency table of a SegViT's parts in ONNX Runtime on this machine, for `edgeexport calibrate --latency-ms`.

Measured, all candidates taking turns in one process: one transformer block, and one head with the selection of the tokens
that leave after it, at a spread of token counts; the policy network; the dense model. ``fixed_ms`` is what is left of the
dense model without its blocks and its head.

The parts of a graph need not take as long as they do alone, so the recipe as it stands is measured in the same rounds and
set beside what the table says of it (``check``).
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnxruntime
from torch import Tensor, nn

from benchmarks.merging_block_table import measure_merging_block_table
from benchmarks.pairing import THREADS, latencies_ms
from benchmarks.table_runners import model_runner, noise_of, part_runner, spread_of_counts
from edgeexport.calibration.cost import TableCost
from edgeexport.calibration.latency_table import LatencyTable, model_signature
from edgeexport.errors import UsageError
from edgeexport.fixed.schedule import dense_recipe, token_schedule
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.segvit.heads import AtmHead, PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.ops import token_unmerge
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts_policy import PolicyNetwork
from edgeexport.reductions.dtop_selection import confidence_and_label, prune_fixed

__all__ = ["measure_block_table"]


class _HeadAlone(nn.Module):
    """A head on every stage that it reads: tokens (1, n, C) per stage -> class logits, mask logits."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, *stages: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(list(stages)) if isinstance(self.head, AtmHead) else self.head(stages[0])


class _HeadAndSelection(nn.Module):
    """A pruning stage: tokens (1, n, C) -> mask logits (1, K, n) and the tokens that stay (1, n - k, C)."""

    def __init__(self, head: PruneHead, k: int, protect_per_class: int) -> None:
        super().__init__()
        self.head, self.k, self.protect_per_class = head, k, protect_per_class

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        class_logits, mask_logits = self.head(x)
        confidence, label = confidence_and_label(PruneHead.token_scores(class_logits, mask_logits))
        kept, pruned, _ = prune_fixed(confidence, label, self.k, self.head.spec.num_classes, self.protect_per_class)
        masks = token_unmerge.token_unmerge(mask_logits.transpose(1, 2), pruned)
        return masks, token_unmerge.token_unmerge(x, kept)


def measure_block_table(
    recipe: Recipe, rounds: int, on_stage: Callable[[str], None] = lambda name: None, counts: int = 9
) -> dict[str, Any]:
    """Measures a SegViT recipe's model; one of a timm host as `benchmarks.merging_block_table` does.

    Args:
        recipe: Its own counts matter for ``check`` alone.
        rounds: Counted rounds, at least 2; a time is the median over them.
        on_stage: Called with each stage's name as it starts.
        counts: Token counts to measure, evenly spread from 8 to all.

    Returns:
        A table that `edgeexport.calibration.latency_table.read_latency_table` reads, with ``protocol``; ``noise``, the largest
        ratio of a graph's upper to its lower quartile, near 1 on a machine that does nothing else; and ``check``: what
        the table says of the recipe and of the dense model, beside what both took.

    Raises:
        UsageError: The recipe's model is neither.
    """
    if recipe.model.type == "timm":
        return measure_merging_block_table(recipe, rounds, on_stage, counts)
    if "class_map" not in recipe.host.outputs:
        remedy = "give a recipe such as segvit_ti_cts_dtop.py or tome_deit_s.py"
        raise UsageError(f"block-table {recipe.name}", "is no SegViT and no timm host", remedy)
    recipe = replace(recipe, input=replace(recipe.input, batch=1))
    dense = dense_recipe(recipe)
    model, _ = model_from_recipe(recipe)
    assert isinstance(model, SegVit)
    prefix, patches = recipe.facts.prefix, recipe.facts.num_patches
    spread = spread_of_counts(patches, counts)
    on_stage(f"export of blocks and heads at {len(spread)} token counts")
    runners = {f"block {n}": part_runner(*_block(model, n + prefix)) for n in spread}
    runners |= {f"head {n}": part_runner(*_head(model, recipe, n)) for n in spread}
    if _can_share(recipe):
        on_stage("export of the policy network")
        size = (recipe.input.height, recipe.input.width)
        runners["policy"] = part_runner(PolicyNetwork().eval(), [(1, 3, *size)], ["logits"])
    on_stage("export of the dense model")
    runners["dense"] = model_runner(model, dense)
    reduced = bool(recipe.reductions)
    if reduced:
        on_stage(f"export of {recipe.name}")
        runners["recipe"] = model_runner(model, recipe)
    on_stage(f"{rounds} rounds of {len(runners)} graphs")
    times = latencies_ms(runners, rounds)
    typical = {name: statistics.median(values) for name, values in times.items()}
    schedule = token_schedule(dense)
    rest = [
        whole - len(schedule.blocks) * block - head
        for whole, block, head in zip(times["dense"], times[f"block {patches}"], times[f"head {patches}"], strict=True)
    ]
    table = LatencyTable(
        provenance="measured",
        device=f"{platform.machine()} CPU, ONNX Runtime {onnxruntime.__version__}, {THREADS} threads, float32",
        block_ms=tuple((n + prefix, round(typical[f"block {n}"], 4)) for n in spread),
        head_ms=tuple((n, round(typical[f"head {n}"], 4)) for n in spread),
        policy_ms=round(typical["policy"], 4) if "policy" in typical else None,
        # Noise, or a graph that is faster as a whole than its parts, must not turn into a negative time.
        fixed_ms=round(max(statistics.median(rest), 0.0), 4),
        model=model_signature(recipe),
    )
    cost = TableCost(table)
    check = {"dense": {"table_ms": round(cost.cost(dense), 3), "measured_ms": round(typical["dense"], 3)}}
    if reduced:
        check[recipe.name] = {"table_ms": round(cost.cost(recipe), 3), "measured_ms": round(typical["recipe"], 3)}
    protocol = f"median of {rounds} rounds in which all graphs take turns"
    return {**table.as_dict(), "protocol": protocol, "noise": noise_of(times.values()), "check": check}


def _can_share(recipe: Recipe) -> bool:
    """The policy network's windows are 2x2 patches of 16 pixels."""
    sides = (recipe.input.height, recipe.input.width)
    return recipe.facts.patch_size == 16 and all(side % 32 == 0 for side in sides)


def _block(model: SegVit, tokens: int) -> tuple[nn.Module, list[tuple[int, ...]], list[str]]:
    return model.backbone.layers[0], [(1, tokens, model.spec.backbone.embed_dims)], ["tokens"]


def _head(model: SegVit, recipe: Recipe, tokens: int) -> tuple[nn.Module, list[tuple[int, ...]], list[str]]:
    shape = (1, tokens, model.spec.backbone.embed_dims)
    if not model.spec.auxiliary_heads:
        stages = len(model.spec.decode_head.stages)
        return _HeadAlone(model.decode_head).eval(), [shape] * stages, ["class_logits", "mask_logits"]
    dtop = recipe.reductions.get("dtop")
    head = model.auxiliary_head[0]
    assert isinstance(head, PruneHead)
    selection = _HeadAndSelection(head, tokens // 2, 5 if dtop is None else dtop.protect_per_class)
    return selection.eval(), [shape], ["masks", "kept"]
