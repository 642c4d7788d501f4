"""Checks of the build as the report shows them, taken from the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.report.token_view import count_text

__all__ = ["CheckRow", "check_rows", "range_text", "rtx_scope"]

Json = Mapping[str, Any]

_TITLES = {
    "lint": "Static graph",
    "parity": "Parity",
    "tensorrt_rtx": "TensorRT-RTX parses and builds it",
    "tensorrt_rtx_policy": "TensorRT-RTX parses and builds the policy network",
}


@dataclass(frozen=True)
class CheckRow:
    """A check of the build; ``status`` as the manifest has it ('passed', 'failed', 'not-run', ...), or 'warning'."""

    name: str
    status: str
    detail: str


def check_rows(checks: Json) -> list[CheckRow]:
    """Reads the manifest's ``checks``."""
    rows = []
    for name, check in checks.items():
        if not check:
            continue
        if name == "tail":
            rows += [] if check["form"] == "none" else [_tail_check(check)]  # none: scores, not a class map
            continue
        if name == "half_precision":
            rows.append(_half_precision_check(check))
            continue
        if name == "float16_range":
            rows.append(CheckRow("Values within float16", str(check["status"]), range_text(check)))
            continue
        details = [f"version {check['version']}"] if check.get("version") else []
        details += [f"{check[key]} {key}" for key in ("nodes", "comparisons") if key in check]
        details += [str(check["reason"])] if check.get("reason") else []
        status = str(check.get("status", "not-run"))
        if name in ("tensorrt_rtx", "tensorrt_rtx_policy") and status == "passed":
            details += [rtx_scope(check)]
            status = "passed" if check.get("deployed_graph", True) else "warning"
        rows.append(CheckRow(_TITLES.get(name, name), status, "; ".join(details)))
    return rows


def range_text(check: Json) -> str:
    """How large float16 values become, the three largest named by their node."""
    limit = check["limit"]
    named = [f"{item['node']} reaches {_magnitude(item['largest'])}" for item in check["largest"][:3]]
    return f"of {limit:,.0f}: {'; '.join(named)}; {check['observed']} values observed on {', '.join(check['images'])}"


def _magnitude(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def rtx_scope(check: Json) -> str:
    """What TensorRT-RTX's verdict is of: graph, precision, architecture, and that plugins were no part of it."""
    facts = [str(check["graph"]), str(check.get("precision", "")).upper(), str(check.get("compute_capability", ""))]
    text = ", ".join(fact for fact in facts if fact)
    return (
        text
        if check.get("deployed_graph", True)
        else f"{text}; the graph with plugins, which is deployed, was not built"
    )


def _tail_check(tail: Json) -> CheckRow:
    """Uncertified pixels are no failure of the build, but nobody may overlook them."""
    title, form = "Class map", str(tail["form"])
    if form != "fast":
        return CheckRow(title, "passed", f"{form} form: the scores of all classes are resized, nothing to certify")
    pixels, needed, images = int(tail["uncertified_pixels"]), tail.get("candidates_needed"), tail.get("images")
    over = f" in {images} test images" if images else " in the test images"
    detail = f"fast form, {tail['candidates']} candidates per cell: {count_text(pixels)} uncertified pixels{over}"
    if needed:
        detail += f"; {needed} candidates would certify all" if pixels else f"; {needed} candidates would have sufficed"
    return CheckRow(title, "warning" if pixels else "passed", detail)


def _half_precision_check(check: Json) -> CheckRow:
    """Weights that float16 made 0 are no failure, the parity judges; but they are told."""
    detail = (
        f"{count_text(check['half_nodes'])} of {count_text(check['nodes'])} nodes, {count_text(check['casts'])} casts, "
        f"{count_text(check['half_weights'])} weights, of which {count_text(check['subnormal_weights'])} below float16's "
        f"normal range ({count_text(check['zeroed_weights'])} became 0); decisions stay in float32"
    )
    if check.get("keep_fp32"):
        detail += f", and so does what fits {', '.join(check['keep_fp32'])}"
    return CheckRow("Products in float16", str(check["status"]), detail)
