"""Constants with a row for every token, such as sines of rotary positions: as rows that go with their tokens, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeexport.hosts.onnx_file.axis import Table
from edgeexport.hosts.onnx_file.vit import FileVit
from edgeexport.hosts.onnx_file.writer import PieceWriter

__all__ = ["row_width", "table_from_rows", "table_rows"]


def row_width(vit: FileVit) -> int:
    """Numbers in a row of every token."""
    return sum(_row(vit, name, _axis_of(vit, name))[0].shape[1] for name in vit.tables)


def table_rows(vit: FileVit) -> NDArray[np.float32] | None:
    """Every token's rows of all tables, side by side: float32 (N, W), zeros for tokens that a table leaves out."""
    columns = []
    for name in vit.tables:
        rows, _ = _row(vit, name, _axis_of(vit, name))
        first = vit.tokens - len(rows)
        columns.append(np.concatenate([np.zeros((first, rows.shape[1]), rows.dtype), rows]))
    return np.concatenate(columns, axis=1).astype(np.float32) if columns else None


def _axis_of(vit: FileVit, name: str) -> int:
    return next(table.axis for block in vit.blocks for table in block.axes.tables.values() if table.name == name)


def _row(vit: FileVit, name: str, axis: int) -> tuple[NDArray, tuple[int, ...]]:
    """A table as rows (n, w), and the sizes of its other axes."""
    array = vit.graph.array(name)
    moved = np.moveaxis(array, axis, 0)
    return moved.reshape(len(moved), -1), moved.shape[1:]


def table_from_rows(
    writer: PieceWriter, rows: str, rows_batch: int, tokens: int, table: Table, place: tuple[int, int]
) -> str:
    """The columns of a table among everybody's rows, in the layout in which the node reads it."""
    vit, label = writer.vit, f"table_{place[0]}_{place[1]}"
    start = 0
    for name in vit.tables:
        width = _row(vit, name, _axis_of(vit, name))[0].shape[1]
        if name == table.name:
            break
        start += width
    count = tokens - table.first
    own = writer.op(
        "Slice",
        [
            rows,
            writer.constant(f"{label}_starts", [table.first, start]),
            writer.constant(f"{label}_ends", [tokens, start + width]),
            writer.constant(f"{label}_axes", [1, 2]),
        ],
        f"{label}/Slice",
        [rows_batch, count, width],
    )
    shape = list(vit.graph.shapes[table.name])
    ahead, behind = shape[: len(shape) + table.axis], shape[len(shape) + table.axis + 1 :]
    if any(size != 1 for size in ahead):  # tokens last: (1, d, n)
        own = writer.op("Transpose", [own], f"{label}/Transpose", [rows_batch, width, count], perm=[0, 2, 1])
    rank = len(table.meets)
    target = [1] * (rank - len(shape)) + [*ahead, count, *behind]
    target[0] = rows_batch if rank > len(shape) or target[0] == 1 else target[0]
    return writer.op("Reshape", [own, writer.constant(f"{label}_shape", target)], f"{label}/Reshape", target)
