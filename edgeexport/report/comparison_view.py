"""Comparisons of parity.json and verify.json as the report shows them: what was compared, decisions, outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.report.token_view import count_text

__all__ = ["ComparisonView", "ValueRow", "VerifyView", "comparison_view", "verify_view"]

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ValueRow:
    """One compared output or decision: its name, result in figures, and status."""

    name: str
    status: str
    figures: str


@dataclass(frozen=True)
class ComparisonView:
    """One comparison; ``decisions`` are those on tokens."""

    title: str
    pair: str
    images: str
    status: str
    reason: str
    decisions: tuple[ValueRow, ...]
    outputs: tuple[ValueRow, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class VerifyView:
    """verify.json: what was executed, how it ended, and why the original model was not run (empty if it was)."""

    status: str
    runner: str
    original_not_run: str
    comparisons: tuple[ComparisonView, ...]


def verify_view(verify: Json) -> VerifyView:
    """Reads verify.json."""
    return VerifyView(
        status=str(verify["status"]),
        runner=str(verify.get("runner") or ""),
        original_not_run=str(verify.get("original_not_run") or ""),
        comparisons=tuple(map(comparison_view, verify["comparisons"])),
    )


def comparison_view(entry: Json) -> ComparisonView:
    """Reads one entry of ``comparisons``."""
    decisions = [
        ValueRow(item["stage"], "passed" if item["equal"] else "failed", _decision_figures(item))
        for item in entry["decisions"]
    ]
    outputs = [
        ValueRow(item["name"], "passed" if item["passed"] else "failed", _output_figures(item))
        for item in entry["outputs"]
    ]
    return ComparisonView(
        title=str(entry["check"]),
        pair=f"{entry['reference']} against {entry['candidate']}",
        images=", ".join(entry["images"]),
        status=str(entry["status"]),
        reason=str(entry.get("reason") or ""),
        decisions=tuple(decisions),
        outputs=tuple(outputs),
        facts=tuple((name, json.dumps(value)) for name, value in entry.get("facts", {}).items()),
    )


def _output_figures(item: Json) -> str:
    parts = []
    if item["agreement"] is not None:
        parts.append(
            "all pixels equal" if not item["differing"] else f"{100 * item['agreement']:.5f} % of pixels equal"
        )
        if item["differing"]:
            parts.append(
                f"{count_text(item['differing'])} differ, {count_text(item['unexplained'])} of them no near tie"
            )
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
        return f"same {count_text(item['tokens'])} chosen (Jaccard 1){margin}"
    return (
        f"{count_text(item['differing'])} of {count_text(item['tokens'])} differ, Jaccard {item['jaccard']:.4f}{margin}"
    )
