"""What was recognised of a file, for people and as plain data; and what was not, softmax by softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexport.bundle import sha256_of
from edgeexport.errors import UsageError
from edgeexport.hosts.onnx_file.plain import input_of_file, loaded, plain_graph
from edgeexport.hosts.onnx_file.recognise import attention_at
from edgeexport.hosts.onnx_file.refused import label_of
from edgeexport.hosts.onnx_file.vit import FileVit, Reading, opened_file

__all__ = ["recognition"]

_SIDE = 224


def recognition(path: Path, reading: Reading | None = None) -> dict[str, Any]:
    """JSON-ready: what a build would act on, or ``refused``, why it would not; ``softmaxes`` tells what became of each.

    Raises:
        UsageError: It is no readable ONNX file.
    """
    own = reading or Reading()
    digest = sha256_of(path)
    try:
        found = _facts(opened_file(path, digest, own))
    except UsageError as error:
        found = {"refused": error.as_dict()}
    return {**found, "softmaxes": _softmaxes(path, own)}


def _facts(vit: FileVit) -> dict[str, Any]:
    return {
        "refused": None,
        "image": {"name": vit.graph.input, "shape": list(vit.image), "batch": "any" if vit.open_batch else "fixed"},
        "tokens": {"all": vit.tokens, "prefix": vit.prefix, "grid": list(vit.grid)},
        "width": vit.width,
        "heads": vit.heads,
        "tables": vit.tables,
        "blocks": [
            {
                "block": number,
                "softmax": label_of(vit.graph.nodes[block.attention.softmax]),
                "enters": block.attention.entering,
                "merges_at": block.attention.leaving,
                "ends": block.end,
                "nodes": len(block.attending) + len(block.finishing),
                "sizes_rewritten": len(block.axes.sizes),
                "tables": len(block.axes.tables),
                "masks_removed": len(block.axes.narrowed),
            }
            for number, block in enumerate(vit.blocks, start=1)
        ],
        "tail": {
            "reads": list(vit.reads),
            "nodes": len(vit.tail),
            "outputs": list(vit.graph.outputs),
            "tokens": "stay merged" if vit.keeps_merged and len(vit.reads) == 1 else "brought back",
        },
    }


def _softmaxes(path: Path, reading: Reading) -> list[dict[str, Any]]:
    try:
        model = loaded(path)
        _, sizes = input_of_file(model, path.name)
        sides = reading.image or (sizes[2] or _SIDE, sizes[3] or _SIDE)
        batch = sizes[0] or 1
        graph = plain_graph(model, path.name, (batch, sizes[1] or 3, *sides))
    except UsageError:
        return []
    rows = []
    for position, node in enumerate(graph.nodes):
        if node.op_type == "Softmax":
            found = attention_at(graph, position, batch)
            reason = found if isinstance(found, str) else ""
            shape = list(graph.shapes[node.output[0]])
            rows.append({"node": label_of(node), "shape": shape, "attention": not reason, "reason": reason})
    return rows
