"""Comparisons of parity.json and verify.json as the report shows them: what was compared, decisions, outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.comparison.outdated import engine_left_out, outdated
from edgeexport.report.token_view import count_text

__all__ = ["ComparisonView", "ValueRow", "VerifyView", "comparison_view", "verify_view"]

Json = Mapping[str, Any]

_FOLLOWED = "near ties followed"  # `edgeexport.verify.reference.FOLLOWED`, which needs torch


@dataclass(frozen=True)
class ValueRow:
    """One compared output or decision: its name, result in figures, and status; see `_decision_statuses`."""

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
    """verify.json: how it ended, what was executed, and what was not checked (empty if all was).

    ``status`` is 'of-an-earlier-engine' or 'of-model.onnx-alone' where that is so, whatever it was then: nothing is known of
    what the bundle holds now. ``runner`` says so, too.
    """

    status: str
    runner: str
    original_not_run: str
    comparisons: tuple[ComparisonView, ...]


def verify_view(verify: Json, manifest_sha256: str = "", engine_files: Mapping[str, str] | None = None) -> VerifyView:
    """Reads verify.json.

    Args:
        verify: Its content.
        manifest_sha256: Of the manifest beside it now; empty where it is not known.
        engine_files: engine.json's ``files`` now; None without one.
    """
    earlier = outdated(verify, engine_files or {}, manifest_sha256)
    left_out = "" if earlier else engine_left_out(verify, engine_files or {})
    status, about = str(verify["status"]), earlier or left_out
    if about and status != "failed":
        status = "of-an-earlier-engine" if earlier else "of-model.onnx-alone"
    runner, explained = str(verify.get("runner") or ""), str(verify.get("explanation") or "")
    reason = str(verify.get("original_not_run") or "")
    return VerifyView(
        status=status,
        runner=f"{runner}: {about}, {verify['status']} then" if about else runner,
        original_not_run=f"{reason}; {explained}" if reason and explained else reason,
        comparisons=tuple(map(comparison_view, verify["comparisons"])),
    )


def comparison_view(entry: Json) -> ComparisonView:
    """Reads one entry of ``comparisons``."""
    statuses = _decision_statuses(entry)
    decisions = [
        ValueRow(item["stage"], status, _decision_figures(item, status))
        for item, status in zip(entry["decisions"], statuses, strict=True)
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
    figures = []
    if item["agreement"] is not None:
        figures.append(
            "all pixels equal" if not item["differing"] else f"{100 * item['agreement']:.5f} % of pixels equal"
        )
        if item["differing"]:
            figures.append(
                f"{count_text(item['differing'])} differ, {count_text(item['unexplained'])} of them no near tie"
            )
    if item["max_abs"] is not None:
        figures.append(f"max abs {item['max_abs']:.2g}")
    if item["max_rel"] is not None:
        figures.append(f"max rel {item['max_rel']:.2g}")
    if item["cosine"] is not None:
        figures.append(f"cosine {item['cosine']:.9f}")
    return ", ".join(figures) or "shapes differ"


def _decision_statuses(entry: Json) -> list[str]:
    """'passed', 'failed', 'near-tie' (another choice that rounding explains), or 'not-judged', of every decision.

    As `edgeexport.verify.compare.judged` does it: of an image, what differs after its first difference follows from it,
    unless the reference followed the choice.
    """
    followed = _FOLLOWED in (entry.get("facts") or {})
    apart: set[int] = set()
    statuses = []
    for item in entry["decisions"]:
        farthest, allowed, image = item.get("farthest"), item.get("allowed"), int(item.get("image") or 0)
        near_tie = farthest is not None and allowed is not None and farthest <= allowed
        if item["equal"]:
            statuses.append("passed")
        elif image in apart and not (followed and near_tie):
            statuses.append("not-judged")
        else:
            statuses.append("near-tie" if near_tie else "failed")
            if not (followed and near_tie):
                apart.add(image)
    return statuses


def _decision_figures(item: Json, status: str) -> str:
    margin = "" if item["margin"] is None else f"; score margin at the cut {item['margin']:.2g}"
    if item["equal"]:
        return f"same {count_text(item['tokens'])} chosen (Jaccard 1){margin}"
    text = (
        f"{count_text(item['differing'])} of {count_text(item['tokens'])} differ, Jaccard {item['jaccard']:.4f}{margin}"
    )
    if status == "near-tie":
        text += f"; {item['farthest']:.2g} from the reference's order, up to {item['allowed']:.2g} is rounding"
    return f"{text}; follows from an earlier difference" if status == "not-judged" else text
