"""Latency table of a timm host's parts in ONNX Runtime on this machine, for `edgeexport calibrate timm:NAME --latency-ms`.

Measured, all candidates taking turns in one process: the attention branch of one block (with the bias by which merged tokens
weigh), its MLP branch, and matching and merging between them, at a spread of token counts; and the dense model. ``fixed_ms`` is
what is left of the dense model without its blocks. A recipe that merges is measured in the same rounds (``check``).
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnxruntime
from torch import Tensor, nn

from benchmarks.pairing import THREADS, latencies_ms
from benchmarks.table_runners import model_runner, noise_of, part_runner, spread_of_counts
from edgeexport.calibration.merging_latency import MergingLatencyTable, MergingTableCost, merging_signature
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.schedule import dense_recipe, token_schedule
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.ops.match_tables import MatchLayout
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.merge_spec import MergeSpec, merge_change
from edgeexport.reductions.merge_steps import MergeBetween
from edgeexport.tokens.changes import Cut
from edgeexport.tokens.trace import Trace

__all__ = ["measure_merging_block_table"]

_MERGED = 8  # per block, for the time of one step; how many hardly matters beside matching


class _Attention(nn.Module):
    """x (1, n, C) and bias (1, 1, 1, n) -> (1, n, C), and the keys that merging compares."""

    def __init__(self, block: Any, rotation: Tensor | None) -> None:
        super().__init__()
        self.block, self.rotation = block, rotation

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return self.block.attend(x, bias, "k", self.rotation)


class _Mlp(nn.Module):
    """x (1, n, C) -> (1, n, C)."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block.finish(x)


class _Merge(nn.Module):
    """x (1, n, C), keys (1, h, n, d), sizes (1, n, 1) -> x, sizes and bias of the tokens that are left."""

    def __init__(self, tokens: int, prefix: int) -> None:
        super().__init__()
        r = min(_MERGED, (tokens - prefix) // 2)
        layout = MatchLayout("alternate", tokens, prefix, r)
        change = merge_change(1, Cut.BETWEEN, r, layout, tokens)
        self.step = MergeBetween(MergeSpec("tome", (r,)), change)

    def forward(self, x: Tensor, keys: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        trace = Trace(size=size.abs() + 1)
        x = self.step(x, keys, trace)
        assert trace.size is not None and trace.bias is not None
        return x, trace.size, trace.bias


def measure_merging_block_table(
    recipe: Recipe, rounds: int, on_stage: Callable[[str], None] = lambda name: None, counts: int = 6
) -> dict[str, Any]:
    """Measures the model of a recipe of a timm host.

    Args:
        recipe: What it merges matters for ``check`` alone.
        rounds: Counted rounds, at least 2; a time is the median over them.
        on_stage: Called with each stage's name as it starts.
        counts: Token counts to measure, evenly spread from 8 patches to all.

    Returns:
        A table that `edgeexport.calibration.merging_latency.read_merging_latency_table` reads, with ``protocol``, ``noise`` and
        ``check`` as `benchmarks.block_table` has them.
    """
    recipe = replace(recipe, input=replace(recipe.input, batch=1))
    dense = dense_recipe(recipe)
    model, _ = model_from_recipe(recipe)
    fixed, facts = fixed_from_model(model, dense), recipe.facts
    block, rotation = fixed.walk.block(1), fixed.walk.rotation
    width, heads, prefix = facts.embed_dims, facts.num_heads, facts.prefix
    spread = [patches + prefix for patches in spread_of_counts(facts.num_patches, counts)]
    on_stage(f"export of a block's parts at {len(spread)} token counts")
    runners: dict[str, Callable[[], object]] = {}
    for n in spread:
        turned = None if rotation is None else rotation[:, :n]
        shapes = [(1, n, width), (1, 1, 1, n)]
        runners[f"attention {n}"] = part_runner(_Attention(block, turned).eval(), shapes, ["x", "keys"])
        runners[f"mlp {n}"] = part_runner(_Mlp(block).eval(), [(1, n, width)], ["x"])
        shapes = [(1, n, width), (1, heads, n, width // heads), (1, n, 1)]
        runners[f"merge {n}"] = part_runner(_Merge(n, prefix).eval(), shapes, ["x", "size", "bias"])
    on_stage("export of the dense model")
    runners["dense"] = model_runner(model, dense)
    if recipe.reductions:
        on_stage(f"export of {recipe.name}")
        runners["recipe"] = model_runner(model, recipe)
    on_stage(f"{rounds} rounds of {len(runners)} graphs")
    times = latencies_ms(runners, rounds)
    typical = {name: statistics.median(values) for name, values in times.items()}
    blocks = len(token_schedule(dense).blocks)
    whole = (times[name] for name in ("dense", f"attention {spread[-1]}", f"mlp {spread[-1]}"))
    rest = [total - blocks * (attention + mlp) for total, attention, mlp in zip(*whole, strict=True)]
    points = {
        part: tuple((n, round(typical[f"{part} {n}"], 4)) for n in spread) for part in ("attention", "mlp", "merge")
    }
    table = MergingLatencyTable(
        provenance="measured",
        device=f"{platform.machine()} CPU, ONNX Runtime {onnxruntime.__version__}, {THREADS} threads, float32",
        attention_ms=points["attention"],
        mlp_ms=points["mlp"],
        merge_ms=points["merge"],
        # Noise, or a graph that is faster as a whole than its parts, must not turn into a negative time.
        fixed_ms=round(max(statistics.median(rest), 0.0), 4),
        model=merging_signature(recipe),
    )
    cost = MergingTableCost(table)
    check = {"dense": {"table_ms": round(cost.cost(dense), 3), "measured_ms": round(typical["dense"], 3)}}
    if recipe.reductions:
        check[recipe.name] = {"table_ms": round(cost.cost(recipe), 3), "measured_ms": round(typical["recipe"], 3)}
    protocol = f"median of {rounds} rounds in which all graphs take turns"
    return {**table.as_dict(), "protocol": protocol, "noise": noise_of(times.values()), "check": check}
