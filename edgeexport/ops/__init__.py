"""Custom operators of the domain ``edgeexport``: one definition, three executions.

Each op's file owns its name, version, attributes, a torch reference, and an ONNX function body in standard operators.
`model.onnx` carries the bodies; `model.trt.onnx` carries bare nodes for the ops that have a TensorRT plugin.
"""

from __future__ import annotations

DOMAIN = "edgeexport"
DOMAIN_VERSION = 1
OPSET = 20

__all__ = ["DOMAIN", "DOMAIN_VERSION", "OPSET"]
