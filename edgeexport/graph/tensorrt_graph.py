"""The forms that a compiler of kernels for GPUs wants, and that ONNX Runtime on a CPU would be slower with.

They stand in model.trt.onnx alone. Each is a pass, or an op's ``tensorrt_function``; both graphs are verified.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from edgeexport.graph.first_largest import compare_for_first_largest
from edgeexport.graph.mask_product import join_mask_products
from edgeexport.graph.permutation_scatter import sort_for_scatters
from edgeexport.graph.token_axis import restore_token_axis
from edgeexport.graph.two_classes import subtract_second_class

__all__ = ["rewrite_for_tensorrt"]

_PASSES = (join_mask_products, compare_for_first_largest, sort_for_scatters)


def rewrite_for_tensorrt(program: ir.Model, kept: Collection[str] = ()) -> None:
    """Applies every pass, in place.

    Args:
        program: A float32 graph; sorted nodes without nested graphs, with the shape of every value, custom ops as calls.
        kept: Values that have to keep their name and meaning, beside the graph's outputs.
    """
    for rewrite in _PASSES:
        rewrite(program)
    subtract_second_class(program, kept)
    restore_token_axis(program, kept)
