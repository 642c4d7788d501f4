"""tokens.json: how many tokens each block works on, and what that costs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Count, ElementCount, Figure, Line, Side, Text
from edgeexport.documents.reading import Inconsistent, Kind

__all__ = ["TOKENS", "TOKENS_SCHEMA", "Tokens"]

TOKENS_SCHEMA = "edgeexport.tokens/1"

_Block = Annotated[int, Meta(ge=1, le=2**15)]


class Cost(TypedDict, total=False):
    """Multiply-accumulates of a part, beside the dense model's."""

    tokens: ElementCount
    macs: Count
    dense_macs: Count


class BlockMacs(TypedDict, total=False):
    """Multiply-accumulates of a block by what they do; the first version has no matching."""

    attention: Count
    matching: Count
    mlp: Count
    norms: Count
    total: Count


class Block(TypedDict, total=False):
    """One block."""

    block: _Block
    tokens_in: ElementCount
    tokens_out: ElementCount
    reason: Line
    macs: BlockMacs
    dense_macs: Count


class Head(TypedDict, total=False):
    """One head, which reads blocks."""

    name: Line
    type: Line
    blocks: Annotated[list[_Block], Meta(min_length=1, max_length=256)]
    tokens: ElementCount
    pruned: ElementCount | None
    macs: Count
    dense_macs: Count


class Merging(TypedDict, total=False):
    """What merges; one count for each block."""

    method: Line
    dense: Line | None
    metric: Line
    proportional_attention: bool
    pool: Line | bool | None
    requested: list[ElementCount]
    realised: list[ElementCount]
    windows: list[ElementCount]
    tokens_out: ElementCount


class Totals(TypedDict, total=False):
    """Sums."""

    macs: Count
    macs_without_policy: Count
    dense_macs: Count
    dense_over_reduced: Figure
    dense_over_reduced_without_policy: Figure


class Graph(TypedDict, total=False):
    """Products of the exported graph; the first version has none."""

    provenance: Line
    product_macs: Count
    norm_macs: Count
    resize_macs: Count


class Windows(TypedDict, total=False):
    """Windows that slide over an image: how many, and their height and width in pixels; token counts are one window's."""

    count: ElementCount
    size: list[Side]


class Tokens(TypedDict, total=False):
    """The document."""

    schema: str
    provenance: Line
    convention: Text
    image: list[Side]
    frames: Count
    grid: list[Side]
    patches: ElementCount
    class_token: bool
    windows: Windows | None
    num_prefix: ElementCount
    sharing: dict[str, Count | None] | None
    merging: Merging | None
    embedding: Cost
    blocks: Required[Annotated[list[Block], Meta(min_length=1, max_length=4096)]]
    heads: Annotated[list[Head], Meta(max_length=4096)]
    final_norm: Cost
    tail: Cost
    policy_network: Cost
    totals: Totals
    graph: Graph | None
    weights: Text


def _check(tokens: Tokens) -> None:
    merging = tokens.get("merging")
    for key in ("requested", "realised", "windows") if merging else ():
        counts = merging.get(key)  # type: ignore[union-attr]
        if isinstance(counts, list) and len(counts) != len(tokens["blocks"]):
            raise Inconsistent(f"merging.{key}", f"has {len(counts)} entries for {len(tokens['blocks'])} blocks")
    if not tokens.get("patches", 1) + tokens.get("num_prefix", 0):
        raise Inconsistent("patches", "is 0")
    entering = tokens["blocks"][0].get("tokens_in", 1)
    for number, block in enumerate(tokens["blocks"]):
        if not block.get("tokens_out", 0) <= block.get("tokens_in", entering) <= entering:
            raise Inconsistent(
                f"blocks[{number}]", "has more tokens than enter the first block, or puts out more than enter"
            )


TOKENS: Kind[Tokens] = Kind(Tokens, check=_check)
