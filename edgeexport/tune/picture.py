"""The picture of a study: loss against cost with the front, and the staircase of cost against tokens."""

from __future__ import annotations

from pathlib import Path

from edgeexport.bundle.files import replaced_file
from edgeexport.tune.result import TuneResult

__all__ = ["draw_study"]

_GREY, _GREEN, _RUST, _BLUE, _BLACK = "#9aa4b0", "#2f7d6d", "#c4572f", "#3b6ea8", "#30363d"
_SIZE, _DPI = (10.4, 4.4), 120
_MOST_WAYS = 6


def draw_study(result: TuneResult, path: Path) -> None:
    """Writes a PNG. Raises: OSError: It cannot be written."""
    from matplotlib.figure import Figure  # here: the import takes a second

    scale, unit = (1e9, "GMAC") if result.unit == "MACs" else (1.0, "ms")
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    others = [point for point in result.points if not point.form.is_dense and point is not result.chosen]
    for points, marker, colour, label in (
        ([point for point in others if not point.planned], "o", _GREY, "by tokens"),
        ([point for point in others if point.planned], "s", _BLUE, "by its own plan"),
        ([point for point in result.points if point.form.is_dense], "D", _BLACK, "dense"),
        ([result.chosen], "*", _RUST, "chosen"),
    ):
        places = [point.cost / scale for point in points], [point.worst for point in points]
        if points:
            left.scatter(*places, s=150 if marker == "*" else 26, marker=marker, color=colour, label=label, zorder=3)
    line = result.front
    left.plot([point.cost / scale for point in line], [point.worst for point in line], color=_GREEN, label="front")
    if result.bounds.min_cosine is not None:
        left.axhline(result.bounds.min_cosine, color=_RUST, linestyle="--", linewidth=1)
    if result.bounds.latency_ms is not None:
        left.axvline(result.bounds.latency_ms, color=_RUST, linestyle="--", linewidth=1)
    left.set_xlabel(f"{unit} per image, {result.costs_from.partition(' ')[0]}")
    left.set_ylabel("lowest mean cosine or agreement, measured")
    left.set_title("loss against cost", fontsize=9)
    left.legend(fontsize=8)
    for ladder in result.ladders[:_MOST_WAYS]:
        if ladder.every:
            tokens = [step.tokens_out for step in ladder.every]
            (drawn,) = right.plot(tokens, [step.cost / scale for step in ladder.every], linewidth=1, label=ladder.way)
            right.scatter(
                [step.tokens_out for step in ladder.steps],
                [step.cost / scale for step in ladder.steps],
                s=9,
                color=drawn.get_color(),
            )
    right.axhline(result.points[0].cost / scale, color=_BLACK, linewidth=1, linestyle=":", label="dense")
    right.invert_xaxis()
    right.set_xlabel("tokens that leave the last block")
    right.set_ylabel(f"{unit} per image")
    right.set_title("candidates: dots are the largest count of each plateau", fontsize=9)
    right.legend(fontsize=8)
    figure.suptitle(f"{result.recipe}, {result.target}: {result.bounds.text}", fontsize=10)
    with replaced_file(path) as staged:
        figure.savefig(staged, format="png")
