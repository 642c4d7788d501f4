"""Nodes that a host gives in place of a stand-in, where its model is a graph already and no module of torch.

A host of that kind walks through stand-ins: in an export each is one opaque node of `STAND_IN`, around which the exporter
writes the reductions' steps as for any other host; `edgeexport.graph.stand_ins` then asks the walk for the nodes themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from onnx import helper

from edgeexport.ops import OPSET

__all__ = ["STAND_IN", "Piece"]

STAND_IN = "edgeexport.stand_in"
"""Domain of stand-ins; none is left in a graph that leaves `edgeexport.graph.graphs.export_of_fixed`."""


@dataclass
class Piece:
    """Nodes, the constants that they read, and what is known of their values.

    ``inputs`` and ``outputs`` are values by name, in order.
    """

    inputs: list[str]
    outputs: list[str] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)

    def model(self) -> onnx.ModelProto:
        """As a model of its own."""
        infos = {
            name: helper.make_tensor_value_info(name, self.dtypes[name], self.shapes[name])
            for name in (*self.inputs, *self.outputs)
        }
        graph = helper.make_graph(
            self.nodes,
            "part",
            [infos[name] for name in self.inputs],
            [infos[name] for name in self.outputs],
            list(self.constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
