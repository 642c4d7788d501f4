"""A bundle's graphs cut in two at a decision: the network that takes it, and the model that is given it.

Both come from one export, so that together they compute what the whole graph computes. Only the normalised image is computed in
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import onnx
from onnx import helper

from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError
from edgeexport.graph.graphs import BundleGraphs
from edgeexport.graph.outputs import select_outputs

__all__ = ["joined_model", "parts_of_graphs"]

_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})


def parts_of_graphs(graphs: BundleGraphs, choice: str | None) -> dict[str, BundleGraphs]:
    """The graphs of a bundle by what their files are called after: 'model' alone, or 'policy' and 'model'.

    'policy' goes from the image to ``choice``, 'model' from the image and ``choice`` to the bundle's outputs, in every form
    that ``graphs`` has, which stays as it is.

    Args:
        graphs: The whole.
        choice: A decision among its values, at which it is cut (`FixedModel.separate`); None: it stays whole.

    Raises:
        BuildError: The graph does not give the decision out, or the model needs more of the network than that.
    """
    if choice is None:
        return {"model": graphs}
    known = {item.name: item for item in (*graphs.outputs, *graphs.inner)}
    if choice not in known:
        raise BuildError("graph", f"has no value {choice!r} to be cut at", f"available: {', '.join(known)}")
    info = known[choice]
    forms = {field.name: getattr(graphs, field.name) for field in fields(graphs)}
    forms = {name: form for name, form in forms.items() if isinstance(form, onnx.ModelProto)}
    outputs, inner = (tuple(i for i in items if i.name != choice) for items in (graphs.outputs, graphs.inner))
    policy = {name: _policy_of(form, info) for name, form in forms.items()}
    model = {name: _model_of(form, info, [item.name for item in outputs]) for name, form in forms.items()}
    for name in forms:
        _check_apart(policy[name], model[name], choice)
    return {
        "policy": replace(graphs, **policy, extra_inputs=(), outputs=(info,), inner=()),
        "model": replace(graphs, **model, extra_inputs=(*graphs.extra_inputs, info), outputs=outputs, inner=inner),
    }


def joined_model(policy: onnx.ModelProto, model: onnx.ModelProto, choice: str) -> onnx.ModelProto:
    """The whole graph again from its two parts, whose common nodes have the same names."""
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    _remove(joined.graph.input, [choice])
    graph = joined.graph
    ahead = {node.name for node in policy.graph.node}
    nodes = [*policy.graph.node, *(node for node in model.graph.node if node.name not in ahead)]
    del graph.node[:]
    graph.node.extend(nodes)
    for own, more in (
        (graph.initializer, policy.graph.initializer),
        (graph.value_info, [*policy.graph.value_info, *policy.graph.output]),
        (joined.functions, policy.functions),
    ):
        names = {item.name for item in own}
        own.extend(item for item in more if item.name not in names)
    return joined


def _policy_of(whole: onnx.ModelProto, choice: TensorInfo) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(whole)
    del part.graph.output[:]
    part.graph.output.append(_value(choice))
    select_outputs(part, [choice.name])
    _remove(part.graph.value_info, [choice.name])
    _drop_unused(part)
    return part


def _model_of(whole: onnx.ModelProto, choice: TensorInfo, outputs: Sequence[str]) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(whole)
    for node in part.graph.node:  # who made it gives it to nobody, and goes
        for position, value in enumerate(node.output):
            if value == choice.name:
                node.output[position] = f"{choice.name}/cut"
    _remove(part.graph.value_info, [choice.name])
    part.graph.input.append(_value(choice))
    select_outputs(part, outputs)
    _drop_unused(part)
    return part


def _check_apart(policy: onnx.ModelProto, model: onnx.ModelProto, choice: str) -> None:
    """The model may repeat the normalisation of the image, never the network.

    Raises:
        BuildError: A product stands in both parts.
    """
    ahead = {node.name for node in policy.graph.node if node.op_type in _PRODUCTS}
    both = next((node.name for node in model.graph.node if node.name in ahead), None)
    if both is not None:
        problem = f"cannot be cut at {choice!r}: the model also needs {both!r} of the network that gives it"
        raise BuildError("graph", problem, "report it with the recipe; policy='inside' can be built meanwhile")


def _value(info: TensorInfo) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(info.name, helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype)), info.shape)


def _drop_unused(model: onnx.ModelProto) -> None:
    """Bodies of ops that the part has none of."""
    used = {(node.domain, node.op_type) for node in model.graph.node}
    used |= {(node.domain, node.op_type) for body in model.functions for node in body.node}
    for index in range(len(model.functions) - 1, -1, -1):
        if (model.functions[index].domain, model.functions[index].name) not in used:
            del model.functions[index]


def _remove(group: object, names: Sequence[str]) -> None:
    for index in range(len(group) - 1, -1, -1):  # type: ignore[arg-type]
        if group[index].name in names:  # type: ignore[index]
            del group[index]  # type: ignore[attr-defined]
