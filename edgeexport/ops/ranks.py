"""Sorting by comparison of all pairs, for compilers of kernels: one kernel where a sort and a scatter are many."""

from __future__ import annotations

__all__ = ["AHEAD"]

AHEAD = """
            row_axis = Constant <value_ints = [1]> ()
            column_axis = Constant <value_ints = [2]> ()
            score_row = Unsqueeze ({score}, row_axis)
            score_column = Unsqueeze ({score}, column_axis)
            count = Shape <start = 1, end = 2> ({score})
            count_scalar = Squeeze (count)
            start = Constant <value_int = 0> ()
            step = Constant <value_int = 1> ()
            index = Range (start, count_scalar, step)
            index_float = Cast <to = 1> (index)
            index_column = Unsqueeze (index_float, row_axis)
            larger = Greater (score_row, score_column)
            equal = Equal (score_row, score_column)
            earlier = Less (index_float, index_column)
            equal_and_earlier = And (equal, earlier)
            ahead = Or (larger, equal_and_earlier)
"""
"""Statements of a function body: for ``score`` (B, N) the value ``ahead``, bool (B, N, N): at [b, i, j], whether token j is
ahead of token i: of a larger score, or of the same and a lower index. Also ``row_axis``, ``column_axis`` and ``index_float``.
"""
