"""How long a device takes for the parts of a SegViT, by token count: what a latency budget is searched with.

JSON of schema ``edgeexport.latency_table/1``, all times in milliseconds of one image::

    {"schema": "edgeexport.latency_table/1", "provenance": "measured", "device": "...",
     "block_ms": {"64": 0.31, "128": 0.55, ...},   one transformer block, by tokens that enter it (class token included)
     "head_ms": {"64": 0.20, ...},                 one head and the pruning after it, by patch tokens that it reads
     "policy_ms": 1.9,                             CTS's policy network; null: not known
     "fixed_ms": 0.8,                              the rest: embedding, tail
     "model": {...}}                               optional: what was measured, see `model_signature`

``python -m benchmarks block-table`` measures one in ONNX Runtime; one of any other device will do as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.documents import read_document
from edgeexport.documents.latency import LATENCY_TABLE, LATENCY_TABLE_SCHEMA
from edgeexport.errors import UsageError
from edgeexport.hosts.segvit.spec import HeadSpec
from edgeexport.recipe.schema import Recipe

__all__ = ["LATENCY_TABLE_SCHEMA", "LatencyTable", "head_signature", "model_signature", "read_latency_table"]


@dataclass(frozen=True)
class LatencyTable:
    """Times of one model's parts on one device; between two token counts they are taken to lie on a line.

    Attributes:
        provenance: 'measured' or 'predicted'.
        device: For people.
        block_ms: (tokens, ms) of one transformer block, ascending.
        head_ms: (patch tokens, ms) of one head, ascending.
        policy_ms: Policy network; None where that is not known.
        fixed_ms: The rest, which runs whatever the counts are.
        model: What was measured (`model_signature`), or None where the table does not say.
        source: Where it was read from, for messages.
    """

    provenance: str
    device: str
    block_ms: tuple[tuple[int, float], ...]
    head_ms: tuple[tuple[int, float], ...]
    policy_ms: float | None
    fixed_ms: float
    model: Mapping[str, Any] | None = None
    source: str = "latency table"

    def block(self, tokens: int) -> float:
        """Milliseconds of one block that ``tokens`` tokens enter.

        Raises:
            UsageError: The table does not reach that count.
        """
        return self._interpolated("block_ms", self.block_ms, tokens)

    def head(self, tokens: int) -> float:
        """Milliseconds of one head that reads ``tokens`` patch tokens. Raises as `block` does."""
        return self._interpolated("head_ms", self.head_ms, tokens)

    def policy(self) -> float:
        """Milliseconds of the policy network.

        Raises:
            UsageError: The table does not have them.
        """
        if self.policy_ms is None:
            raise UsageError(
                f"{self.source}: policy_ms",
                "is null, but the recipe shares tokens",
                "measure the policy network, or calibrate a recipe without CTS",
            )
        return self.policy_ms

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, with the schema; `read_latency_table` reads it."""
        document: dict[str, Any] = {
            "schema": LATENCY_TABLE_SCHEMA,
            "provenance": self.provenance,
            "device": self.device,
            "block_ms": {str(tokens): value for tokens, value in self.block_ms},
            "head_ms": {str(tokens): value for tokens, value in self.head_ms},
            "policy_ms": self.policy_ms,
            "fixed_ms": self.fixed_ms,
        }
        return document if self.model is None else {**document, "model": dict(self.model)}

    def _interpolated(self, name: str, points: tuple[tuple[int, float], ...], tokens: int) -> float:
        first, last = points[0][0], points[-1][0]
        if not first <= tokens <= last:
            raise UsageError(
                f"{self.source}: {name}",
                f"has {first} to {last} tokens, {tokens} are asked for",
                "measure a table that reaches that far; nothing is extrapolated",
            )
        above = bisect_left(points, tokens, key=lambda point: point[0])
        high, high_ms = points[above]
        if high == tokens:
            return high_ms
        low, low_ms = points[above - 1]
        return low_ms + (high_ms - low_ms) * (tokens - low) / (high - low)


def model_signature(recipe: Recipe) -> dict[str, Any]:
    """What the times of a SegViT recipe's parts depend on beside token counts, JSON-ready."""
    backbone = recipe.model.backbone
    return {
        "input": [recipe.input.height, recipe.input.width],
        "patch_size": backbone.patch_size,
        "embed_dims": backbone.embed_dims,
        "num_heads": backbone.num_heads,
        "mlp_ratio": backbone.mlp_ratio,
        "decode_head": head_signature(recipe.model.decode_head),
        "output": recipe.output,
    }


def head_signature(spec: HeadSpec) -> dict[str, Any]:
    """What a head's time depends on beside the tokens that it reads, JSON-ready."""
    return {
        "type": spec.type,
        "in_channels": spec.in_channels,
        "width": spec.width,
        "num_layers": spec.num_layers,
        "num_heads": spec.num_heads,
        "num_classes": spec.num_classes,
        "stages": len(spec.stages),
    }


def read_latency_table(path: Path) -> LatencyTable:
    """Reads and checks a table.

    Raises:
        UsageError: It cannot be read, or is not one; the message names the entry.
    """
    document = read_document(path, LATENCY_TABLE)
    return LatencyTable(
        provenance=document["provenance"],
        device=document["device"],
        block_ms=_points(document["block_ms"]),
        head_ms=_points(document["head_ms"]),
        policy_ms=document.get("policy_ms"),
        fixed_ms=document["fixed_ms"],
        model=document.get("model"),
        source=str(path),
    )


def _points(points: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((int(tokens), float(value)) for tokens, value in points.items()))
