"""A model in an ONNX file as a recipe describes it, and what was found there. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BlockWork", "OnnxFileSpec"]


@dataclass(frozen=True)
class BlockWork:
    """Multiply-accumulates of a block.

    Attributes:
        attention, mlp: Of products with weights, per token.
        pairs: Of attention's two products, per pair of tokens.
        norms: Norms over the tokens' width, in both parts.
    """

    attention: int
    mlp: int
    pairs: int
    norms: tuple[int, int]


@dataclass(frozen=True)
class OnnxFileSpec:
    """A Vision Transformer in an ONNX file.

    Attributes:
        type: 'onnx_file'.
        file: Absolute; ``sha256`` is of its content.
        image, prefix, unmerge_before: What the recipe gives of `edgeexport.hosts.onnx_file.vit.Reading`; None: found out.
        batch: Images that the file takes; None: any number.
        input: Name of the image, ``size`` its (channels, height, width).
        outputs: Names, in the file's order, ``output_shapes`` without the batch; ``floats`` are float32.
        tokens, num_prefix, grid, width, heads: Of the blocks.
        reads: Blocks whose tokens the tail reads, deepest first.
        keeps_merged: The tail reads prefix tokens alone.
        rotary: Tokens carry rows of a table, such as rotary positions.
        blocks: Work of each.
        embedding, tail: Multiply-accumulates of what lies ahead of the blocks and behind them.
    """

    type: str
    file: Path
    sha256: str
    image: tuple[int, int] | None
    prefix: int | None
    unmerge_before: str | None
    batch: int | None
    input: str
    size: tuple[int, int, int]
    outputs: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    floats: tuple[str, ...]
    tokens: int
    num_prefix: int
    grid: tuple[int, int]
    width: int
    heads: int
    reads: tuple[int, ...]
    keeps_merged: bool
    rotary: bool
    blocks: tuple[BlockWork, ...]
    embedding: int
    tail: int
