"""How long a device takes for a model that merges, by token count: what ``--latency-ms`` is searched with on a timm host.

JSON of schema ``edgeexport.merging_latency_table/1``, all times in milliseconds of one image::

    {"schema": "edgeexport.merging_latency_table/1", "provenance": "measured", "device": "...",
     "attention_ms": {"64": 0.2, ...},   attention branch of one block, by tokens that enter it (prefix included)
     "mlp_ms": {"64": 0.3, ...},         MLP branch of one block
     "merge_ms": {"64": 0.1, ...},       matching and merging in one block, by tokens that enter it
     "fixed_ms": 0.8,                    the rest: embedding, head
     "model": {...}}                     optional: what was measured, see `merging_signature`

``python -m benchmarks block-table`` measures one in ONNX Runtime; one of any other device will do as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.documents.merging_latency import MERGING_LATENCY_TABLE, MERGING_LATENCY_TABLE_SCHEMA
from edgeexport.documents.reading import read_document
from edgeexport.errors import UsageError
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.tokens.changes import Cut

__all__ = ["MergingLatencyTable", "MergingTableCost", "merging_signature", "read_merging_latency_table"]

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class MergingLatencyTable:
    """Times of one model's parts on one device; between two token counts they are taken to lie on a line.

    Attributes:
        provenance: 'measured' or 'predicted'.
        device: For people.
        attention_ms, mlp_ms, merge_ms: (tokens, ms), ascending.
        fixed_ms: What runs whatever merges.
        model: What was measured (`merging_signature`), or None where the table does not say.
        source: Where it was read from, for messages.
    """

    provenance: str
    device: str
    attention_ms: Points
    mlp_ms: Points
    merge_ms: Points
    fixed_ms: float
    model: Mapping[str, Any] | None = None
    source: str = "latency table"

    def part(self, name: str, tokens: int) -> float:
        """Milliseconds of 'attention', 'mlp' or 'merge' at a token count.

        Raises:
            UsageError: The table does not reach it.
        """
        points: Points = getattr(self, f"{name}_ms")
        first, last = points[0][0], points[-1][0]
        if not first <= tokens <= last:
            raise UsageError(
                f"{self.source}: {name}_ms",
                f"has {first} to {last} tokens, {tokens} are asked for",
                "measure a table that reaches that far; nothing is extrapolated",
            )
        above = bisect_left(points, tokens, key=lambda point: point[0])
        high, high_ms = points[above]
        if high == tokens:
            return high_ms
        low, low_ms = points[above - 1]
        return low_ms + (high_ms - low_ms) * (tokens - low) / (high - low)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, with the schema; `read_merging_latency_table` reads it."""
        parts = {name: {str(n): ms for n, ms in getattr(self, name)} for name in ("attention_ms", "mlp_ms", "merge_ms")}
        document = {
            "schema": MERGING_LATENCY_TABLE_SCHEMA,
            "provenance": self.provenance,
            "device": self.device,
            **parts,
            "fixed_ms": self.fixed_ms,
        }
        return document if self.model is None else {**document, "model": dict(self.model)}


class MergingTableCost:
    """Milliseconds: the sum of the parts that run, each as the table has it; see `edgeexport.calibration.cost.CostModel`.

    Merging by a fixed table is counted as merging by similarity, and windows as the whole grid: both take a little less.
    """

    unit = "ms"

    def __init__(self, table: MergingLatencyTable) -> None:
        self.table = table

    @property
    def source(self) -> str:
        """Where the times are from, for people."""
        return f"{self.table.provenance} on {self.table.device}"

    def cost(self, recipe: Recipe) -> float:
        """Attention at the tokens that enter a block, merging where it acts, the MLP at those that are left.

        Raises:
            RecipeError: The counts do not fit the model.
            UsageError: The table is of another model, does not reach the counts, or something but merging acts.
        """
        schedule = token_schedule(recipe)
        self._check_fits(recipe)
        merging = set()
        for key, change in schedule.acting:
            if change.cut is not Cut.BETWEEN:
                remedy = "state the budget in --macs"
                raise UsageError(f"reduction.{key}", "does not merge for good inside the blocks", remedy)
            merging.add(change.block)
        total = self.table.fixed_ms
        for block in schedule.blocks:
            total += self.table.part("attention", block.branches[0].work)
            total += self.table.part("mlp", block.branches[-1].work)
            total += self.table.part("merge", block.tokens_in) if block.block in merging else 0.0
        return total

    def _check_fits(self, recipe: Recipe) -> None:
        expected = merging_signature(recipe)
        given = self.table.model or {}
        different = [key for key, value in expected.items() if given.get(key, value) != value]
        if different:
            key = different[0]
            raise UsageError(
                f"{self.table.source}: model.{key}",
                f"is {given[key]!r}, the recipe has {expected[key]!r}",
                f"measure a table of this model: python -m benchmarks block-table {recipe.name}",
            )


def merging_signature(recipe: Recipe) -> dict[str, Any]:
    """What the times of a model's parts depend on beside token counts, JSON-ready."""
    facts = recipe.facts
    return {
        "input": list(facts.image),
        "grid": list(facts.grid),
        "prefix": facts.prefix,
        "embed_dims": facts.embed_dims,
        "num_heads": facts.num_heads,
        "depth": facts.executed,
        "outputs": list(recipe.graph_outputs[:1]),
    }


def read_merging_latency_table(path: Path) -> MergingLatencyTable:
    """Reads and checks a table.

    Raises:
        UsageError: It cannot be read, or is not one; the message names the entry.
    """
    document = read_document(path, MERGING_LATENCY_TABLE)
    return MergingLatencyTable(
        provenance=document["provenance"],
        device=document["device"],
        attention_ms=_points(document["attention_ms"]),
        mlp_ms=_points(document["mlp_ms"]),
        merge_ms=_points(document["merge_ms"]),
        fixed_ms=document["fixed_ms"],
        model=document.get("model"),
        source=str(path),
    )


def _points(points: Mapping[str, float]) -> Points:
    return tuple(sorted((int(tokens), float(value)) for tokens, value in points.items()))
