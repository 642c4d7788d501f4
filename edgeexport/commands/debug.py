"""`edgeexport debug`: where a bundle's graph first leaves the model that it was built from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import open_bundle
from edgeexport.bundle.original import GivenWeights, why_no_original
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.commands.build import exported_graphs
from edgeexport.cost.work import part_title
from edgeexport.errors import UsageError
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.half_precision import half_precision_model
from edgeexport.graph.half_precision_policy import node_label
from edgeexport.graph.half_precision_twin import twin_in_float32
from edgeexport.graph.node_parts import parts_of_nodes
from edgeexport.graph.read import model_from_file
from edgeexport.inputs.batches import ImageBatch, image_batches
from edgeexport.inputs.photos import photos_in_folder, shipped_photos
from edgeexport.recipe.of_bundle import original_recipe
from edgeexport.verify.decisions import decision_outputs, decisions_between, with_empty_decisions
from edgeexport.verify.parity import reference_of
from edgeexport.verify.tolerances import tolerances_of
from edgeexport.verify.walk import ValueStep, Walk, drift_limit, parts_of_steps, value_step

__all__ = ["debug_bundle"]

_BYTES_AT_ONCE = 1 << 28


def debug_bundle(
    path: Path,
    *,
    precision: str | None = None,
    data: Path | None = None,
    checkpoint: Path | None = None,
    policy_checkpoint: Path | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Walk:
    """Runs model.onnx and a fresh export of its model in float32 on one batch of images, and compares every value by name.

    Decisions are compared with those of the model in torch.

    Args:
        path: The bundle.
        precision: 'fp16' rounds as float16 does, also what a float32 bundle would be in float16; None: as it is executed here.
        data: Folder of images, of which the first batch is taken, instead of the shipped photographs.
        checkpoint, policy_checkpoint: The weights that it was built from, where they are not seeded.
        on_stage: Called with each stage's name as it starts.

    Raises:
        BundleError: Damaged bundle.
        UsageError: The original model cannot be built here.
    """
    bundle = open_bundle(path)
    files = GivenWeights(checkpoint, policy_checkpoint)
    files.check(bundle.manifest["weights"])
    if reason := why_no_original(bundle, files):
        raise UsageError(str(path), f"the walk needs the original model: {reason}", "give its weights")
    asked = precision or bundle.manifest["precision"]
    tolerances = tolerances_of(asked)
    on_stage("original model")
    recipe = original_recipe(bundle, files)
    model, origin = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    batch = next(iter(image_batches(recipe.input, shipped_photos() if data is None else photos_in_folder(data))))
    reference = reference_of(fixed, batch, tolerances=tolerances)
    on_stage("torch's exporter")
    exported = exported_graphs(fixed, origin)
    candidate = model_from_file(bundle.path / "model.onnx")
    name = "model.onnx in onnxruntime"
    if precision == "fp16":
        if bundle.manifest["precision"] == "fp32":
            candidate, _ = half_precision_model(candidate, [item.name for item in exported.inner])
        candidate, name = twin_in_float32(candidate, rounded=True), "model.onnx in float16 arithmetic"
    on_stage("walk")
    parts = parts_of_nodes(exported.with_functions.graph, recipe)
    known = _values(candidate)
    decided = decision_outputs(reference.decision_scores)
    steps: list[ValueStep] = []
    decisions: dict[str, NDArray] = {}
    makers = {value: node for node in exported.with_functions.graph.node for value in node.output}
    for chunk in _chunks(list(_values(exported.with_functions).values())):
        ours = _run(exported.with_functions, chunk, batch)
        theirs = _run(candidate, [known[info.name] for info in chunk if info.name in known], batch)
        decisions |= {value: theirs[value] for value in decided if value in theirs}
        for info in chunk:
            node = makers[info.name]
            part = part_title(parts[node.output[0]])
            own = theirs.get(info.name)
            steps.append(value_step(part, node_label(node), info.name, ours[info.name], own, tolerances))
    decisions = with_empty_decisions(decisions, reference.outputs, decided)
    scores = {
        key: score for key, score in reference.decision_scores.items() if set(decision_outputs([key])) <= set(decisions)
    }
    compared = decisions_between(decisions, reference.outputs, scores, reference.decision_gaps, tolerances)
    return Walk(
        reference="the model exported again, in onnxruntime; decisions: torch",
        candidate=name,
        images=tuple(batch.names),
        limit=drift_limit(tolerances),
        parts=parts_of_steps(steps),
        drift=next((step for step in steps if step.drifts), None),
        flip=next((item for item in compared if not item.equal), None),
    )


def _values(model: onnx.ModelProto) -> Mapping[str, TensorInfo]:
    """Every value that a node computes and whose shape is known, in order."""
    described = {value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)}
    found = {}
    for name in (name for node in model.graph.node for name in node.output if name in described):
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(described[name].elem_type)).name
        found[name] = TensorInfo(name, dtype, tuple(dim.dim_value for dim in described[name].shape.dim))
    return found


def _chunks(infos: Sequence[TensorInfo]) -> Iterator[list[TensorInfo]]:
    """Values that together take a bounded number of bytes, in order."""
    chunk: list[TensorInfo] = []
    size = 0
    for info in infos:
        size += prod(info.shape) * np.dtype(info.dtype).itemsize
        if chunk and size > _BYTES_AT_ONCE:
            yield chunk
            chunk, size = [], 0
        chunk.append(info)
    if chunk:
        yield chunk


def _run(model: onnx.ModelProto, infos: Sequence[TensorInfo], batch: ImageBatch) -> dict[str, NDArray]:
    own = {value.name for value in model.graph.output}
    extra = [info for info in infos if info.name not in own]
    runner = OnnxRuntimeRunner(model.SerializeToString(), extra_outputs=extra, optimised=True)
    return runner.run(batch.pixels, batch.extra)
