"""The pictures that a calibration of counts writes: counts by image, quality against cost and counts, errors at exits.

What a colour means is told once below the panels, where it hides nothing; numbers stand in the panels' titles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CountPanel", "ExitPanel", "QualityPoint", "draw_counts", "draw_exits", "draw_quality"]

_GREY, _GREEN, _RUST, _BLUE, _BLACK = "#9aa4b0", "#2f7d6d", "#c4572f", "#3b6ea8", "#30363d"
_PANEL, _MOST_COLUMNS, _DPI = (4.4, 3.6), 3, 120
_Panel = TypeVar("_Panel")


@dataclass(frozen=True)
class CountPanel:
    """What the images would allow at one place, and the constant chosen there.

    Attributes:
        title: The place, such as 'prunable after block 8'.
        values: One count per image, in any order; at least one.
        chosen: The constant.
        exact: The constant before alignment, or None.
    """

    title: str
    values: tuple[int, ...]
    chosen: int
    exact: int | None = None


@dataclass(frozen=True)
class QualityPoint:
    """A measured candidate: ``counts`` is one entry per axis (windows shared, pruned after each block)."""

    cost: float
    quality: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ExitPanel:
    """How often a token's class was wrong when it left after one block.

    Attributes:
        title: The place.
        fixed, adaptive: (tokens pruned, mean over images; percent of them wrong), ascending.
        chosen: k; 0 where nothing is pruned.
        threshold: The recipe's, or None.
        adaptive_mean: Tokens that it prunes on average, or None.
    """

    title: str
    fixed: tuple[tuple[float, float], ...]
    adaptive: tuple[tuple[float, float], ...]
    chosen: int
    threshold: float | None
    adaptive_mean: float | None


def draw_counts(panels: Sequence[CountPanel], title: str, path: Path) -> None:
    """One panel per place: counts of all images, sorted, with the constant and the images in which it prunes too much."""

    def draw(axes: Axes, panel: CountPanel) -> None:
        values = sorted(panel.values)
        edges = [rank + 0.5 for rank in range(len(values) + 1)]
        short = sum(value < panel.chosen for value in values)
        if short < len(values):
            axes.stairs(values[short:], edges[short:], fill=True, color=_GREY, label="images that allow it")
        if short:
            axes.stairs(values[:short], edges[: short + 1], fill=True, color=_RUST, label="images that allow fewer")
        axes.axhline(panel.chosen, color=_GREEN, linewidth=2.4, label="chosen")
        numbers = f"chosen {panel.chosen}"
        if panel.exact is not None and panel.exact != panel.chosen:
            axes.axhline(panel.exact, color=_BLUE, linewidth=1.2, linestyle="--", label="not aligned")
            numbers += f", not aligned {panel.exact}"
        axes.set_xlim(0.5, len(values) + 0.5)
        axes.set_ylim(0, 1.05 * max(*values, panel.chosen, panel.exact or 0, 1))
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("image, by rank")
        axes.set_title(f"{panel.title}\n{numbers}; {short} of {len(values)} images allow fewer", fontsize=9)

    _draw_panels(panels, title, "count", draw, path)


def draw_quality(
    points: Sequence[QualityPoint],
    pareto: Sequence[QualityPoint],
    *,
    dense: QualityPoint,
    chosen: QualityPoint | None,
    adaptive: Sequence[tuple[float, float]] = (),
    axes_names: Sequence[str],
    cost_label: str,
    quality_label: str,
    limit: tuple[str, float] | None,
    title: str,
    path: Path,
) -> None:
    """Quality against cost with the Pareto front, and against every count with the others as chosen.

    Args:
        points: All that was measured.
        pareto: Those that no other beats in both, ascending by cost.
        dense: The model without reduction.
        chosen: The proposal, or None.
        adaptive: (mean cost, quality) of forms that prune by threshold.
        axes_names: What the entries of ``counts`` count.
        cost_label: With unit.
        quality_label: With unit.
        limit: ('cost' or 'quality', value): the constraint, or None.
        title: Above all panels.
        path: The PNG file.
    """
    lines = {axis: _line_through(chosen or dense, points, axis) for axis in range(len(axes_names))}
    varied = [axis for axis, line in lines.items() if len(line) > 1]
    shown = [dense, *pareto, *([chosen] if chosen else []), *(point for axis in varied for point in lines[axis])]
    levels = [point.quality for point in shown] + [quality for _, quality in adaptive]
    if limit is not None and limit[0] == "quality":
        levels.append(limit[1])
    spread = max(max(levels) - min(levels), 0.2)
    low, high = min(levels) - 0.15 * spread, max(levels) + 0.1 * spread

    def draw(axes: Axes, axis: int) -> None:
        # What a search tried and found bad would squeeze all that matters into a line.
        inside = [point for point in points if point.quality >= low]
        below = [point for point in points if point.quality < low]

        def places(found: Sequence[QualityPoint], level: float | None = None) -> tuple[list[float], list[float]]:
            across = [point.cost if axis < 0 else point.counts[axis] for point in found]
            return across, [point.quality if level is None else level for point in found]

        axes.scatter(*places(inside), s=16, color=_GREY, label=f"{len(points)} measured")
        if below:
            axes.scatter(
                *places(below, low + 0.02 * spread), s=20, marker="v", color=_GREY, label="worse than the picture shows"
            )
        if axis < 0:
            axes.plot(*places(pareto), color=_GREEN, linewidth=1.6, marker="o", markersize=4, label="Pareto front")
            if adaptive:
                label = "by threshold (mean cost)"
                axes.scatter(*_columns(adaptive), s=46, marker="s", color=_BLUE, label=label, zorder=3)
            axes.set_xlabel(cost_label)
            axes.set_title("quality against cost", fontsize=9)
        else:
            axes.plot(*places(lines[axis]), color=_BLUE, linestyle=":", label="only this count changed")
            axes.locator_params(axis="x", integer=True)
            axes.set_xlabel(axes_names[axis])
            axes.set_title(f"quality against {axes_names[axis]}", fontsize=9)
        axes.scatter(*places([dense]), s=60, marker="D", color=_BLACK, label="dense", zorder=3)
        if chosen is not None:
            axes.scatter(*places([chosen]), s=150, marker="*", color=_RUST, label="chosen", zorder=4)
        if limit is not None and limit[0] == "quality":
            axes.axhline(limit[1], color=_RUST, linewidth=1.2, linestyle="--", label=f"at least {limit[1]:.2f}")
        if limit is not None and limit[0] == "cost" and axis < 0:
            axes.axvline(limit[1], color=_RUST, linewidth=1.2, linestyle="--", label=f"budget {limit[1]:g}")
        axes.margins(x=0.08)
        axes.set_ylim(low, high)

    _draw_panels([-1, *varied], title, quality_label, draw, path)


def draw_exits(panels: Sequence[ExitPanel], title: str, path: Path) -> None:
    """One panel per stage: share of pruned tokens whose class was wrong, at a fixed count and by the adaptive rule."""

    def draw(axes: Axes, panel: ExitPanel) -> None:
        axes.plot(*_columns(panel.fixed), color=_GREEN, marker="o", markersize=4, label="the same k for every image")
        axes.plot(
            *_columns(panel.adaptive),
            color=_BLUE,
            marker="s",
            markersize=4,
            linestyle="--",
            label="the same threshold for every image",
        )
        numbers = "nothing pruned here"
        if panel.chosen:
            axes.axvline(panel.chosen, color=_RUST, linewidth=1.4, label="chosen k")
            numbers = f"k = {panel.chosen}"
        if panel.threshold is not None and panel.adaptive_mean is not None:
            axes.axvline(
                panel.adaptive_mean, color=_BLUE, linewidth=1.2, linestyle=":", label="mean count by threshold"
            )
            numbers += f"; threshold {panel.threshold:g} prunes {panel.adaptive_mean:.0f} on average"
        highest = max((wrong for _, wrong in (*panel.fixed, *panel.adaptive)), default=0.0)
        axes.set_ylim(0, min(1.08 * max(highest, 1.0), 102))
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens pruned, mean over images")
        axes.set_title(f"{panel.title}\n{numbers}", fontsize=9)

    _draw_panels(panels, title, "wrong at the exit, % of those pruned", draw, path)


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
    found = figure.subplots(rows, columns, squeeze=False).ravel()
    meanings: dict[str, Any] = {}
    for axes, panel in zip(found, panels, strict=False):
        draw(axes, panel)
        axes.set_ylabel(label, fontsize=9)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            meanings.setdefault(name, handle)
    for axes in found[len(panels) :]:
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
    figure.savefig(path, dpi=_DPI)


def _line_through(center: QualityPoint, points: Sequence[QualityPoint], axis: int) -> list[QualityPoint]:
    """The points that differ from ``center`` in one count alone, and itself, ascending by that count."""

    def others(point: QualityPoint) -> tuple[int, ...]:
        return (*point.counts[:axis], *point.counts[axis + 1 :])

    found = [point for point in points if others(point) == others(center)]
    return sorted(found, key=lambda point: point.counts[axis])


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
