"""The graph for a TensorRT that has the plugin library: bare nodes where there is a plugin, standard operators elsewhere.

TensorRT 10.1 to 10.6 prefer a function body to the plugin and mis-bind its inputs, so no op may have both.
"""

from __future__ import annotations

from dataclasses import replace

import onnx
import onnx_ir as ir
from onnx import helper

from edgeexport.errors import BuildError
from edgeexport.graph.inline import folded_skeleton
from edgeexport.graph.plugin_steps import join_steps
from edgeexport.graph.skeleton import model_from_skeleton, skeleton_from_model
from edgeexport.ops import DOMAIN, DOMAIN_VERSION

__all__ = ["BARE_OPS", "PLUGIN_OPS", "plugin_model"]

PLUGIN_OPS = frozenset(
    {
        "TokenMatch",
        "TokenMatchMerge",
        "TokenMerge",
        "TokenPartition",
        "TokenProtectSelect",
        "TokenUnmerge",
        "UpsampleArgmax",
    }
)
"""Ops that the library has a plugin for."""

BARE_OPS = PLUGIN_OPS - {"TokenUnmerge"}
"""Ops that graphs leave to their plugin. A gather is no kernel where a compiler fuses it with what reads it, and always one in
a plugin; TokenUnmerge's is for bundles that were built with it.
"""


def plugin_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model.trt.onnx` from a model with function bodies; the input is unchanged, weights are copied once.

    Steps that one plugin takes whole become one node each (`edgeexport.graph.plugin_steps`). Ops of `BARE_OPS` stay as
    nodes with the attributes by which TensorRT's parser finds a plugin (``plugin_version``, ``plugin_namespace``); the
    bodies of all other custom ops are inlined and their shape computations folded, as in the plugin-free graph.

    Raises:
        BuildError: A custom op has neither a plugin nor a body, or the functions do not fit the model.
    """
    skeleton = skeleton_from_model(model)
    program = ir.from_proto(skeleton.model)
    join_steps(program)
    small = ir.to_proto(program)
    bodies = [function for function in small.functions if function.name not in BARE_OPS]
    del small.functions[:]
    small.functions.extend(bodies)
    try:
        folded = folded_skeleton(small)
    except Exception as error:  # the passes raise ValueError, RuntimeError, PreconditionError, PassError...
        reason = " ".join(str(error.__cause__ or error).split())
        raise BuildError(
            "plugin graph", f"cannot be derived: {reason}", "check the ONNX bodies of the custom ops"
        ) from error
    for node in folded.graph.node:
        if node.domain == DOMAIN:
            if node.op_type not in BARE_OPS:
                raise BuildError(
                    f"node '{node.name or node.output[0]}'",
                    f"custom op {DOMAIN}::{node.op_type} has neither a TensorRT plugin nor a function body",
                    "pass the model with its functions (model.onnx)",
                )
            node.attribute.append(helper.make_attribute("plugin_version", str(DOMAIN_VERSION)))
            node.attribute.append(helper.make_attribute("plugin_namespace", DOMAIN))
    # Not strict: what a bare node returns is known from the exporter alone.
    inferred = onnx.shape_inference.infer_shapes(folded, data_prop=True)
    return model_from_skeleton(replace(skeleton, model=inferred))
