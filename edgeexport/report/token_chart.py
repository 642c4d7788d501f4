"""How many tokens each block works on, beside the dense model, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.report.chart import Chart, Swatch, Table, used
from edgeexport.report.column_chart import Segment, Slot, Stack, column_chart
from edgeexport.report.token_view import count_text

__all__ = ["TokenBar", "token_bars", "token_chart"]

Json = Mapping[str, Any]

_LEGEND = (
    Swatch("kept", "tokens that the block works on"),
    Swatch("shared", "gone by sharing: a window's patches as one token"),
    Swatch("pruned", "pruned: their class was certain"),
    Swatch("merged", "merged into a similar token"),
)
_VERBS = {"shared": "gone by sharing", "pruned": "pruned before it", "merged": "merged"}


@dataclass(frozen=True)
class TokenBar:
    """Tokens of one block, which with those that are gone make up the dense model's.

    ``kept`` are those that it works on: where tokens merge inside a block and come back after it, without the merged ones.
    ``note`` tells what happens there.
    """

    label: str
    kept: int
    shared: int
    pruned: int
    merged: int
    note: str


def token_bars(tokens: Json) -> list[TokenBar]:
    """From tokens.json: every block, and the head or output behind the last."""
    full = int(tokens["patches"]) + int(tokens.get("num_prefix", 0))
    blocks, merging = tokens["blocks"], tokens.get("merging") or {}
    inside = bool(merging.get("dense"))
    realised = [int(count) for count in merging.get("realised", [0] * len(blocks))]
    shared, pruned, merged = full - int(blocks[0]["tokens_in"]), 0, 0
    bars = []
    for block, r in zip(blocks, realised, strict=True):
        entering = int(block["tokens_in"])
        here = r if inside else 0
        bars.append(TokenBar(str(block["block"]), entering - here, shared, pruned, merged + here, block["reason"]))
        lost = entering - int(block["tokens_out"])
        if not inside:
            merged += min(r, lost)
        pruned += lost - (0 if inside else min(r, lost))
    end = "head" if tokens["heads"] else "output"
    return [*bars, TokenBar(end, int(blocks[-1]["tokens_out"]), shared, pruned, merged, "")]


def token_chart(tokens: Json) -> Chart:
    """Draws tokens.json: a column per block as high as the dense model's tokens, divided by what became of them."""
    rows = token_bars(tokens)
    full = int(tokens["patches"]) + int(tokens.get("num_prefix", 0))
    slots = []
    for index, row in enumerate(rows):
        where = f"block {row.label}" if row.label.isdigit() else row.label
        segments = [Segment("kept", row.kept, f"{where}: {row.kept:,} of {full:,} tokens")]
        segments += [
            Segment(kind, getattr(row, kind), f"{where}: {getattr(row, kind):,} {verb}")
            for kind, verb in _VERBS.items()
        ]
        caption = f"{row.kept:,}" if not index or row.kept != rows[index - 1].kept else ""
        slots.append(Slot(row.label, (Stack(tuple(segments)),), caption=caption))
    kinds = ["kept", *(kind for kind in _VERBS if any(getattr(row, kind) for row in rows))]
    fewest = min(row.kept for row in rows)
    description = (
        f"One column for each of {len(rows) - 1} blocks. The dense model works on {full:,} tokens everywhere, this one on "
        f"{rows[0].kept:,} in block 1 and {fewest:,} at the fewest."
    )
    headers = ("", "tokens", *kinds[1:], "of dense")
    shown = []
    for row in rows:
        label = f"block {row.label}" if row.label.isdigit() else row.label
        label += f": {row.note}" if row.note else ""
        gone = (f"{getattr(row, kind):,}" for kind in kinds[1:])
        shown.append((label, f"{row.kept:,}", *gone, f"{100 * row.kept / full:.1f} %"))
    return Chart(
        svg=column_chart("tokens", "Tokens of each block", description, "tokens", slots),
        legend=used(_LEGEND, kinds),
        table=Table(headers, tuple(shown)),
        note=f"Every column is as high as the dense model's tokens: {_input_note(tokens)}.",
    )


def _input_note(tokens: Json) -> str:
    """What the tokens of the dense model are."""
    noun = "patches" if tokens["embedding"]["macs"] else "positions"
    if windows := tokens.get("windows"):
        noun = f"{noun} in each of {count_text(windows['count'])} windows"
    prefix = tokens.get("num_prefix", 0)
    if not prefix:
        return f"{count_text(tokens['patches'])} {noun}"
    others = "class token" if prefix == 1 and tokens["class_token"] else f"{prefix} prefix tokens"
    return f"{count_text(tokens['patches'])} {noun} and {others}"
