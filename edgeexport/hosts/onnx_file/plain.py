"""From a file to its plain form: one pass over the nodes that knows every shape and constant before each."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator

from edgeexport.device.plain_session import plain_session
from edgeexport.hosts.onnx_file.fused import opened
from edgeexport.hosts.onnx_file.graph import PlainGraph
from edgeexport.hosts.onnx_file.refused import NotRecognised, label_of
from edgeexport.ops import OPSET
from edgeexport.ops.onnx_reading import model_from_file

__all__ = ["input_of_file", "loaded", "plain_graph"]

_OLDEST = 13
_SMALL = 1024  # elements of a constant that tells shapes
_LARGEST_FOLD = 1 << 24  # elements of a value that is computed ahead
_REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ("Max", "Mean", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
)
_QUANTISED = frozenset(
    {
        "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul",
        "QLinearConv", "QAttention", "QGemm", "MatMulNBits", "DynamicQuantizeMatMul", "QLinearAdd", "QLinearMul",
    }
)  # fmt: skip
_LOOPS = ("Loop", "Scan")
_DRAWN = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def loaded(path: Path) -> onnx.ModelProto:
    """The file with its weights, as it is.

    Raises:
        UsageError: It is no ONNX file, or weights are missing.
    """
    model = model_from_file(path)
    onnx.load_external_data_for_model(model, str(path.parent))
    return model


def input_of_file(model: onnx.ModelProto, path: str) -> tuple[str, list[int | None]]:
    """Name and shape (B, C, H, W) of the image; None where a size is open.

    Raises:
        NotRecognised: It takes something else.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in weights]
    what = "one float32 image (B, C, H, W) was looked for among its inputs"
    if len(inputs) != 1:
        problem = f"has {len(inputs)} inputs ({', '.join(item.name for item in inputs) or 'none'}); {what}"
        raise NotRecognised(path, problem, "export the image encoder alone")
    tensor = inputs[0].type.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or len(sizes) != 4:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        problem = f"its input '{inputs[0].name}' is {kind} {sizes}; {what}"
        raise NotRecognised(path, problem, "export the model in float32, for images with their channels first")
    return inputs[0].name, sizes


def plain_graph(model: onnx.ModelProto, path: str, shape: tuple[int, ...]) -> PlainGraph:
    """The plain form of a file for images of ``shape`` (B, C, H, W); ``path`` is for messages.

    Raises:
        NotRecognised: It holds what cannot be followed: the node is named.
    """
    model = _of_known_version(model, path)
    name, _ = input_of_file(model, path)
    work = _Pass(model, path)
    work.shapes[name], work.dtypes[name] = shape, TensorProto.FLOAT
    work.run()
    outputs = tuple(item.name for item in model.graph.output)
    missing = [output for output in outputs if output not in work.shapes]
    if missing:
        raise NotRecognised(path, f"no node makes its output '{missing[0]}'", "save the model again")
    graph = PlainGraph(work.nodes, work.tensors, work.shapes, work.dtypes, name, outputs)
    alive = graph.above(outputs)
    graph.nodes = [node for index, node in enumerate(work.nodes) if index in alive]
    graph.__dict__.pop("place", None)
    return graph


def _of_known_version(model: onnx.ModelProto, path: str) -> onnx.ModelProto:
    version = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if model.functions:
        model = inliner.inline_local_functions(model)
    if version >= _OLDEST:
        return model
    try:
        return version_converter.convert_version(model, _OLDEST)
    except Exception as error:  # the converter raises whatever an operator without a rule makes it raise
        reason = " ".join(str(error).split())[:160]
        problem = f"is of opset {version} and cannot be brought to {_OLDEST}: {reason}"
        raise NotRecognised(path, problem, f"export it with opset {_OLDEST} or later") from None


class _Pass:
    """Takes node after node: opens what is fused, brings it to our opset, folds it, or infers its results."""

    def __init__(self, model: onnx.ModelProto, path: str) -> None:
        self.path = path
        self.waiting = deque(model.graph.node)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, int] = {}
        self._computed: dict[str, NDArray] = {}
        for tensor in model.graph.initializer:
            self.tensors[tensor.name] = tensor
            self.shapes[tensor.name], self.dtypes[tensor.name] = tuple(tensor.dims), tensor.data_type

    def run(self) -> None:
        """Until no node waits."""
        while self.waiting:
            node = self.waiting.popleft()
            self._refuse_unknown(node)
            branch = self._branch(node)
            inside = opened(node, self.shapes, self.dtypes) if branch is None else branch
            if inside is not None:
                self.waiting.extendleft(reversed(inside))
                continue
            node = self._of_our_opset(node)
            if not self._folded(node):
                self._infer(node)
                self.nodes.append(node)

    def _refuse_unknown(self, node: onnx.NodeProto) -> None:
        if node.op_type in _QUANTISED:
            problem = f"{label_of(node)}: the graph is quantised, and float32 products were looked for"
            raise NotRecognised(self.path, problem, "give the file as it was before quantisation")
        if node.op_type in _LOOPS:
            raise NotRecognised(self.path, f"{label_of(node)}: loops are not followed", "export it unrolled")
        for name in node.input:
            if name and name not in self.shapes:
                problem = f"{label_of(node)} reads '{name}', which nothing makes and no weight is called"
                raise NotRecognised(self.path, problem, "give the file with its weights")

    def _branch(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """The nodes of the branch that an ``If`` takes."""
        if node.op_type != "If":
            return None
        if node.input[0] not in self.tensors:
            problem = f"{label_of(node)}: which branch runs depends on the image"
            raise NotRecognised(self.path, problem, "export it with a constant size")
        taken = "then_branch" if bool(self._array(node.input[0]).all()) else "else_branch"
        graph = next(item.g for item in node.attribute if item.name == taken)
        for tensor in graph.initializer:
            self.tensors[tensor.name] = tensor
            self.shapes[tensor.name], self.dtypes[tensor.name] = tuple(tensor.dims), tensor.data_type
        ends = [
            helper.make_node("Identity", [own.name], [outer], f"{node.name}/{number}")
            for number, (own, outer) in enumerate(zip(graph.output, node.output, strict=True))
        ]
        return [*graph.node, *ends]

    def _of_our_opset(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The node as opset 20 writes it."""
        if node.domain not in ("", "ai.onnx"):
            problem = f"{label_of(node)}: the operator is of the domain {node.domain}, standard ones were looked for"
            raise NotRecognised(self.path, problem, "export again without fusion (optimisation level basic)")
        result = onnx.NodeProto()
        result.CopyFrom(node)
        result.domain, result.doc_string = "", ""
        del result.metadata_props[:]
        own = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type in _REDUCTIONS and "axes" in own and len(node.input) == 1:
            result.input.append(self._stored(f"{node.output[0]}/axes", np.asarray(own["axes"], dtype=np.int64)))
            _drop(result, "axes")
        if node.op_type == "Split" and "num_outputs" not in own and (len(node.input) == 1 or not node.input[1]):
            result.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
        if node.op_type == "GridSample" and own.get("mode") in (b"bilinear", b"bicubic"):
            _drop(result, "mode")
            result.attribute.append(helper.make_attribute("mode", own["mode"].decode().removeprefix("bi")))
        if not result.name:
            result.name = f"{node.op_type}/{next(iter(node.output))}"
        return result

    def _folded(self, node: onnx.NodeProto) -> bool:
        """Whether the node's results are constants, which they are made then."""
        if node.op_type == "Shape":
            own = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            sizes = self.shapes[node.input[0]][own.get("start", 0) : own.get("end")]
            self._stored(node.output[0], np.asarray(sizes, dtype=np.int64))
            return True
        if node.op_type == "Size":
            self._stored(node.output[0], np.asarray(np.prod(self.shapes[node.input[0]]), dtype=np.int64))
            return True
        if node.op_type in _DRAWN or any(name and name not in self.tensors for name in node.input):
            return False
        for name, value in zip(node.output, self._evaluated(node), strict=False):
            if name:
                self._stored(name, value)
        return True

    def _evaluated(self, node: onnx.NodeProto) -> list[NDArray]:
        feeds = {name: self._array(name) for name in node.input if name}
        inputs = [helper.make_tensor_value_info(name, self.dtypes[name], self.shapes[name]) for name in feeds]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "constant", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        exact = all(value.dtype.kind in "iub" and value.size <= _SMALL for value in feeds.values())
        try:
            if exact:
                return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
            return list(plain_session(model.SerializeToString()).run(None, feeds))
        except Exception as error:  # of either library, of many classes
            reason = " ".join(str(error).split())[:160]
            raise NotRecognised(self.path, f"{label_of(node)} cannot be computed: {reason}") from None

    def _infer(self, node: onnx.NodeProto) -> None:
        types = {
            name: helper.make_tensor_type_proto(self.dtypes[name], self.shapes[name]) for name in node.input if name
        }
        known = {
            name: self._small(name)
            for name in node.input
            if name in self.tensors and int(np.prod(self.shapes[name])) <= _SMALL
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, OPSET, "")
            imports = [helper.make_opsetid("", OPSET)]
            found = onnx.shape_inference.infer_node_outputs(schema, node, types, known, opset_imports=imports)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            problem = f"{label_of(node)} does not fit its inputs {_sizes(node, self.shapes)}: {reason}"
            remedy = "give the size that it was exported for (model.image), or export it again with opset 20 or earlier"
            raise NotRecognised(self.path, problem, remedy) from None
        for name in filter(None, node.output):
            tensor = found[name].tensor_type if name in found else None
            dims = [] if tensor is None else [dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value")]
            if tensor is None or not tensor.HasField("shape") or len(dims) != len(tensor.shape.dim):
                problem = f"{label_of(node)}: the shape of its result depends on the image"
                raise NotRecognised(self.path, problem, "export it with a constant size")
            self.shapes[name], self.dtypes[name] = tuple(dims), tensor.elem_type

    def _array(self, name: str) -> NDArray:
        if name not in self._computed:
            self._computed[name] = numpy_helper.to_array(self.tensors[name])
        return self._computed[name]

    def _small(self, name: str) -> onnx.TensorProto:
        return self.tensors[name]

    def _stored(self, name: str, value: NDArray) -> str:
        if value.size > _LARGEST_FOLD:
            raise NotRecognised(self.path, f"'{name}' is a constant of {value.size} values", "export it folded")
        self.tensors[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        self.tensors[name].ClearField("doc_string")
        self.shapes[name], self.dtypes[name] = tuple(value.shape), self.tensors[name].data_type
        if value.size <= _SMALL:
            self._computed[name] = value
        return name


def _drop(node: onnx.NodeProto, attribute: str) -> None:
    kept = [item for item in node.attribute if item.name != attribute]
    del node.attribute[:]
    node.attribute.extend(kept)


def _sizes(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(str(list(shapes[name])) for name in node.input if name)
