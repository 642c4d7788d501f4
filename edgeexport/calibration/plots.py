"""The pictures that a calibration of counts writes: counts by image, quality against cost and counts, errors at exits.

What a colour means is told once below the panels, where it hides nothing; numbers stand in the panels' titles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeexport.bundle.files import replaced_file
from edgeexport.calibration.counts import Counts
from edgeexport.calibration.exits import ExitEvidence, ExitPoint
from edgeexport.calibration.outcome import ChosenConstant
from edgeexport.calibration.proposal import ProposedCounts
from edgeexport.calibration.search import Evaluated, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_counts", "draw_exits", "draw_quality"]

_GREY, _GREEN, _RUST, _BLUE, _BLACK = "#9aa4b0", "#2f7d6d", "#c4572f", "#3b6ea8", "#30363d"
_PANEL, _MOST_COLUMNS, _DPI = (4.4, 3.6), 3, 120
_Panel = TypeVar("_Panel")

Measured = Evaluated | ProposedCounts


def draw_counts(constants: Sequence[ChosenConstant], title: str, path: Path) -> None:
    """A panel for each that has counts, at least one: those of all images, sorted, with the constant and the images in which it
    prunes too much.
    """

    def draw(axes: Axes, constant: ChosenConstant) -> None:
        values = sorted(constant.available)
        edges = [rank + 0.5 for rank in range(len(values) + 1)]
        short = sum(value < constant.chosen for value in values)
        if short < len(values):
            axes.stairs(values[short:], edges[short:], fill=True, color=_GREY, label="images that allow it")
        if short:
            axes.stairs(values[:short], edges[: short + 1], fill=True, color=_RUST, label="images that allow fewer")
        axes.axhline(constant.chosen, color=_GREEN, linewidth=2.4, label="chosen")
        numbers = f"chosen {constant.chosen}"
        if constant.exact is not None and constant.exact != constant.chosen:
            axes.axhline(constant.exact, color=_BLUE, linewidth=1.2, linestyle="--", label="not aligned")
            numbers += f", not aligned {constant.exact}"
        axes.set_xlim(0.5, len(values) + 0.5)
        axes.set_ylim(0, 1.05 * max(*values, constant.chosen, constant.exact or 0, 1))
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("image, by rank")
        place = f"prunable after block {constant.block}, confidence > {constant.theta:g}"
        where = place if constant.block else "windows to share"
        axes.set_title(f"{where}\n{numbers}; {short} of {len(values)} images allow fewer", fontsize=9)

    _draw_panels([constant for constant in constants if constant.available], title, "count", draw, path)


def draw_quality(
    evaluated: Sequence[Evaluated],
    *,
    dense: Measured,
    chosen: Measured,
    published: Sequence[tuple[float, float]] = (),
    blocks: Sequence[int],
    unit: str,
    quality_label: str,
    limit: tuple[str, float] | None,
    title: str,
    path: Path,
) -> None:
    """Quality against cost with the Pareto front, and against every count with the others as chosen.

    Args:
        evaluated: All that was measured.
        dense: The model without reduction.
        chosen: The proposal.
        published: (mean cost, quality) of what prunes by threshold.
        blocks: The counts that were chosen: pruned after a block, or (0) windows shared.
        unit: Of costs: 'MACs' or 'ms'.
        quality_label: With unit.
        limit: ('cost' or 'quality', value): the constraint, or None.
        title: Above all panels.
        path: The PNG file.
    """
    scale, cost_label = (1e9, "GMAC per image") if unit == "MACs" else (1.0, "ms per image")
    pareto = pareto_front(evaluated)
    lines = {block: _line_through(chosen.counts, evaluated, block) for block in blocks}
    varied = [block for block, line in lines.items() if len(line) > 1]
    shown = [dense, *pareto, chosen, *(item for block in varied for item in lines[block])]
    levels = [item.quality for item in shown] + [quality for _, quality in published]
    if limit is not None and limit[0] == "quality":
        levels.append(limit[1])
    spread = max(max(levels) - min(levels), 0.2)
    low, high = min(levels) - 0.15 * spread, max(levels) + 0.1 * spread

    def draw(axes: Axes, block: int | None) -> None:
        # What a search tried and found bad would squeeze all that matters into a line.
        inside = [item for item in evaluated if item.quality >= low]
        below = [item for item in evaluated if item.quality < low]

        def places(drawn: Sequence[Measured], level: float | None = None) -> tuple[list[float], list[float]]:
            across = [item.cost / scale if block is None else _count_at(item.counts, block) for item in drawn]
            return across, [item.quality if level is None else level for item in drawn]

        axes.scatter(*places(inside), s=16, color=_GREY, label=f"{len(evaluated)} measured")
        if below:
            axes.scatter(
                *places(below, low + 0.02 * spread), s=20, marker="v", color=_GREY, label="worse than the picture shows"
            )
        if block is None:
            axes.plot(*places(pareto), color=_GREEN, linewidth=1.6, marker="o", markersize=4, label="Pareto front")
            if published:
                label = "by threshold (mean cost)"
                means = [cost / scale for cost, _ in published], [quality for _, quality in published]
                axes.scatter(*means, s=46, marker="s", color=_BLUE, label=label, zorder=3)
            axes.set_xlabel(cost_label)
            axes.set_title("quality against cost", fontsize=9)
        else:
            name = f"tokens pruned after block {block}" if block else "windows shared"
            axes.plot(*places(lines[block]), color=_BLUE, linestyle=":", label="only this count changed")
            axes.locator_params(axis="x", integer=True)
            axes.set_xlabel(name)
            axes.set_title(f"quality against {name}", fontsize=9)
        axes.scatter(*places([dense]), s=60, marker="D", color=_BLACK, label="dense", zorder=3)
        axes.scatter(*places([chosen]), s=150, marker="*", color=_RUST, label="chosen", zorder=4)
        if limit is not None and limit[0] == "quality":
            axes.axhline(limit[1], color=_RUST, linewidth=1.2, linestyle="--", label=f"at least {limit[1]:.2f}")
        if limit is not None and limit[0] == "cost" and block is None:
            axes.axvline(
                limit[1] / scale, color=_RUST, linewidth=1.2, linestyle="--", label=f"budget {limit[1] / scale:g}"
            )
        axes.margins(x=0.08)
        axes.set_ylim(low, high)

    _draw_panels([None, *varied], title, quality_label, draw, path)


def draw_exits(
    exits: Sequence[ExitEvidence], counts: Counts, thresholds: Mapping[int, float], title: str, path: Path
) -> None:
    """A panel for each stage: share of pruned tokens whose class was wrong, by a fixed count and by the published rule.

    Args:
        exits: At least one stage's.
        counts: The chosen ones.
        thresholds: Block -> theta, where one is known.
        title: Above all panels.
        path: The PNG file.
    """

    def draw(axes: Axes, evidence: ExitEvidence) -> None:
        fixed, published = _wrong_curve(evidence.fixed), _wrong_curve(evidence.equal_mean)
        axes.plot(*fixed, color=_GREEN, marker="o", markersize=4, label="the same k for every image")
        label = "the same threshold for every image"
        axes.plot(*published, color=_BLUE, marker="s", markersize=4, linestyle="--", label=label)
        numbers = "nothing pruned here"
        if k := counts.pruned_after(evidence.block):
            axes.axvline(k, color=_RUST, linewidth=1.4, label="chosen k")
            numbers = f"k = {k}"
        if (theta := thresholds.get(evidence.block)) is not None:
            mean = evidence.published_at(theta).mean_count
            axes.axvline(mean, color=_BLUE, linewidth=1.2, linestyle=":", label="mean count by threshold")
            numbers += f"; threshold {theta:g} prunes {mean:.0f} on average"
        highest = max((*fixed[1], *published[1]), default=0.0)
        axes.set_ylim(0, min(1.08 * max(highest, 1.0), 102))
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens pruned, mean over images")
        axes.set_title(f"after block {evidence.block}\n{numbers}", fontsize=9)

    _draw_panels(exits, title, "wrong at the exit, % of those pruned", draw, path)


def _draw_panels(
    panels: Sequence[_Panel], title: str, label: str, draw: Callable[[Axes, _Panel], None], path: Path
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(panels), _MOST_COLUMNS if len(panels) != 4 else 2)
    rows = math.ceil(len(panels) / columns)
    size = (max(_PANEL[0] * columns, 6.8), _PANEL[1] * rows + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    meanings: dict[str, Any] = {}
    for axes, panel in zip(grid, panels, strict=False):
        draw(axes, panel)
        axes.set_ylabel(label, fontsize=9)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            meanings.setdefault(name, handle)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=10, wrap=True)
    # A row of entries that is wider than the figure would be cut.
    per_row = max(1, min(len(meanings), int(size[0] / 2.3)))
    figure.legend(
        list(meanings.values()),
        list(meanings),
        loc="outside lower center",
        ncols=per_row,
        frameon=False,
        fontsize=9,
    )
    with replaced_file(path) as stream:
        figure.savefig(stream, format="png", dpi=_DPI)


def _count_at(counts: Counts, block: int) -> int:
    return counts.pruned_after(block) if block else counts.num_shared


def _line_through(center: Counts, evaluated: Sequence[Measured], block: int) -> list[Measured]:
    """What differs from ``center`` in this count alone, and itself, ascending by that count."""

    def others(counts: Counts) -> Counts:
        return Counts(counts.num_shared if block else 0, tuple(stage for stage in counts.prune if stage[0] != block))

    line = [item for item in evaluated if others(item.counts) == others(center)]
    return sorted(line, key=lambda item: _count_at(item.counts, block))


def _wrong_curve(points: Sequence[ExitPoint]) -> tuple[list[float], list[float]]:
    """Mean tokens pruned, ascending, and percent of them wrong, of settings that prune anything."""
    known = {(point.mean_count, 100 * point.wrong_share) for point in points if point.wrong_share is not None}
    ordered = sorted(known)
    return [mean for mean, _ in ordered], [wrong for _, wrong in ordered]
