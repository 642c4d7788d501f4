"""How far the values of a mixed-precision graph are from float16's largest number, on given images.

The graph runs in float32 (`edgeexport.graph.half_precision_twin`), and every float16 value is reduced to its largest magnitude
at once, inside the graph, so that nothing is held but one number each. A product is run a second time on magnitudes: no
partial sum, in whatever order, exceeds that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.errors import ParityError
from edgeexport.graph.half_precision_policy import WEIGHTED, keep_options, node_label
from edgeexport.graph.half_precision_twin import computed_in_half, twin_in_float32
from edgeexport.graph.half_precision_weights import LARGEST, TOO_LARGE
from edgeexport.graph.weights_apart import weights_folder
from edgeexport.inputs.batches import ImageBatch

__all__ = ["HalfRange", "ValueRange", "half_range"]

LITTLE_HEADROOM = 2.0
"""Values that leave less than this factor to float16's largest number are told: other images may exceed it."""

_NAMED_IN_MANIFEST = 8


@dataclass(frozen=True)
class ValueRange:
    """A float16 value of the graph, or one that is rounded to float16.

    Attributes:
        node: What computes it; the input's name, where it is the graph's.
        largest: Its largest finite magnitude over all images, in float32.
        sums: No partial sum behind it exceeds this; None where it is no product.
    """

    node: str
    largest: float
    sums: float | None = None

    @property
    def overflows(self) -> bool:
        """Whether float16 makes it infinite."""
        return self.largest >= TOO_LARGE

    @property
    def text(self) -> str:
        """``reaches 41,000 of 65,504``."""
        return f"reaches {magnitude_text(self.largest)} of {LARGEST:,.0f}"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready; headroom is how many times larger the value might be."""
        headroom = LARGEST / self.largest if self.largest else None
        return {
            "node": self.node,
            "largest": float(f"{self.largest:.6g}"),
            "headroom": headroom and float(f"{headroom:.4g}"),
            "sums": None if self.sums is None else float(f"{self.sums:.6g}"),
        }


@dataclass(frozen=True)
class HalfRange:
    """Every float16 value of a graph, in the order of execution, and the images that were run."""

    images: tuple[str, ...]
    values: tuple[ValueRange, ...]

    @property
    def by_size(self) -> list[ValueRange]:
        """The largest first."""
        return sorted(self.values, key=lambda item: -item.largest)

    def raise_for_overflow(self) -> None:
        """Refuses values that float16 makes infinite.

        Raises:
            ParityError: Names the first node, how many there are, and what to do.
        """
        beyond = [item for item in self.values if item.overflows]
        if beyond:
            more = f", and so do {len(beyond) - 1} more" if len(beyond) > 1 else ""
            problem = (
                f"{beyond[0].text}, float16's largest number, on {', '.join(self.images)}{more}: infinite on a device"
            )
            raise ParityError(f"node '{beyond[0].node}'", problem, keep_options([item.node for item in beyond]))

    @property
    def warnings(self) -> list[str]:
        """What is near the limit, and products whose sums a kernel with float16 sums might not hold."""
        near = [item for item in self.by_size if item.largest > LARGEST / LITTLE_HEADROOM]
        sums = sorted(
            (item for item in self.values if (item.sums or 0) >= TOO_LARGE), key=lambda item: -(item.sums or 0)
        )
        told = []
        if near:
            keep = keep_options([item.node for item in near])
            told.append(f"little room in float16: {near[0].node} {near[0].text}{_more(near)}; {keep}")
        if sums:
            size, keep = magnitude_text(sums[0].sums or 0), keep_options([item.node for item in sums])
            told.append(
                f"products of {sums[0].node} add up to {size} in magnitude{_more(sums)}: beyond {LARGEST:,.0f} where a kernel "
                f"sums in float16; {keep}"
            )
        return told

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, for parity.json: every value."""
        return {"limit": LARGEST, "images": list(self.images), "values": [item.as_dict() for item in self.values]}

    def summary(self) -> dict[str, object]:
        """JSON-ready, for the manifest: the largest values."""
        largest = [item.as_dict() for item in self.by_size[:_NAMED_IN_MANIFEST]]
        return {"limit": LARGEST, "images": list(self.images), "observed": len(self.values), "largest": largest}


def half_range(model: onnx.ModelProto, batches: Iterable[ImageBatch]) -> HalfRange:
    """Runs a mixed-precision graph on images with all its float16 values observed.

    Args:
        model: `model.onnx`: custom ops with bodies, the type of every value.
        batches: Inputs in the graph's form.
    """
    values = list(_observed(model.graph))
    twin = twin_in_float32(model, rounded=False)
    _observe(twin, values)
    # unoptimised: weights are widened one at a time
    runner = OnnxRuntimeRunner(twin.SerializeToString(), optimised=True, weights=weights_folder(twin))
    del twin
    images: list[str] = []
    found: dict[str, float] = {}
    for batch in batches:
        images += batch.names
        for name, value in runner.run(batch.pixels, batch.extra).items():
            found[name] = max(found.get(name, 0.0), float(value))
    ranges = [ValueRange(node, found[f"{name}/largest"], found.get(f"{name}/sums")) for node, name, _ in values]
    return HalfRange(tuple(images), tuple(ranges))


def _observed(graph: onnx.GraphProto) -> Iterator[tuple[str, str, onnx.NodeProto]]:
    """(node, value, node that makes it float16) of what is observed: behind a cast, of what it rounds."""
    maker = {name: node_label(node) for node in graph.node for name in node.output}
    for node, name in computed_in_half(graph):
        of = node.input[0] if node.op_type == "Cast" else name
        yield maker.get(of, of), name, node


def _observe(twin: onnx.ModelProto, values: list[tuple[str, str, onnx.NodeProto]]) -> None:
    """Replaces the outputs of a graph by one scalar for each value, and one for the sums of each product."""
    graph = twin.graph
    constants = {"range/zero": np.float32(0)}
    graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in constants.items())
    by_output = {node.output[0]: node for node in graph.node}
    nodes: list[onnx.NodeProto] = []
    outputs: list[str] = []

    def largest(value: str, result: str) -> None:
        nodes.append(helper.make_node("Abs", [value], [f"{result}/abs"]))
        nodes.append(helper.make_node("IsInf", [value], [f"{result}/infinite"]))  # masks are, in float32 as well
        nodes.append(
            helper.make_node("Where", [f"{result}/infinite", "range/zero", f"{result}/abs"], [f"{result}/finite"])
        )
        nodes.append(helper.make_node("ReduceMax", [f"{result}/finite"], [result], keepdims=0))
        outputs.append(result)

    for _, value, node in values:
        largest(value, f"{value}/largest")
        if node.domain == "" and node.op_type in WEIGHTED:
            product = onnx.NodeProto()
            product.CopyFrom(by_output[value])
            for index, name in enumerate(product.input):
                if name:
                    product.input[index] = f"{value}/operand_{index}"
                    nodes.append(helper.make_node("Abs", [name], [product.input[index]]))
            product.name = product.output[0] = f"{value}/magnitudes"
            nodes.append(product)
            largest(product.output[0], f"{value}/sums")
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in outputs)


def magnitude_text(number: float) -> str:
    """``41,000``, ``0.1778``."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _more(items: list[ValueRange]) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""
