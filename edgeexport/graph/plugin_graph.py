"""The graph for a TensorRT that has the plugin library: bare nodes where there is a plugin, standard operators elsewhere.

TensorRT 10.1 to 10.6 prefer a function body to the plugin and mis-bind its inputs, so no op may have both.
"""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import helper, inliner

from edgeexport.errors import BuildError
from edgeexport.graph.skeleton import model_from_skeleton, skeleton_from_model
from edgeexport.ops import DOMAIN, DOMAIN_VERSION

__all__ = ["PLUGIN_OPS", "plugin_model"]

PLUGIN_OPS = frozenset({"TokenPartition", "TokenUnmerge", "UpsampleArgmax"})


def plugin_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model.trt.onnx` from a model with function bodies; the input is unchanged, weights are copied once.

    Ops of `PLUGIN_OPS` stay as nodes with the attributes by which TensorRT's parser finds a plugin
    (``plugin_version``, ``plugin_namespace``); the bodies of all other custom ops are inlined.

    Raises:
        BuildError: A custom op has neither a plugin nor a body.
    """
    skeleton = skeleton_from_model(model)
    small = skeleton.model
    inlined = [(function.domain, function.name) for function in small.functions if function.name not in PLUGIN_OPS]
    if inlined:
        small = inliner.inline_selected_functions(small, inlined)
    del small.functions[:]
    for node in small.graph.node:
        if node.domain == DOMAIN:
            if node.op_type not in PLUGIN_OPS:
                raise BuildError(
                    f"node '{node.name or node.output[0]}'",
                    f"custom op {DOMAIN}::{node.op_type} has neither a TensorRT plugin nor a function body",
                    "pass the model with its functions (model.onnx)",
                )
            node.attribute.append(helper.make_attribute("plugin_version", str(DOMAIN_VERSION)))
            node.attribute.append(helper.make_attribute("plugin_namespace", DOMAIN))
    return model_from_skeleton(replace(skeleton, model=small))
