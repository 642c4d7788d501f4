"""How a file is refused: what was looked for, where it failed, and what would help."""

from __future__ import annotations

from edgeexport.errors import UsageError

__all__ = ["NotRecognised", "label_of"]

import onnx


class NotRecognised(UsageError):
    """An ONNX file, or a part of it, is not what token reduction can act on (exit code 2)."""


def label_of(node: onnx.NodeProto) -> str:
    """A node for people: its operator, and its name or first output."""
    return f"{node.op_type} '{node.name or next(iter(node.output), '')}'"
