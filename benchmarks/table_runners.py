"""Parts of a model as graphs that ONNX Runtime runs, for the latency tables of `edgeexport calibrate --latency-ms`."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from benchmarks.pairing import session_options
from edgeexport.fixed.model import fixed_from_model
from edgeexport.graph.export import exported_model
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.ops import token_match, token_merge, token_partition, token_protect, token_unmerge
from edgeexport.recipe.schema import Recipe

__all__ = ["model_runner", "noise_of", "part_runner", "spread_of_counts"]

_OPS = (token_match, token_merge, token_partition, token_protect, token_unmerge)
_SMALLEST = 8


def noise_of(times: Iterable[list[float]]) -> float:
    """The largest ratio of a graph's upper to its lower quartile."""
    quartiles = [statistics.quantiles(values, n=4) for values in times]
    return round(max(high / low for low, _, high in quartiles), 2)


def spread_of_counts(patches: int, counts: int) -> list[int]:
    """Multiples of 8 from 8 on, and all patches."""
    multiples = range(_SMALLEST, patches, _SMALLEST)
    steps = max(counts - 1, 1)
    chosen = {multiples[round(index * (len(multiples) - 1) / steps)] for index in range(steps)} if multiples else set()
    return sorted({*chosen, patches})


def part_runner(module: nn.Module, shapes: Sequence[tuple[int, ...]], outputs: Sequence[str]) -> Callable[[], object]:
    """A module in ONNX Runtime, on inputs drawn from a seed."""
    generator = torch.Generator().manual_seed(0)
    inputs = {f"x{index}": torch.randn(shape, generator=generator) for index, shape in enumerate(shapes)}
    model = exported_model(module, tuple(inputs.values()), list(inputs), outputs, {})
    used = {node.op_type for node in model.graph.node}
    model.functions.extend(op.onnx_function() for op in _OPS if op.NAME in used)
    session = _session(model)
    feed = {name: tensor.numpy() for name, tensor in inputs.items()}
    return lambda: session.run(None, feed)


def model_runner(model: nn.Module, recipe: Recipe) -> Callable[[], object]:
    """A recipe's fixed form in ONNX Runtime, on a photograph."""
    fixed = fixed_from_model(model, recipe)
    session = _session(graphs_from_export(fixed, export_of_fixed(fixed, {})).with_functions)
    image = next(iter(image_batches(recipe.input, shipped_photos()))).pixels
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(image)}
    return lambda: session.run(None, feed)


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return onnxruntime.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])
