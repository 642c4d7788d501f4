"""`edgeexport debug`: where a bundle's graph first leaves the model that it was built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
import torch
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
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.half_precision import half_precision_model
from edgeexport.graph.half_precision_policy import node_label
from edgeexport.graph.half_precision_twin import twin_in_float32
from edgeexport.graph.module_values import ModuleValues
from edgeexport.graph.node_parts import parts_of_nodes
from edgeexport.graph.read import model_from_file
from edgeexport.graph.separate import joined_model
from edgeexport.inputs.batches import ImageBatch, image_batches
from edgeexport.inputs.photos import photos_in_folder, shipped_photos
from edgeexport.recipe.of_bundle import original_recipe
from edgeexport.verify.compare import DecisionDifference, output_difference
from edgeexport.verify.decisions import decision_outputs, decisions_between, with_empty_decisions
from edgeexport.verify.dense import dense_walk
from edgeexport.verify.parity import reference_of
from edgeexport.verify.reference import Reference
from edgeexport.verify.tolerances import tolerances_of
from edgeexport.verify.walk import ValueStep, Walk, drift_limit, parts_of_steps, value_step

__all__ = ["AGAINST", "debug_bundle"]

AGAINST = ("export", "original", "dense")
_BYTES_AT_ONCE = 1 << 28


def debug_bundle(
    path: Path,
    *,
    against: str = "export",
    precision: str | None = None,
    data: Path | None = None,
    checkpoint: Path | None = None,
    policy_checkpoint: Path | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Walk:
    """Runs model.onnx and a reference on one batch of images, and compares them value by value; decisions with torch's.

    Args:
        path: The bundle.
        against: 'export': every value of a fresh export of the model in float32. 'original': what every module of the model
            gives out in torch, where no fault of the exporter is. 'dense': no graph, but the reduced model in torch beside the
            dense one of the same weights.
        precision: 'fp16' rounds as float16 does, also what a float32 bundle would be in float16; None: as it is executed here.
        data: Folder of images, of which the first batch is taken, instead of the shipped photographs.
        checkpoint, policy_checkpoint: The weights that it was built from, where they are not seeded.
        on_stage: Called with each stage's name as it starts.

    Raises:
        BundleError: Damaged bundle.
        UsageError: The original model cannot be built here, or there is no such reference.
    """
    if against not in AGAINST:
        expected = ", ".join(AGAINST)
        raise UsageError(f"--against {against}", f"unknown reference, expected one of {expected}", "choose one")
    if against == "dense" and precision is not None:
        problem = "no graph is run against the dense model, so nothing is rounded"
        raise UsageError(f"--precision {precision}", problem, "leave it out")
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
    if against == "dense":
        on_stage("walk")
        return dense_walk(fixed, fixed_from_model(model, dense_recipe(recipe)), batch)
    reference = reference_of(fixed, batch, tolerances=tolerances)
    on_stage("torch's exporter")
    exported = exported_graphs(fixed, origin)
    candidate = model_from_file(bundle.path / "model.onnx")
    if bundle.policy is not None:
        ahead = model_from_file(bundle.path / bundle.policy.graph("model.onnx"))
        candidate = joined_model(ahead, candidate, bundle.policy.outputs[0].name)
    name = "model.onnx in onnxruntime"
    if precision == "fp16":
        if bundle.manifest["precision"] == "fp32":
            candidate, _ = half_precision_model(candidate, [item.name for item in exported.inner])
        candidate, name = twin_in_float32(candidate, rounded=True), "model.onnx in float16 arithmetic"
    on_stage("walk")
    graph = exported.with_functions.graph
    values, known = _values(exported.with_functions), _values(candidate)
    decided = decision_outputs(reference.decision_scores)
    decisions = _run(candidate, [known[value] for value in decided if value in known], batch)
    decisions = with_empty_decisions(
        {value: decisions[value] for value in decided if value in decisions}, reference.outputs, decided
    )
    compared = _decisions_compared(decisions, reference)
    makers = {value: node for node in graph.node for value in node.output}
    labels = {value: node_label(makers[value]) for value in values}
    given: dict[str, NDArray] = {}
    modules: ModuleValues | None = None
    if against == "original":
        imposed = {}
        if set(decided) <= set(decisions) and _only_near_ties(
            compared
        ):  # followed, so that what comes later is compared with the same tokens
            imposed = {value: torch.from_numpy(taken) for value, taken in decisions.items()}
            reference = reference_of(fixed, batch, imposed, tolerances=tolerances)
            compared = _decisions_compared(decisions, reference)
        inputs = [torch.from_numpy(value) for value in (batch.pixels, *batch.extra.values())]
        modules = ModuleValues(fixed, graph, inputs, imposed)
        given = {value: array for value, array in reference.outputs.items() if value not in decided}
        labels |= modules.modules
        values = {value: info for value, info in values.items() if value in modules.modules or value in given}
    parts = parts_of_nodes(graph, recipe)
    steps: list[ValueStep] = []
    for chunk in _chunks(list(values.values())):
        if modules is None:
            ours = _run(exported.with_functions, chunk, batch)
        else:
            ours = given | modules.take([info.name for info in chunk if info.name in modules.modules])
        theirs = _run(candidate, [known[info.name] for info in chunk if info.name in known], batch)
        for value in (info.name for info in chunk):
            part = part_title(parts[makers[value].output[0]])
            step = value_step(part, labels[value], value, ours[value], theirs.get(value), tolerances)
            if value in given and value in theirs and step.drifts:  # near ties and counts are torch's to judge
                found = output_difference(value, theirs[value], given[value], reference.near_tie, tolerances)
                step = replace(step, drifts=not found.passed)
            steps.append(step)
    first = next((number for number, step in enumerate(steps) if step.drifts), None)
    exported_again = "the model exported again, in onnxruntime; decisions: torch"
    return Walk(
        against=against,
        reference=exported_again if modules is None else "the model's modules in torch",
        candidate=name,
        images=tuple(batch.names),
        limit=drift_limit(tolerances),
        parts=parts_of_steps(steps),
        drift=None if first is None else steps[first],
        flip=next((item for item in compared if not item.equal), None),
        agrees=steps[first - 1].node if first else "",
    )


def _decisions_compared(decisions: Mapping[str, NDArray], reference: Reference) -> list[DecisionDifference]:
    """Those that the candidate has."""
    scores = {
        key: score for key, score in reference.decision_scores.items() if set(decision_outputs([key])) <= set(decisions)
    }
    return decisions_between(decisions, reference.outputs, scores, reference.decision_gaps, reference.tolerances)


def _only_near_ties(compared: Iterable[DecisionDifference]) -> bool:
    """Whether decisions differ, and the first that does in each image is a near tie."""
    first: dict[int, DecisionDifference] = {}
    for item in compared:
        if not item.equal:
            first.setdefault(item.image, item)
    return bool(first) and all(item.near_tie for item in first.values())


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
