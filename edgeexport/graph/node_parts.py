"""Which part of the model each node of an exported graph belongs to.

The exporter notes the module that a node comes from, for the nodes inside modules. The steps between modules (sharing,
pruning, merging, the tail) are functions, which it does not note: a node there is placed by what stands before and after
it, for the exporter keeps the program's order, and merging by the flow of its data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx

from edgeexport.cost.work import OTHER
from edgeexport.graph.export import SCOPE_KEY
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.ops import DOMAIN, token_match, token_merge, token_unmerge
from edgeexport.recipe.schema import Recipe

__all__ = ["parts_of_nodes"]

_MERGE_OUTPUT = re.compile(r"merge_source_(\d+)")
_MERGING = frozenset({token_match.NAME, token_merge.NAME})

# First names of a module's path below the model -> part; '#' stands for a block's number from 0.
_SEGVIT_PARTS = {
    "policy_net": "policy",
    "backbone.patch_embed": "embedding",
    "backbone.layers.#": "block",
    "backbone.ln1": "final_norm",
    "auxiliary_head.#": "auxiliary_head",
    "decode_head": "decode_head",
}
_TIMM_PARTS = {
    "patch_embed": "embedding",
    "norm_pre": "embedding",
    "blocks.#": "block",
    "norm": "final_norm",
    "fc_norm": "head",
    "attn_pool": "head",
    "head": "head",
}


def parts_of_nodes(graph: onnx.GraphProto, recipe: Recipe) -> dict[str, str]:
    """First output of every node -> its part (see `edgeexport.cost.work.part_title`).

    Args:
        graph: Of model.onnx: custom ops as calls.
        recipe: What it was exported from.
    """
    scoped = [_scoped_part(node, recipe) for node in graph.node]
    following = _following(scoped)
    found: dict[str, str] = {}
    before = ""
    for node, part, after in zip(graph.node, scoped, following, strict=True):
        found[node.output[0]] = part or _between(before, after)
        before = part or before
    if any(node.domain == DOMAIN and node.op_type in _MERGING for node in graph.node):
        _mark_merging(graph, scoped, found)
    return found


def _scoped_part(node: onnx.NodeProto, recipe: Recipe) -> str:
    """By the module that it comes from; empty where it has none."""
    scope = next((item.value for item in node.metadata_props if item.key == SCOPE_KEY), "")
    if not scope:
        return ""
    if isinstance(recipe.model, SdBlockSpec):
        return "block_1"
    path = scope.split(".")[1:]  # the model itself is an attribute of the module that is exported
    table = _SEGVIT_PARTS if isinstance(recipe.model, SegVitSpec) else _TIMM_PARTS
    for pattern, part in table.items():
        names = pattern.split(".")
        if len(path) < len(names) or any(a not in ("#", b) for a, b in zip(names, path, strict=False)):
            continue
        if "#" not in names:
            return part
        number = int(path[names.index("#")])
        if part == "auxiliary_head":
            return f"{part}_{recipe.segvit.auxiliary_heads[number].stages[0]}"
        return f"{part}_{number + 1}"
    return ""


def _following(scoped: Sequence[str]) -> list[str]:
    """For every node, the part of the next one that comes from a module."""
    found: list[str] = []
    after = ""
    for part in reversed(scoped):
        found.append(after)
        after = part or after
    return found[::-1]


def _between(before: str, after: str) -> str:
    """The part of a node outside every module, from those of the modules before and after it; empty: none."""
    if before == after and before:
        return before
    if before == "policy":
        return "share"
    if before in ("", "embedding"):
        return "embedding"  # the image's normalisation and patches, the tokens' positions
    if before.startswith("auxiliary_head"):
        return before.replace("auxiliary_head", "prune")
    if before.startswith("block"):
        return before
    if before in ("final_norm", "head"):
        return after or "head"  # dropping the class token, pooling
    return "tail" if before == "decode_head" else OTHER


def _mark_merging(graph: onnx.GraphProto, scoped: Sequence[str], found: dict[str, str]) -> None:
    """Puts what chooses and merges tokens into a part of its own, among what lies outside modules around the blocks.

    Those are the two ops, whatever works on their results alone (sizes, positions), and what serves nothing but
    matching (the mean of the keys).
    """
    constants = {tensor.name for tensor in graph.initializer}
    running = {value.name for value in graph.input if value.name not in constants}
    merging: dict[str, str] = {}  # value -> part
    for node, scope in zip(graph.node, scoped, strict=True):
        inputs = [value for value in node.input if value in running]
        if inputs:
            running.update(value for value in node.output if value)
        if scope or not inputs or not found[node.output[0]].startswith(("block", "embedding")):
            continue
        sources = [merging[value] for value in inputs if value in merging]
        part = max(sources, key=_number, default="")
        if node.domain == DOMAIN and node.op_type in _MERGING:
            named = [match for value in node.output if (match := _MERGE_OUTPUT.fullmatch(value))]
            if named:
                part = f"merge_{named[0][1]}"
            elif node.op_type == token_match.NAME:
                part = found[node.output[0]].replace("block", "merge")
        elif not (node.op_type == token_unmerge.NAME and sources) and len(sources) < len(inputs):
            part = ""
        if part:
            merging.update((value, part) for value in node.output if value)
            found[node.output[0]] = part
    _mark_metrics(graph, scoped, found, merging)


def _mark_metrics(
    graph: onnx.GraphProto, scoped: Sequence[str], found: dict[str, str], merging: Mapping[str, str]
) -> None:
    """What only `TokenMatch` reads belongs to the merging that it serves."""
    readers: dict[str, list[str]] = {value.name: [OTHER] for value in graph.output}
    for node, scope in zip(reversed(graph.node), reversed(scoped), strict=True):
        of = [part for value in node.output for part in readers.get(value, ())]
        serves = ""
        if node.domain == DOMAIN and node.op_type == token_match.NAME:
            serves = merging[node.output[0]]
        elif not scope and of and all(part.startswith("merge") for part in of):
            serves = found[node.output[0]] = max(of, key=_number)
        for value in node.input:
            readers.setdefault(value, []).append(serves or OTHER)


def _number(part: str) -> int:
    return int(part.rpartition("_")[2])
