"""Which part of the model each node of an exported graph belongs to, by the module that it comes from.

Every step of a fixed model is a module, so the exporter notes for each node where it stands, such as
``walk.blocks.4.attn.qkv`` or ``dtop.6.select``; hosts and reductions say which part that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

import onnx

from edgeexport.cost.work import OTHER
from edgeexport.graph.decoder import DECODER_SCOPE
from edgeexport.graph.export import scope_of

__all__ = ["Scoped", "parts_of_nodes"]


class Scoped(Protocol):
    """A recipe of any kind."""

    @property
    def scopes(self) -> Mapping[str, str]:
        """Path of a module in what is exported, its numbers as '#' -> part of the model, such as 'block_#'."""


def parts_of_nodes(graph: onnx.GraphProto, recipe: Scoped) -> dict[str, str]:
    """First output of every node -> its part (see `edgeexport.cost.work.part_title`).

    Args:
        graph: Of model.onnx: custom ops as calls.
        recipe: What it was exported from.
    """
    rows = [*recipe.scopes.items(), (DECODER_SCOPE, "decode_head")]
    tables = [(re.compile(re.escape(path).replace(r"\#", r"(\d+)") + r"(?:\.|$)"), part) for path, part in rows]
    return {node.output[0]: _part(scope_of(node), tables) for node in graph.node}


def _part(scope: str, tables: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, part in tables:
        if (match := pattern.match(scope)) is not None:
            return part.replace("#", match[1]) if match.groups() else part
    return OTHER
