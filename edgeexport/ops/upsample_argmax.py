"""UpsampleArgmax: bilinear upsampling of class scores followed by the argmax, without the upsampled scores.

Bilinear upsampling by a whole factor P blends, in every cell between four neighbouring score positions, the scores of
these four corners with weights that are the same in all cells. So a class whose largest corner in a cell is below the
best blended score of a pixel cannot win there. Per cell, only the ``candidates`` classes with the largest corner are
blended; a pixel is certified when its best score exceeds the largest corner among all the others.

Ties: the lowest class wins among candidates, which are kept in class order. The certificate is strict: a class left out
could at most equal its largest corner, so with ``>`` an equal score of a lower class is never lost silently. It is as
exact as float32: two scores that differ by rounding errors alone may swap, as between any two runtimes.

Layout of cells: the scores (h, w), edges replicated once, span (h + 1) x (w + 1) cells of P x P pixels each, of which
the outermost reach beyond the image and are cropped: cell i starts at pixel i * P - ceil(P / 2).
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper, parser
from torch import Tensor

from edgeexport.errors import BuildError
from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET

__all__ = [
    "ATTRIBUTES",
    "NAME",
    "VERSION",
    "candidates_needed",
    "onnx_function",
    "onnx_function_plain",
    "tensorrt_function",
    "upsample_argmax",
    "upsample_argmax_plain",
    "upsample_argmax_reference",
]

NAME = "UpsampleArgmax"
VERSION = DOMAIN_VERSION
ATTRIBUTES = {"height": "int", "width": "int", "candidates": "int"}

_LARGEST_TOPK = 3840
"""TensorRT's limit on the K of TopK."""


def upsample_argmax(scores: Tensor, height: int, width: int, candidates: int) -> tuple[Tensor, Tensor]:
    """Class map by the ``candidates`` best classes per cell; an opaque ONNX node while exporting, else the reference.

    Args:
        scores: float32 (B, K, h, w).
        height: Output height in pixels, P * h for a whole P >= 1.
        width: Output width in pixels, P * w with the same P.
        candidates: Classes blended per cell, at least 1; K or more gives the plain form, which is exact everywhere.

    Returns:
        ``class_map`` int32 (B, height, width), and ``uncertified`` int32 (B,): pixels per image where a class that was
        left out might win. 0 means that the map equals `upsample_argmax_plain`.

    Raises:
        BuildError: The sizes are not the same whole multiple, or ``candidates`` is out of range.
    """
    if not torch.onnx.is_in_onnx_export():
        return upsample_argmax_reference(scores, height, width, candidates)
    batch, classes, h, w = scores.shape
    _checked_factor(classes, h, w, height, width, candidates)
    class_map, uncertified = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{NAME}",
        (scores,),
        {"height": height, "width": width, "candidates": candidates},
        dtypes=(torch.int32, torch.int32),
        shapes=((batch, height, width), (batch,)),
        version=VERSION,
    )
    return class_map, uncertified


def upsample_argmax_plain(scores: Tensor, height: int, width: int) -> Tensor:
    """The definition of the class map: upsample every class bilinearly, then take the argmax (lowest class on ties).

    Args:
        scores: float32 (B, K, h, w).
        height, width: Output size in pixels.

    Returns:
        int32 (B, height, width).
    """
    upsampled = F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False)
    return upsampled.argmax(dim=1).to(torch.int32)


def upsample_argmax_reference(scores: Tensor, height: int, width: int, candidates: int) -> tuple[Tensor, Tensor]:
    """The fast form in torch (see `upsample_argmax`)."""
    batch, classes, h, w = scores.shape
    factor = _checked_factor(classes, h, w, height, width, candidates)
    if _is_plain(classes, factor, candidates):
        uncertified = torch.zeros(batch, dtype=torch.int32, device=scores.device)
        return upsample_argmax_plain(scores, height, width), uncertified
    corners = _cell_corners(scores)
    largest, ranked = torch.sort(corners.amax(dim=3), dim=3, descending=True, stable=True)
    chosen = ranked[..., :candidates].sort(dim=3).values
    chosen_corners = corners.gather(4, chosen[:, :, :, None, :].expand(-1, -1, -1, 4, -1))
    best, winner = _blended(chosen_corners, factor).max(dim=4)
    class_map = _pixels_from_cells(chosen.gather(3, winner), factor)
    doubtful = _pixels_from_cells(~(best > largest[..., candidates : candidates + 1]), factor)
    return class_map.to(torch.int32), doubtful.sum(dim=(1, 2)).to(torch.int32)


def candidates_needed(scores: Tensor, height: int, width: int) -> int:
    """The smallest number of candidates that certifies every pixel of these scores.

    Args:
        scores: float32 (B, K, h, w).
        height, width: Output size in pixels, the same whole multiple of h and w.

    Returns:
        Between 1 and K.

    Raises:
        BuildError: The sizes are not the same whole multiple.
    """
    classes = scores.shape[1]

    def certifies(candidates: int) -> bool:
        return not upsample_argmax_reference(scores, height, width, candidates)[1].any()

    # More candidates never certify less: the best score cannot fall, nor the largest corner left out rise.
    too_few, enough = 0, 1
    while enough < classes and not certifies(enough):
        too_few, enough = enough, 2 * enough
    enough = min(enough, classes)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if certifies(middle) else (middle, enough)
    return enough


def onnx_function(
    k: int, h: int, w: int, height: int, width: int, candidates: int, counted: bool = True
) -> onnx.FunctionProto:
    """The op in standard operators, for scores of shape (B, ``k``, ``h``, ``w``); B comes from the input.

    The numbers are constants of the body, since a model has one such node; the attributes are declared for the plugin.
    Classes stay last in memory throughout, so that TopK, the blend (a product with a constant (P * P, 4) matrix) and
    ArgMax all read neighbours. With ``candidates >= k``, or at P = 1, this is `onnx_function_plain`.

    ``counted=False`` gives a body with the output ``class_map`` alone, for a node with one output. It exists because
    ONNX Runtime (1.31) keeps and runs nodes of a body whose results nobody reads, so an unread count costs its time.

    Raises:
        BuildError: The sizes are not the same whole multiple, or ``candidates`` is out of range.
    """
    factor = _checked_factor(k, h, w, height, width, candidates)
    if _is_plain(k, factor, candidates):
        return onnx_function_plain(k, h, w, height, width, counted)
    crop = factor - factor // 2
    body = f"""
        score_last = Transpose <perm = [0, 2, 3, 1]> (scores)
        pads = Constant <value_ints = [0, 1, 1, 0, 0, 1, 1, 0]> ()
        padded = Pad <mode = "edge"> (score_last, pads)
        plane = Constant <value_ints = [1, 2]> ()
        {_corner_slices(h, w, "plane")}
        largest_corner = Max (all_00, all_01, all_10, all_11)
        zero = Constant <value_ints = [0]> ()
        count = Constant <value_ints = [{candidates}]> ()
        count_and_next = Constant <value_ints = [{candidates + 1}]> ()
        last = Constant <value_ints = [3]> ()
        largest, ranked = TopK <axis = 3, largest = 1, sorted = 1> (largest_corner, count_and_next)
        chosen_by_score = Slice (ranked, zero, count, last)
        chosen_float = Cast <to = 1> (chosen_by_score)
        chosen_in_order, _order = TopK <axis = 3, largest = 0, sorted = 1> (chosen_float, count)
        chosen = Cast <to = 6> (chosen_in_order)

        chosen_00 = GatherElements <axis = 3> (all_00, chosen)
        chosen_01 = GatherElements <axis = 3> (all_01, chosen)
        chosen_10 = GatherElements <axis = 3> (all_10, chosen)
        chosen_11 = GatherElements <axis = 3> (all_11, chosen)
        row_00 = Unsqueeze (chosen_00, last)
        row_01 = Unsqueeze (chosen_01, last)
        row_10 = Unsqueeze (chosen_10, last)
        row_11 = Unsqueeze (chosen_11, last)
        corners = Concat <axis = 3> (row_00, row_01, row_10, row_11)
        blend = MatMul (weights, corners)
        winner = ArgMax <axis = 4, keepdims = 0> (blend)
        cell_class = GatherElements <axis = 3> (chosen, winner)

        split = Constant <value_ints = [0, {h + 1}, {w + 1}, {factor}, {factor}]> ()
        joined = Constant <value_ints = [0, {(h + 1) * factor}, {(w + 1) * factor}]> ()
        first_pixel = Constant <value_ints = [{crop}, {crop}]> ()
        end_pixel = Constant <value_ints = [{crop + height}, {crop + width}]> ()
        class_split = Reshape (cell_class, split)
        class_rows = Transpose <perm = [0, 1, 3, 2, 4]> (class_split)
        class_wide = Reshape (class_rows, joined)
        class_map = Slice (class_wide, first_pixel, end_pixel, plane)
        """
    count_body = """
        blend_last = Constant <value_ints = [4]> ()
        best = ReduceMax <keepdims = 0> (blend, blend_last)
        left_out = Slice (largest, count, count_and_next, last)
        certain = Greater (best, left_out)
        doubtful = Not (certain)
        doubtful_split = Reshape (doubtful, split)
        doubtful_rows = Transpose <perm = [0, 1, 3, 2, 4]> (doubtful_split)
        doubtful_wide = Reshape (doubtful_rows, joined)
        doubtful_map = Slice (doubtful_wide, first_pixel, end_pixel, plane)
        doubtful_int = Cast <to = 6> (doubtful_map)
        uncertified = ReduceSum <keepdims = 0> (doubtful_int, plane)
        """
    function = _function(body, count_body if counted else None)
    weights = numpy_helper.from_array(_corner_weights(factor).numpy())
    function.node.insert(0, helper.make_node("Constant", [], ["weights"], value=weights))
    return function


def onnx_function_plain(k: int, h: int, w: int, height: int, width: int, counted: bool = True) -> onnx.FunctionProto:
    """The op's plain form: every class resized, then ArgMax; ``uncertified`` is zero, or absent if not ``counted``.

    Classes are moved to the last axis first. The result is that of Resize + ArgMax on (B, K, h, w), but both operators
    then read neighbours, and ArgMax over a distant axis is what costs most there (`benchmarks/tail.py` shows both).

    Raises:
        BuildError: The sizes are not the same whole multiple.
    """
    factor = _checked_factor(k, h, w, height, width, 1)
    body = f"""
        score_last = Transpose <perm = [0, 2, 3, 1]> (scores)
        scales = Constant <value_floats = [1.0, {factor}.0, {factor}.0, 1.0]> ()
        upsampled = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (score_last, "", scales)
        winner = ArgMax <axis = 3, keepdims = 0> (upsampled)
        class_map = Cast <to = 6> (winner)
        """
    count_body = """
        plane = Constant <value_ints = [1, 2]> ()
        first_pixel = Constant <value_ints = [0, 0]> ()
        end_pixel = Constant <value_ints = [1, 1]> ()
        corner = Slice (class_map, first_pixel, end_pixel, plane)
        per_image = Squeeze (corner, plane)
        uncertified = Sub (per_image, per_image)
        """
    return _function(body, count_body if counted else None)


def tensorrt_function(
    k: int, h: int, w: int, height: int, width: int, candidates: int, counted: bool = True
) -> onnx.FunctionProto:
    """The op for a compiler of kernels: same arguments, same numbers as `onnx_function`.

    Blending, the best score and its class are one kernel, whose result is the class alone: what a product followed by ArgMax
    would write out, all candidates at all pixels, is never in memory. The lowest class among the best is the least of their
    numbers, so that candidates need no order.

    Raises:
        BuildError: As `onnx_function` does.
    """
    factor = _checked_factor(k, h, w, height, width, candidates)
    if _is_plain(k, factor, candidates):
        return onnx_function_plain(k, h, w, height, width, counted)
    crop = factor - factor // 2
    terms = []
    for number, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        corner = f"{y}{x}"
        terms.append(f"""
        corner_{corner} = Constant <value_int = {y * (w + 2) + x}> ()
        place_{corner} = Add (chosen_place, corner_{corner})
        chosen_{corner} = GatherElements <axis = 1> (padded_flat, place_{corner})
        wide_{corner} = Reshape (chosen_{corner}, by_cell)
        term_{corner} = Mul (wide_{corner}, weight_{number})""")
    body = f"""
        pads = Constant <value_ints = [0, 0, 1, 1, 0, 0, 1, 1]> ()
        padded = Pad <mode = "edge"> (scores, pads)
        grid = Constant <value_ints = [2, 3]> ()
        {_corner_slices(h, w, "grid")}
        largest_corner = Max (all_00, all_01, all_10, all_11)
        zero = Constant <value_ints = [0]> ()
        count = Constant <value_ints = [{candidates}]> ()
        count_and_next = Constant <value_ints = [{candidates + 1}]> ()
        class_axis = Constant <value_ints = [1]> ()
        largest, ranked = TopK <axis = 1, largest = 1, sorted = 1> (largest_corner, {"count_and_next" if counted else "count"})
        chosen = {"Slice (ranked, zero, count, class_axis)" if counted else "Identity (ranked)"}
        by_cell = Constant <value_ints = [0, {candidates}, {h + 1}, 1, {w + 1}, 1]> ()
        flat = Constant <value_ints = [0, -1]> ()
        padded_flat = Reshape (padded, flat)
        plane_size = Constant <value_int = {(h + 2) * (w + 2)}> ()
        class_place = Mul (chosen, plane_size)
        cell_place = Add (class_place, first_corner)
        chosen_place = Reshape (cell_place, flat)
        {"".join(terms)}
        top = Add (term_00, term_01)
        bottom = Add (term_10, term_11)
        blend = Add (top, bottom)
        best = ReduceMax <keepdims = 1> (blend, class_axis)
        is_best = Equal (blend, best)
        chosen_float = Cast <to = 1> (chosen)
        class_id = Reshape (chosen_float, by_cell)
        none = Constant <value_float = {float(k)}> ()
        best_class = Where (is_best, class_id, none)
        cell_class = ReduceMin <keepdims = 0> (best_class, class_axis)
        joined = Constant <value_ints = [0, {(h + 1) * factor}, {(w + 1) * factor}]> ()
        first_pixel = Constant <value_ints = [{crop}, {crop}]> ()
        end_pixel = Constant <value_ints = [{crop + height}, {crop + width}]> ()
        plane = Constant <value_ints = [1, 2]> ()
        class_wide = Reshape (cell_class, joined)
        class_cut = Slice (class_wide, first_pixel, end_pixel, plane)
        class_map = Cast <to = 6> (class_cut)
        """
    count_body = """
        left_out = Slice (largest, count, count_and_next, class_axis)
        left_out_axes = Constant <value_ints = [3, 5]> ()
        left_out_wide = Unsqueeze (left_out, left_out_axes)
        certain = Greater (best, left_out_wide)
        doubtful = Not (certain)
        doubtful_wide = Reshape (doubtful, joined)
        doubtful_map = Slice (doubtful_wide, first_pixel, end_pixel, plane)
        doubtful_int = Cast <to = 6> (doubtful_map)
        uncertified = ReduceSum <keepdims = 0> (doubtful_int, plane)
        """
    function = _function(body, count_body if counted else None)
    cells = np.arange(h + 1)[:, None] * (w + 2) + np.arange(w + 1)  # each cell's top left corner in the padded plane
    corners = numpy_helper.from_array(cells[None, None])
    function.node.insert(0, helper.make_node("Constant", [], ["first_corner"], value=corners))
    weights = _corner_weights(factor).reshape(factor, factor, 4)
    for number in reversed(range(4)):
        value = weights[..., number].reshape(1, 1, 1, factor, 1, factor)
        tensor = numpy_helper.from_array(value.numpy())
        function.node.insert(0, helper.make_node("Constant", [], [f"weight_{number}"], value=tensor))
    return function


def _corner_slices(h: int, w: int, axes: str) -> str:
    """Statements that cut the corners of all cells, all_00 to all_11, out of ``padded``, whose axes ``axes`` are the grid's."""
    return "".join(
        f"""
        start_{y}{x} = Constant <value_ints = [{y}, {x}]> ()
        end_{y}{x} = Constant <value_ints = [{h + 1 + y}, {w + 1 + x}]> ()
        all_{y}{x} = Slice (padded, start_{y}{x}, end_{y}{x}, {axes})"""
        for y in (0, 1)
        for x in (0, 1)
    )


def _function(body: str, count_body: str | None) -> onnx.FunctionProto:
    outputs = "class_map" if count_body is None else "class_map, uncertified"
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <{", ".join(ATTRIBUTES)}> (scores) => ({outputs}) {{ {body} {count_body or ""} }}""")


def _checked_factor(k: int, h: int, w: int, height: int, width: int, candidates: int) -> int:
    """P, after checking all that the op requires."""
    factor = height // h
    if factor < 1 or (factor * h, factor * w) != (height, width):
        raise BuildError(
            NAME,
            f"output of {height} x {width} pixels from scores of {h} x {w}, expected one whole factor for both axes",
            "make the input size a multiple of the patch size, or output the scores",
        )
    if candidates < 1:
        raise BuildError(NAME, f"candidates = {candidates}, expected at least 1", "use 8 or more")
    if not _is_plain(k, factor, candidates) and candidates >= _LARGEST_TOPK:
        raise BuildError(
            NAME,
            f"candidates = {candidates} needs a TopK of {candidates + 1}, TensorRT takes {_LARGEST_TOPK} at most",
            f"use fewer candidates, or all {k} classes for the plain form",
        )
    return factor


def _is_plain(k: int, factor: int, candidates: int) -> bool:
    """Whether nothing can be left out (all classes are candidates) or nothing is blended."""
    return candidates >= k or factor == 1


def _corner_weights(factor: int) -> Tensor:
    """float32 (P * P, 4): what each pixel of a cell, row-major, takes of the top-left, top-right, bottom-left and
    bottom-right corner."""
    offset = 0.5 if factor % 2 == 0 else 0.0  # pixel centres of an odd factor lie on the score positions
    bottom = ((np.arange(factor) + offset) / factor).astype(np.float32)
    share = np.stack([1 - bottom, bottom], axis=1)  # (P, 2)
    return torch.from_numpy(np.einsum("yi,xj->yxij", share, share).reshape(factor * factor, 4))


def _cell_corners(scores: Tensor) -> Tensor:
    """(B, K, h, w) -> (B, h + 1, w + 1, 4, K): the corners of each cell in the order of `_corner_weights`."""
    padded = F.pad(scores, (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1)
    top, bottom = padded[:, :-1], padded[:, 1:]
    return torch.stack([top[:, :, :-1], top[:, :, 1:], bottom[:, :, :-1], bottom[:, :, 1:]], dim=3)


def _blended(corners: Tensor, factor: int) -> Tensor:
    """(..., 4, M) -> (..., P * P, M). Element by element: a class gets the same bits whichever others are blended."""
    weight = _corner_weights(factor).to(corners.device)
    terms = [weight[:, i, None] * corners[..., i, None, :] for i in range(4)]
    return (terms[0] + terms[1]) + (terms[2] + terms[3])


def _pixels_from_cells(cells: Tensor, factor: int) -> Tensor:
    """(B, h + 1, w + 1, P * P) -> (B, P * h, P * w)."""
    batch, rows, columns, _ = cells.shape
    wide = cells.reshape(batch, rows, columns, factor, factor).transpose(2, 3)
    wide = wide.reshape(batch, rows * factor, columns * factor)
    crop = factor - factor // 2
    return wide[:, crop : crop + (rows - 1) * factor, crop : crop + (columns - 1) * factor]
