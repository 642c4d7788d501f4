"""What report.html shows, taken from a bundle's JSON files: text and numbers already in the form that people read.

Figures carry how they were obtained (computed, measured, published); here nothing is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.backends.contract import EngineRecord
from edgeexport.report.engine_text import engine_text
from edgeexport.report.merge_text import merge_text
from edgeexport.report.plugin_text import library_text
from edgeexport.report.token_view import TokenView, count_text, token_view

__all__ = [
    "CheckRow",
    "ComparisonView",
    "ReportView",
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
    """Everything that the template needs; ``tokens`` is None where the bundle has no tokens.json.

    ``picture`` describes the overlay, should there be one.
    """

    name: str
    description: str
    facts: tuple[tuple[str, str], ...]
    weights: str
    random_weights: bool
    checks: tuple[CheckRow, ...]
    tokens: TokenView | None
    comparisons: tuple[ComparisonView, ...]
    picture: str
    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    checkpoint: tuple[tuple[str, str], ...]
    recipe: str


def report_view(
    manifest: Json, tokens: Json | None, parity: Json | None, engine: EngineRecord | None = None
) -> ReportView:
    """Reads manifest.json, tokens.json, parity.json and engine.json (None: not in the bundle)."""
    weights = manifest["weights"]
    return ReportView(
        name=str(manifest["name"]),
        description=str(manifest.get("description") or ""),
        facts=(*_facts(manifest), *([("Engine", engine_text(engine))] if engine is not None else [])),
        weights=str(weights["statement"]),
        random_weights=weights["origin"] == "random",
        checks=tuple(_checks(manifest["checks"])),
        tokens=None if tokens is None else token_view(tokens),
        comparisons=tuple(_comparison(entry) for entry in (parity or {}).get("comparisons", ())),
        picture=_picture(manifest),
        versions=(("edgeexport", str(manifest["edgeexport"])), *_pairs(manifest["versions"])),
        files=_pairs(manifest["files"]),
        checkpoint=tuple((name, str(weights[name])) for name in ("file", "sha256") if weights.get(name)),
        recipe=json.dumps(manifest.get("recipe", {}), indent=2, ensure_ascii=False),
    )


def _facts(manifest: Json) -> tuple[tuple[str, str], ...]:
    entry, prune, shared = manifest["input"], manifest["prune"], manifest["num_shared"]
    stages = [f"{shared} shared windows"] if shared else []
    stages += [f"{stage['k']} tokens pruned after block {stage['block']}" for stage in prune]
    stages += [merge_text(manifest["merges"])] if manifest.get("merges") else []
    inputs = [_input_text(entry), *map(_named, manifest.get("extra_inputs", ()))]
    library = library_text(manifest.get("plugin_library"), manifest["target"])
    return (
        ("Target", f"{manifest['target']}, {manifest['precision']}"),
        ("Input", "; ".join(inputs)),
        ("Output", "; ".join(map(_named, manifest["outputs"]))),
        _grid_fact(manifest["grid"], entry.get("frames")),
        ("Reduction", "; ".join(stages) or "none (dense)"),
        *([("Plugin library", library)] if library else []),
    )


def _input_text(entry: Json) -> str:
    """Shape, order of the channels where they are colours, and whether the graph normalises."""
    if entry.get("context"):  # a latent's features
        return _tensor(entry)
    colours = entry.get("channels") and entry.get("num_channels", 3) == 3
    order = f", {entry['channels']}" if colours else ""
    return f"{_tensor(entry)}{order}, {'normalised in the graph' if entry['preprocess'] else 'taken normalised'}"


def _grid_fact(grid: Json, frames: int | None) -> tuple[str, str]:
    cells, side = f"{grid['rows']} x {grid['columns']}", grid["patch_size"]
    if not side:
        return "Latent grid", cells
    return "Patches", f"{cells} of {side} x {side} pixels" + (f", over clips of {frames} frames" if frames else "")


def _named(item: Json) -> str:
    return f"{item['name']}: {_tensor(item)}"


def _tensor(item: Json) -> str:
    return f"{item['dtype']} {_shape(item['shape'])}"


def _picture(manifest: Json) -> str:
    """What an overlay shows, for those who do not see it."""
    if manifest.get("merges"):
        return "A photograph in which tokens that merged are filled with one colour; the legend is part of the picture."
    if manifest["num_shared"] or manifest["prune"]:
        return (
            "Classes in colour over a photograph, with the tokens that were shared and pruned; the legend is part of the "
            "picture."
        )
    return "The prediction over a photograph; the legend is part of the picture."


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
    detail = f"fast form, {tail['candidates']} candidates per cell: {count_text(pixels)} uncertified pixels{over}"
    if needed:
        detail += f"; {needed} candidates would certify all" if pixels else f"; {needed} candidates would have sufficed"
    return CheckRow(title, "warning" if pixels else "passed", detail)


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


def _pairs(entries: Json) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(value)) for name, value in entries.items())


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
