"""Token schedule and work as a report shows them, taken from tokens.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MacRow", "TokenView", "count_text", "token_view"]

Json = Mapping[str, Any]


@dataclass(frozen=True)
class MacRow:
    """A line of the work table, in 1e9 multiply-accumulates as text; parts are empty where a line has none."""

    label: str
    tokens: str
    attention: str
    matching: str
    mlp: str
    total: str
    dense: str
    share: str
    emphasis: bool = False


@dataclass(frozen=True)
class TokenView:
    """Token schedule and work; ``path`` tells how the number of tokens changes, ``matching`` whether any are matched."""

    rows: tuple[MacRow, ...]
    headline: str
    path: str
    path_ends: str
    matching: bool
    ratio: str
    convention: str
    provenance: str


def token_view(tokens: Json) -> TokenView:
    """Reads tokens.json."""
    blocks, totals = tokens["blocks"], tokens["totals"]
    noun = "patches" if tokens["embedding"]["macs"] else "positions"
    full, left = tokens["patches"] + tokens.get("num_prefix", 0), blocks[-1]["tokens_out"]
    rows = [_mac_row("patch embedding", tokens["embedding"], tokens=tokens["embedding"]["tokens"])]
    rows += [
        _mac_row(
            f"block {block['block']}",
            {"macs": block["macs"]["total"], "dense_macs": block["dense_macs"]},
            tokens=block["tokens_in"],
            parts=block["macs"],
        )
        for block in blocks
    ]
    rows += [_mac_row(_head_label(head), head, tokens=head["tokens"]) for head in tokens["heads"]]
    rows += [_mac_row("final norm", tokens["final_norm"]), _mac_row("tail, as published", tokens["tail"])]
    rows = [row for row in rows if row.total != "0" or row.dense != "0"]
    policy = tokens["policy_network"]
    without = {"macs": totals["macs_without_policy"], "dense_macs": totals["dense_macs"]}
    ratio = f"{totals['dense_over_reduced']:.2f}"
    if policy["macs"]:
        rows.append(_mac_row("sum without policy network", without, emphasis=True))
        rows.append(_mac_row("policy network", policy))
        rows.append(_mac_row("sum with policy network", totals, emphasis=True))
        ratio += f" with, {totals['dense_over_reduced_without_policy']:.2f} without the policy network"
    else:
        rows.append(_mac_row("sum", totals, emphasis=True))
    path, path_ends = _token_path(tokens, noun, full, left)
    return TokenView(
        rows=tuple(rows),
        headline=_headline(totals["macs"], totals["dense_macs"]),
        path=path,
        path_ends=path_ends,
        matching=any(block["macs"].get("matching") for block in blocks),
        ratio=ratio,
        convention=str(tokens["convention"]),
        provenance=str(tokens["provenance"]),
    )


def _token_path(tokens: Json, noun: str, full: int, left: int) -> tuple[str, str]:
    """The number of tokens at the start and at the end, and between what."""
    merging = tokens.get("merging")
    if merging and merging["dense"]:
        fewest = min(block["tokens_in"] - r for block, r in zip(tokens["blocks"], merging["realised"], strict=True))
        return f"{full} → {fewest} → {left} tokens", "ahead of a block, inside it at the fewest, and after it"
    end = "final head" if tokens["heads"] else "output"
    return f"{full} → {left} tokens", f"from the {noun} to the {end}"


def _head_label(head: Json) -> str:
    if head["name"] == "head":
        return "classifier head"
    after = ", ".join(str(block) for block in head["blocks"])
    return f"{head['name']} (reads block{'s' if len(head['blocks']) > 1 else ''} {after})"


def _mac_row(
    label: str, entry: Json, *, tokens: int | None = None, parts: Json | None = None, emphasis: bool = False
) -> MacRow:
    macs, dense = int(entry["macs"]), int(entry["dense_macs"])
    return MacRow(
        label=label,
        tokens="" if tokens is None else count_text(tokens),
        attention="" if parts is None else _giga(parts["attention"]),
        matching="" if parts is None else _giga(parts.get("matching", 0)),
        mlp="" if parts is None else _giga(parts["mlp"]),
        total=_giga(macs),
        dense=_giga(dense),
        share=f"{100 * macs / dense:.1f} %" if dense else "",
        emphasis=emphasis,
    )


def _headline(macs: int, dense: int) -> str:
    """One decimal, or two where the work is small."""
    digits = 1 if dense >= 10_000_000_000 else 2
    return f"{macs / 1e9:,.{digits}f} of {dense / 1e9:,.{digits}f} GMAC"


def count_text(number: int) -> str:
    """With thousands separators."""
    return f"{number:,}"


def _giga(macs: int) -> str:
    """1e9 multiply-accumulates with three decimals; 0 stays 0, and what would round to 0 says so."""
    return "0" if not macs else "< 0.001" if macs < 500_000 else f"{macs / 1e9:,.3f}"
