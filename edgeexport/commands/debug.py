"""`edgeexport debug`: where a bundle's graph first leaves the model that it was built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.bundle.original import GivenWeights, why_no_original
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.commands.build import exported_graphs
from edgeexport.cost.work import part_title
from edgeexport.errors import UsageError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import BundleGraphs
from edgeexport.graph.half_precision import half_precision_model
from edgeexport.graph.half_precision_policy import node_label
from edgeexport.graph.half_precision_twin import twin_in_float32
from edgeexport.graph.module_values import ModuleValues
from edgeexport.graph.node_parts import parts_of_nodes
from edgeexport.graph.separate import joined_model
from edgeexport.graph.weights_apart import graph_of_file, weights_folder
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
    bundle.refuse_several()
    files = GivenWeights(checkpoint, policy_checkpoint)
    files.check(bundle.manifest["weights"])
    if reason := why_no_original(bundle, files):
        raise UsageError(str(path), f"the walk needs the original model: {reason}", "give its weights")
    on_stage("original model")
    recipe = original_recipe(bundle, files)
    model, origin = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    batch = next(iter(image_batches(recipe.input, shipped_photos() if data is None else photos_in_folder(data))))
    if against == "dense":
        on_stage("walk")
        return dense_walk(fixed, fixed_from_model(model, dense_recipe(recipe)), batch)
    tolerances = tolerances_of(precision or bundle.manifest["precision"])
    reference = reference_of(fixed, batch, tolerances=tolerances)
    on_stage("torch's exporter")
    exported = exported_graphs(fixed, origin)
    model, name = _candidate(bundle, precision, exported)
    on_stage("walk")
    candidate = _Graph.of(model, batch)
    compared, taken = _decisions_compared(candidate, reference)
    export = _Graph.of(exported.with_functions, batch)
    if against == "original":
        imposed = {}
        if set(decision_outputs(reference.decision_scores)) <= set(taken) and _only_near_ties(compared):
            # followed, so that what comes later is compared with the same tokens
            imposed = {value: torch.from_numpy(array) for value, array in taken.items()}
            reference = reference_of(fixed, batch, imposed, tolerances=tolerances)
            compared, _ = _decisions_compared(candidate, reference)
        ours = _of_modules(export, fixed, imposed, reference)
    else:
        ours = _of_export(export)
    steps = _steps(ours, candidate, parts_of_nodes(export.model.graph, recipe), reference)
    first = next((number for number, step in enumerate(steps) if step.drifts), None)
    return Walk(
        against=against,
        reference=ours.told,
        candidate=name,
        images=tuple(batch.names),
        limit=drift_limit(tolerances),
        parts=parts_of_steps(steps),
        drift=None if first is None else steps[first],
        flip=next((item for item in compared if not item.equal), None),
        agrees=steps[first - 1].node if first else "",
    )


@dataclass(frozen=True)
class _Graph:
    """A graph, one batch to run it on, and every value that a node computes and whose shape is known, in order."""

    model: onnx.ModelProto
    batch: ImageBatch
    values: Mapping[str, TensorInfo]

    @classmethod
    def of(cls, model: onnx.ModelProto, batch: ImageBatch) -> _Graph:
        described = {value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)}
        found = {}
        for name in (name for node in model.graph.node for name in node.output if name in described):
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(described[name].elem_type)).name
            found[name] = TensorInfo(name, dtype, tuple(dim.dim_value for dim in described[name].shape.dim))
        return cls(model, batch, found)

    def run(self, names: Iterable[str]) -> dict[str, NDArray]:
        """Those of ``names`` that it has."""
        own = {value.name for value in self.model.graph.output}
        extra = [self.values[name] for name in names if name in self.values and name not in own]
        content, weights = self.model.SerializeToString(), weights_folder(self.model)
        runner = OnnxRuntimeRunner(content, extra_outputs=extra, optimised=True, weights=weights)
        return runner.run(self.batch.pixels, self.batch.extra)


@dataclass(frozen=True)
class _Ours:
    """What the candidate is compared with: in words, the values in order, what made each, and the way to have them.

    ``nodes`` are the export's, by value; ``judged`` the outputs that torch's tolerances for outputs judge.
    """

    told: str
    values: Sequence[TensorInfo]
    labels: Mapping[str, str]
    nodes: Mapping[str, onnx.NodeProto]
    take: Callable[[Sequence[str]], Mapping[str, NDArray]]
    judged: Mapping[str, NDArray] = field(default_factory=dict)


def _of_export(export: _Graph) -> _Ours:
    nodes = {value: node for node in export.model.graph.node for value in node.output}
    labels = {value: node_label(nodes[value]) for value in export.values}
    told = "the model exported again, in onnxruntime; decisions: torch"
    return _Ours(told, list(export.values.values()), labels, nodes, export.run)


def _of_modules(export: _Graph, fixed: FixedModel, imposed: Mapping[str, torch.Tensor], reference: Reference) -> _Ours:
    """What torch's modules and the model itself give out, under the names of the export's values."""
    whole = _of_export(export)
    inputs = [torch.from_numpy(value) for value in (export.batch.pixels, *export.batch.extra.values())]
    modules = ModuleValues(fixed, export.model.graph, inputs, imposed)
    decided = decision_outputs(reference.decision_scores)
    outputs = {value: array for value, array in reference.outputs.items() if value not in decided}

    def take(names: Sequence[str]) -> Mapping[str, NDArray]:
        return outputs | modules.take([name for name in names if name in modules.modules])

    values = [info for info in whole.values if info.name in modules.modules or info.name in outputs]
    told = "the model's modules in torch"
    return _Ours(told, values, {**whole.labels, **modules.modules}, whole.nodes, take, outputs)


def _candidate(bundle: Bundle, precision: str | None, exported: BundleGraphs) -> tuple[onnx.ModelProto, str]:
    """The graph that is looked into, and its name for people."""
    model = graph_of_file(bundle.path / "model.onnx")
    if bundle.policy is not None:
        ahead = graph_of_file(bundle.path / bundle.policy.graph("model.onnx"))
        model = joined_model(ahead, model, bundle.policy.outputs[0].name)
    if precision != "fp16":
        return model, "model.onnx in onnxruntime"
    if bundle.manifest["precision"] == "fp32":
        model, _ = half_precision_model(model, [item.name for item in exported.inner])
    return twin_in_float32(model, rounded=True), "model.onnx in float16 arithmetic"


def _steps(ours: _Ours, candidate: _Graph, parts: Mapping[str, str], reference: Reference) -> list[ValueStep]:
    """Every value compared, in order."""
    steps = []
    for chunk in _chunks(ours.values):
        expected, found = ours.take(chunk), candidate.run(chunk)
        for name in chunk:
            part = part_title(parts[ours.nodes[name].output[0]])
            step = value_step(part, ours.labels[name], name, expected[name], found.get(name), reference.tolerances)
            if step.drifts and name in ours.judged and name in found:  # near ties and counts are torch's to judge
                whole = output_difference(
                    name, found[name], ours.judged[name], reference.near_tie, reference.tolerances
                )
                step = replace(step, drifts=not whole.passed)
            steps.append(step)
    return steps


def _decisions_compared(
    candidate: _Graph, reference: Reference
) -> tuple[list[DecisionDifference], Mapping[str, NDArray]]:
    """Those that the candidate has, compared, and what it decided."""
    decided = decision_outputs(reference.decision_scores)
    ran = candidate.run(decided)
    taken = with_empty_decisions({name: ran[name] for name in decided if name in ran}, reference.outputs, decided)
    scores = {
        key: score for key, score in reference.decision_scores.items() if set(decision_outputs([key])) <= set(taken)
    }
    compared = decisions_between(taken, reference.outputs, scores, reference.decision_gaps, reference.tolerances)
    return compared, taken


def _only_near_ties(compared: Iterable[DecisionDifference]) -> bool:
    """Whether decisions differ, and the first that does in each image is a near tie."""
    first: dict[int, DecisionDifference] = {}
    for item in compared:
        if not item.equal:
            first.setdefault(item.image, item)
    return bool(first) and all(item.near_tie for item in first.values())


def _chunks(infos: Sequence[TensorInfo]) -> Iterator[list[str]]:
    """Names of values that together take a bounded number of bytes, in order."""
    chunk: list[str] = []
    size = 0
    for info in infos:
        size += prod(info.shape) * np.dtype(info.dtype).itemsize
        if chunk and size > _BYTES_AT_ONCE:
            yield chunk
            chunk, size = [], 0
        chunk.append(info.name)
    if chunk:
        yield chunk
