"""The first screen of the report: what this is, whether it pays, whether it is right, and whose weights it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.cost.kernel_plan import DENSE, REDUCED
from edgeexport.device.targets import TARGETS
from edgeexport.report.bench_view import BenchView
from edgeexport.report.chart import Table
from edgeexport.report.comparison_view import VerifyView
from edgeexport.report.prediction_view import PredictionView
from edgeexport.report.right_view import Answer, right_answer

__all__ = ["FirstView", "first_view", "pays_answer", "weights_answer", "what_text"]

_SAME = 0.005
"""A difference of less than this share is none; as in `edgeexport.cost.pays`."""

_WITH_DENSE = 4  # columns

Json = Mapping[str, Any]


@dataclass(frozen=True)
class FirstView:
    """What a reader sees without scrolling.

    Attributes:
        what: Device, precision, input, output and reduction in a few words.
        pays: Whether the reduction pays; of the bundle's precision.
        times: Predicted milliseconds of each power mode, the dense model's beside them where it is predicted, too; None where
            no time is predicted.
        beside: Whether the dense model stands in ``times``.
        measured: What was measured and on what; or that nothing was.
        right: What parity found.
        weights: Whose they are.
    """

    what: str
    pays: Answer
    times: Table | None
    beside: bool
    measured: str
    right: Answer
    weights: Answer


def first_view(
    manifest: Json,
    parity: Json | None,
    verify: VerifyView | None,
    bench: BenchView | None,
    prediction: PredictionView | None,
    no_prediction: str,
    reduction: str,
) -> FirstView:
    """Arranges what the later parts of the page say at length.

    Args:
        manifest: manifest.json.
        parity: parity.json; None without one.
        verify, bench, prediction: As the page shows them; None where there is none.
        no_prediction: Why there is no prediction.
        reduction: What the model does with its tokens.
    """
    pays, times = pays_answer(manifest, prediction, no_prediction)
    return FirstView(
        what=what_text(manifest, reduction),
        pays=pays,
        times=times,
        beside=times is not None and len(times.headers) == _WITH_DENSE,
        measured=_measured(bench),
        right=right_answer(parity, verify),
        weights=weights_answer(manifest["weights"]),
    )


def what_text(manifest: Json, reduction: str) -> str:
    """'For Jetson AGX Orin 64GB in FP32: image of 512 x 512 x 3 to class_map of 512 x 512. Reduction: ...'."""
    target, entry, given = str(manifest["target"]), manifest["input"], manifest["outputs"][0]
    title = TARGETS[target].title if target in TARGETS else target
    sizes = [f"{item['name']} of {' x '.join(map(str, item['shape'][1:]))}" for item in (entry, given)]
    batch = int(entry["shape"][0])
    several = f", {batch} at a time" if batch > 1 else ""
    precision = str(manifest["precision"]).upper()
    return f"For {title} in {precision}: {sizes[0]} to {sizes[1]}{several}. Reduction: {reduction}."


def pays_answer(manifest: Json, prediction: PredictionView | None, no_prediction: str) -> tuple[Answer, Table | None]:
    """Whether the reduced model is predicted faster than its dense form, and the times by power mode."""
    figures, precision = manifest.get("pays"), str(manifest["precision"])
    if not figures:
        return _alone(manifest, prediction, no_prediction)
    macs = figures["macs"]
    work = f"{_giga(macs[REDUCED])} of {_giga(macs[DENSE])} GMAC (computed)"
    rows = [row for row in figures["predicted"] if row["precision"] == precision]
    if not rows:
        more = macs[REDUCED] > macs[DENSE]
        text = f"No time of the dense model is predicted beside it. It multiplies {work}."
        table = _own_times(prediction)
        return Answer("costs more products" if more else "not known", "warning" if more else "none", text), table
    counts = figures["kernels"].get(precision, {})
    beside = f"{work}, {counts.get(REDUCED, '?')} kernels beside {counts.get(DENSE, '?')}"
    return _verdict(rows, precision.upper(), beside), _times(rows)


def _verdict(rows: Sequence[Json], precision: str, beside: str) -> Answer:
    ratios = [row["dense_ms"] / row["reduced_ms"] for row in rows]
    slower = [row["power_mode"] for row, ratio in zip(rows, ratios, strict=True) if ratio < 1 / (1 + _SAME)]
    faster = [row["power_mode"] for row, ratio in zip(rows, ratios, strict=True) if ratio > 1 + _SAME]
    span = f"{min(ratios):.2f} to {max(ratios):.2f}" if max(ratios) - min(ratios) > _SAME else f"{max(ratios):.2f}"
    than = f"its dense model in {precision}"
    if len(faster) == len(rows):
        return Answer("yes", "passed", f"Predicted {span} times as fast as {than}: {beside}.")
    if len(slower) == len(rows):
        return Answer("no", "warning", f"Predicted slower than {than} in every power mode: {beside}.")
    if not slower and not faster:
        return Answer("no difference", "warning", f"Predicted as fast as {than}, within {_SAME:.1%}: {beside}.")
    told = [f"slower in {', '.join(slower)}"] if slower else []
    told += [f"faster in {', '.join(faster)}"] if faster else []
    return Answer("in part", "warning", f"Against {than} predicted {' and '.join(told)}: {beside}.")


def _times(rows: Sequence[Json]) -> Table:
    cells, warned = [], []
    for number, row in enumerate(rows):
        reduced, dense = row["reduced_ms"], row["dense_ms"]
        ratio = dense / reduced
        word = "slower" if ratio < 1 / (1 + _SAME) else "faster" if ratio > 1 + _SAME else "same"
        if word != "faster":
            warned.append(number)
        cells.append((str(row["power_mode"]), f"{reduced:.2f}", f"{dense:.2f}", f"{ratio:.2f} times, {word}"))
    headers = ("power mode", "this model, ms", "dense, ms", "dense / this")
    return Table(headers, tuple(cells), warns=tuple(warned))


def _own_times(prediction: PredictionView | None) -> Table | None:
    """Mode and milliseconds of the model alone."""
    if prediction is None:
        return None
    return Table(("power mode", "this model, ms"), tuple(row[:2] for row in prediction.modes.table.rows))


def _alone(manifest: Json, prediction: PredictionView | None, no_prediction: str) -> tuple[Answer, Table | None]:
    dense = not (manifest.get("num_shared") or manifest.get("prune") or manifest.get("merges"))
    words = "This is the dense model: there is nothing to pay off." if dense else "Nothing stands beside it."
    if prediction is None:
        return Answer(
            "dense" if dense else "not known", "none", f"{words} No time is predicted: {no_prediction}."
        ), None
    return Answer("dense" if dense else "not known", "none", f"{words}"), _own_times(prediction)


def _measured(bench: BenchView | None) -> str:
    if bench is None:
        return ""
    beside = f"; {bench.speedup} {bench.speedup_words}" if bench.speedup else ""
    return f"{bench.headline} at the median{beside}, on {bench.circumstances}"


def weights_answer(weights: Json) -> Answer:
    """Whose they are, of the manifest's ``weights``."""
    text = str(weights["statement"])
    text = text[:1].upper() + text[1:]
    if weights["origin"] == "random":
        return Answer("random", "warning", text)
    digest = weights.get("sha256")
    return Answer("trained", "passed", text + (f", sha256 {str(digest)[:12]}…" if digest else ""))


def _giga(macs: int) -> str:
    """1e9 multiply-accumulates with two decimals; small models with four."""
    return f"{macs / 1e9:.2f}" if macs >= 10**8 else f"{macs / 1e9:.4f}"
