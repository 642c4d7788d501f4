"""What report.html shows, taken from a bundle's JSON files: text and numbers already in the form that people read.

Figures carry how they were obtained (computed, measured, published); here nothing is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BlockRow",
    "CheckRow",
    "ComparisonView",
    "MacRow",
    "ReportView",
    "TokenView",
    "ValueRow",
    "report_view",
]

Json = Mapping[str, Any]


@dataclass(frozen=True)
class CheckRow:
    """A check of the build; ``status`` as the manifest has it ('passed', 'failed', 'not-run', ...), or 'warning'."""

    name: str
    status: str
    detail: str


@dataclass(frozen=True)
class BlockRow:
    """A bar of the token schedule; ``width`` is the share of the dense model's tokens, in percent."""

    label: str
    tokens: int
    width: float
    note: str


@dataclass(frozen=True)
class MacRow:
    """A line of the work table, in 1e9 multiply-accumulates as text; parts are empty where a line has none."""

    label: str
    tokens: str
    attention: str
    mlp: str
    total: str
    dense: str
    share: str
    emphasis: bool = False


@dataclass(frozen=True)
class TokenView:
    """Token schedule and work."""

    bars: tuple[BlockRow, ...]
    rows: tuple[MacRow, ...]
    headline: str
    ratio: str
    convention: str
    provenance: str


@dataclass(frozen=True)
class ValueRow:
    """One compared output or decision."""

    name: str
    status: str
    figures: str


@dataclass(frozen=True)
class ComparisonView:
    """One comparison of parity.json."""

    title: str
    pair: str
    images: str
    status: str
    reason: str
    values: tuple[ValueRow, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReportView:
    """Everything that the template needs; ``tokens`` is None where the bundle has no tokens.json."""

    name: str
    description: str
    facts: tuple[tuple[str, str], ...]
    weights: str
    random_weights: bool
    checks: tuple[CheckRow, ...]
    tokens: TokenView | None
    comparisons: tuple[ComparisonView, ...]
    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    checkpoint: tuple[tuple[str, str], ...]
    recipe: str


def report_view(manifest: Json, tokens: Json | None, parity: Json | None) -> ReportView:
    """Reads manifest.json, tokens.json and parity.json (None: not in the bundle)."""
    weights = manifest["weights"]
    return ReportView(
        name=str(manifest["name"]),
        description=str(manifest.get("description") or ""),
        facts=_facts(manifest),
        weights=str(weights["statement"]),
        random_weights=weights["origin"] == "random",
        checks=tuple(_checks(manifest["checks"])),
        tokens=None if tokens is None else _token_view(tokens),
        comparisons=tuple(_comparison(entry) for entry in (parity or {}).get("comparisons", ())),
        versions=(("edgeexport", str(manifest["edgeexport"])), *_pairs(manifest["versions"])),
        files=_pairs(manifest["files"]),
        checkpoint=tuple((name, str(weights[name])) for name in ("file", "sha256") if weights.get(name)),
        recipe=json.dumps(manifest.get("recipe", {}), indent=2, ensure_ascii=False),
    )


def _facts(manifest: Json) -> tuple[tuple[str, str], ...]:
    entry, grid, prune = manifest["input"], manifest["grid"], manifest["prune"]
    order = f", {entry['channels']}" if entry.get("channels") else ""
    normalised = "normalised in the graph" if entry["preprocess"] else "taken normalised"
    shared = manifest["num_shared"]
    stages = [f"{shared} shared windows"] if shared else []
    stages += [f"{stage['k']} tokens pruned after block {stage['block']}" for stage in prune]
    return (
        ("Target", f"{manifest['target']}, {manifest['precision']}"),
        ("Input", f"{entry['dtype']} {_shape(entry['shape'])}{order}, {normalised}"),
        ("Output", "; ".join(f"{out['name']}: {out['dtype']} {_shape(out['shape'])}" for out in manifest["outputs"])),
        ("Patches", f"{grid['rows']} x {grid['columns']} of {grid['patch_size']} x {grid['patch_size']} pixels"),
        ("Reduction", "; ".join(stages) or "none (dense)"),
    )


def _checks(checks: Json) -> list[CheckRow]:
    rows = []
    titles = {"lint": "Static graph", "parity": "Parity", "tensorrt_rtx": "TensorRT-RTX parses and builds it"}
    for name, found in checks.items():
        if not found:
            continue
        if name == "tail":
            rows += [] if found["form"] == "none" else [_tail_check(found)]  # none: scores, not a class map
            continue
        details = [f"version {found['version']}"] if found.get("version") else []
        details += [f"{found[key]} {key}" for key in ("nodes", "comparisons") if key in found]
        details += [str(found["reason"])] if found.get("reason") else []
        rows.append(CheckRow(titles.get(name, name), str(found.get("status", "not-run")), "; ".join(details)))
    return rows


def _tail_check(tail: Json) -> CheckRow:
    """Uncertified pixels are no failure of the build, but nobody may overlook them."""
    title, form = "Class map", str(tail["form"])
    if form != "fast":
        return CheckRow(title, "passed", f"{form} form: the scores of all classes are resized, nothing to certify")
    pixels, needed, images = int(tail["uncertified_pixels"]), tail.get("candidates_needed"), tail.get("images")
    over = f" in {images} test images" if images else " in the test images"
    detail = f"fast form, {tail['candidates']} candidates per cell: {_count(pixels)} uncertified pixels{over}"
    if needed:
        detail += f"; {needed} candidates would certify all" if pixels else f"; {needed} candidates would have sufficed"
    return CheckRow(title, "warning" if pixels else "passed", detail)


def _token_view(tokens: Json) -> TokenView:
    patches, blocks, totals = int(tokens["patches"]), tokens["blocks"], tokens["totals"]
    bars = [BlockRow("image", patches, 100.0, "patches")]
    for block in blocks:
        width = 100 * block["tokens_in"] / patches
        bars.append(BlockRow(f"block {block['block']}", block["tokens_in"], width, block["reason"]))
    left = blocks[-1]["tokens_out"]
    bars.append(BlockRow("head", left, 100 * left / patches, ""))
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
    if policy["macs"]:
        rows.append(_mac_row("sum without policy network", without, emphasis=True))
        rows.append(_mac_row("policy network", policy))
        rows.append(_mac_row("sum with policy network", totals, emphasis=True))
    else:
        rows.append(_mac_row("sum (there is no policy network)", totals, emphasis=True))
    ratio = f"{totals['dense_over_reduced']:.2f}"
    if policy["macs"]:
        ratio += f" with, {totals['dense_over_reduced_without_policy']:.2f} without the policy network"
    return TokenView(
        bars=tuple(bars),
        rows=tuple(rows),
        headline=f"{totals['macs'] / 1e9:,.1f} of {totals['dense_macs'] / 1e9:,.1f} GMAC",
        ratio=ratio,
        convention=str(tokens["convention"]),
        provenance=str(tokens["provenance"]),
    )


def _head_label(head: Json) -> str:
    after = ", ".join(str(block) for block in head["blocks"])
    return f"{head['name']} (reads block{'s' if len(head['blocks']) > 1 else ''} {after})"


def _mac_row(
    label: str, entry: Json, *, tokens: int | None = None, parts: Json | None = None, emphasis: bool = False
) -> MacRow:
    macs, dense = int(entry["macs"]), int(entry["dense_macs"])
    return MacRow(
        label=label,
        tokens="" if tokens is None else _count(tokens),
        attention="" if parts is None else _giga(parts["attention"]),
        mlp="" if parts is None else _giga(parts["mlp"]),
        total=_giga(macs),
        dense=_giga(dense),
        share=f"{100 * macs / dense:.1f} %" if dense else "",
        emphasis=emphasis,
    )


def _comparison(entry: Json) -> ComparisonView:
    values = [
        ValueRow(item["stage"], "passed" if item["equal"] else "failed", _decision_figures(item))
        for item in entry["decisions"]
    ]
    values += [
        ValueRow(item["name"], "passed" if item["passed"] else "failed", _output_figures(item))
        for item in entry["outputs"]
    ]
    facts = tuple((name, json.dumps(value)) for name, value in entry.get("facts", {}).items())
    return ComparisonView(
        title=str(entry["check"]),
        pair=f"{entry['reference']} against {entry['candidate']}",
        images=", ".join(entry["images"]),
        status=str(entry["status"]),
        reason=str(entry.get("reason") or ""),
        values=tuple(values),
        facts=facts,
    )


def _output_figures(item: Json) -> str:
    parts = []
    if item["agreement"] is not None:
        parts.append(
            "all pixels equal" if not item["differing"] else f"{100 * item['agreement']:.5f} % of pixels equal"
        )
        if item["differing"]:
            parts.append(f"{_count(item['differing'])} differ, {_count(item['unexplained'])} of them no near tie")
    if item["max_abs"] is not None:
        parts.append(f"max abs {item['max_abs']:.2g}")
    if item["max_rel"] is not None:
        parts.append(f"max rel {item['max_rel']:.2g}")
    if item["cosine"] is not None:
        parts.append(f"cosine {item['cosine']:.9f}")
    return ", ".join(parts) or "shapes differ"


def _decision_figures(item: Json) -> str:
    margin = "" if item["margin"] is None else f"; score margin at the cut {item['margin']:.2g}"
    if item["equal"]:
        return f"same {_count(item['tokens'])} chosen (Jaccard 1){margin}"
    return f"{_count(item['differing'])} of {_count(item['tokens'])} differ, Jaccard {item['jaccard']:.4f}{margin}"


def _pairs(entries: Json) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(value)) for name, value in entries.items())


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)


def _count(number: int) -> str:
    return f"{number:,}"


def _giga(macs: int) -> str:
    """1e9 multiply-accumulates with three decimals; 0 stays 0, and what would round to 0 says so."""
    return "0" if not macs else "< 0.001" if macs < 500_000 else f"{macs / 1e9:,.3f}"
