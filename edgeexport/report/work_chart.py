"""Multiply-accumulates of each block, head and further part, beside the dense model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeexport.report.chart import Chart, Swatch, Table, used
from edgeexport.report.column_chart import Segment, Slot, Stack, column_chart
from edgeexport.report.token_view import token_view

__all__ = ["work_chart"]

Json = Mapping[str, Any]

_LEGEND = (
    Swatch("attention", "attention"),
    Swatch("matching", "matching of tokens"),
    Swatch("mlp", "MLP"),
    Swatch("heads", "heads"),
    Swatch("reduction", "policy network"),
    Swatch("other", "norms, embedding, tail"),
    Swatch("frame", "the dense model"),
)


def work_chart(tokens: Json) -> Chart:
    """Draws tokens.json's work; its table is `token_view`'s rows."""
    slots = []
    policy, embedding = tokens["policy_network"], tokens["embedding"]
    if policy["macs"]:
        slots.append(_plain("policy", "policy network", "reduction", policy))
    if embedding["macs"] or embedding["dense_macs"]:
        slots.append(_plain("embedding", "patch embedding", "other", embedding))
    last = int(tokens["blocks"][-1]["block"])
    heads = [(head, int(head["blocks"][-1])) for head in tokens["heads"]]
    final = tokens["heads"][-1] if tokens["heads"] else None
    for block in tokens["blocks"]:
        number = int(block["block"])
        within = [head for head, after in heads if after == number and head is not final]
        slots.append(_block(block, within))
    if final is not None:
        slots.append(_plain("head", f"head after block {last}", "heads", final))
    rest = [tokens["final_norm"], tokens["tail"]]
    total = {key: sum(int(entry[key]) for entry in rest) for key in ("macs", "dense_macs")}
    if any(total.values()):
        slots.append(_plain("norm, tail", "final norm and tail as published", "other", total))
    kinds = {segment.kind for slot in slots for stack in slot.stacks for segment in stack.segments if segment.value}
    view = token_view(tokens)
    headers = ["", "tokens", "attention", *(["matching"] if view.matching else []), "MLP", "total", "dense", "of dense"]
    rows = [
        (
            row.label,
            row.tokens,
            row.attention,
            *([row.matching] if view.matching else []),
            row.mlp,
            row.total,
            row.dense,
            row.share,
        )
        for row in view.rows
    ]
    description = (
        f"One column for each block and further part: {view.headline} in all, dense over reduced {view.ratio}."
    )
    return Chart(
        svg=column_chart("work", "Multiply-accumulates of each part", description, "GMAC", slots),
        legend=used(_LEGEND, [*kinds, "frame"]),
        table=Table(
            tuple(headers), tuple(rows), sums=tuple(index for index, row in enumerate(view.rows) if row.emphasis)
        ),
        note=_graph_note(tokens.get("graph")),
    )


def _block(block: Json, heads: list[Json]) -> Slot:
    macs, where = block["macs"], f"block {block['block']}"
    macs_of_kind = [("attention", macs["attention"]), ("matching", macs.get("matching", 0)), ("mlp", macs["mlp"])]
    macs_of_kind.append(("other", macs["total"] - sum(value for _, value in macs_of_kind)))
    macs_of_kind += [("heads", head["macs"]) for head in heads]
    dense = block["dense_macs"] + sum(head["dense_macs"] for head in heads)
    titles = {"mlp": "MLP", "other": "norms", "heads": "auxiliary head"}
    segments = [
        Segment(kind, value / 1e9, f"{where}, {titles.get(kind, kind)}: {value / 1e9:,.3f} GMAC")
        for kind, value in macs_of_kind
    ]
    return Slot(str(block["block"]), (Stack(tuple(segments)),), frame=dense / 1e9)


def _plain(label: str, title: str, kind: str, entry: Json) -> Slot:
    macs, dense = int(entry["macs"]) / 1e9, int(entry["dense_macs"]) / 1e9
    tip = f"{title}: {macs:,.3f} GMAC, dense {dense:,.3f}"
    return Slot(label, (Stack((Segment(kind, macs, tip),)),), frame=dense)


def _graph_note(graph: Json | None) -> str:
    """What the graph itself multiplies, beside the model as published; empty in bundles of the first version."""
    if graph is None:
        return ""
    return f"Products in the exported graph: {int(graph['product_macs']) / 1e9:,.3f} GMAC, {graph['provenance']}."
