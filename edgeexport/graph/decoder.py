"""A user's decoder appended to an exported graph, under names of its own."""

from __future__ import annotations

import onnx
from onnx import compose, version_converter

from edgeexport.errors import BuildError, UsageError
from edgeexport.graph.export import SCOPE_KEY
from edgeexport.graph.inline import inlined_model
from edgeexport.ops import OPSET
from edgeexport.recipe.decoder import DecoderSpec

__all__ = ["DECODER_SCOPE", "append_decoder"]

DECODER_SCOPE = "decoder"
_REMEDY = "export the decoder with constant shapes"


def append_decoder(model: onnx.ModelProto, spec: DecoderSpec) -> None:
    """Adds the file's nodes, weights and outputs to ``model``, in place; its inputs are the model's outputs ``spec.reads``.

    Nodes, values and weights get the prefix ``decoder/``, its outputs keep their names.

    Raises:
        UsageError: The file cannot be brought to the graph's version of the operators, or an output has no constant shape.
    """
    decoder = _of_our_version(onnx.load(spec.path), spec)
    given = {value.name: value for value in model.graph.output}
    for value in decoder.graph.input:
        if value.name in spec.inputs:
            value.type.CopyFrom(given[spec.reads[spec.inputs.index(value.name)]].type)
    del decoder.graph.value_info[:]  # what is known of other values was said of open shapes
    for value in decoder.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        decoder = inlined_model(decoder)  # sizes that it computes from its input's become constants
    except BuildError as error:
        raise UsageError(str(spec.path), f"does not fit the model's features: {error.problem}", _REMEDY) from None
    for value in decoder.graph.output:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if not value.type.tensor_type.HasField("shape") or not all(sizes):
            raise UsageError(str(spec.path), f"its output {value.name!r} has no constant shape", _REMEDY)
    prefix = f"{DECODER_SCOPE}/"
    graph = compose.add_prefix(decoder, prefix=prefix).graph
    names = {prefix + own: read for own, read in zip(spec.inputs, spec.reads, strict=True)}
    names |= {prefix + name: name for name in spec.outputs}
    for number, node in enumerate(graph.node):
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
        node.name = f"{prefix}{node.op_type}_{number}"
        del node.metadata_props[:]
        node.metadata_props.add(key=SCOPE_KEY, value=DECODER_SCOPE)
    model.graph.node.extend(graph.node)
    model.graph.initializer.extend(graph.initializer)
    model.graph.value_info.extend(value for value in graph.value_info if value.name not in names)
    for value in graph.output:
        value.name = names[value.name]
        model.graph.output.append(value)


def _of_our_version(decoder: onnx.ModelProto, spec: DecoderSpec) -> onnx.ModelProto:
    version = next((item.version for item in decoder.opset_import if item.domain in ("", "ai.onnx")), OPSET)
    if version == OPSET:
        return decoder
    try:
        return version_converter.convert_version(decoder, OPSET)
    except Exception as error:  # the converter raises whatever an operator without a rule makes it raise
        reason = " ".join(str(error).split())[:200]
        problem = f"is of opset {version} and cannot be brought to {OPSET}: {reason}"
        raise UsageError(str(spec.path), problem, f"export the decoder with opset {OPSET}") from None
