"""The layer-by-layer figure as an SVG: time of every part of the model, and beside it the share of the work that it does.

Drawn by hand, since a device has no plotting library. Follows the reader's light or dark scheme; needs no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["svg_from_layers"]

_ROW, _BAR, _TICK = 22, 12, 3
_LABEL, _PLOT, _FIGURES, _TOP, _BOTTOM = 210, 420, 150, 44, 40
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d2530}.quiet{fill:#5b6675}.time{fill:#2f6fb0}.work{fill:#d08a1d}"
    ".predicted{stroke:#b3261e;stroke-width:2}.axis{stroke:#c5ccd6}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e9ee}.quiet{fill:#9aa5b4}.time{fill:#6fa8dc}.work{fill:#e0a94f}"
    ".predicted{stroke:#f2867d}.axis{stroke:#46505e}}"
)


def svg_from_layers(layers: Mapping[str, Any], predicted: Mapping[str, Any] | None = None) -> str:
    """Draws an attribution.

    Args:
        layers: `edgeexport.profile.attribution.Attribution.summary`.
        predicted: `edgeexport.profile.roofline.Prediction.as_dict`, whose times are drawn as marks; None for none.

    Returns:
        An SVG document. Bars are measured milliseconds; the thin bars beneath them are shares of the multiply-accumulates,
        on the scale on which the whole time is all of them.
    """
    parts: Sequence[Mapping[str, Any]] = layers["parts"]
    marks = {part["part"]: float(part["ms"]) for part in (predicted or {"parts": ()})["parts"]}
    macs = sum(part["macs"] for part in parts)
    total_ms = float(layers["total_ms"])
    shares = {part["part"]: part["macs"] / macs * total_ms if macs else 0.0 for part in parts}
    longest = max([*(float(part["ms"]) for part in parts), *shares.values(), *marks.values(), 1e-9])
    scale = _PLOT / longest
    width, height = _LABEL + _PLOT + _FIGURES, _TOP + _ROW * len(parts) + _BOTTOM
    title = f"{total_ms:.3f} ms with the profiler on ({layers['backend']}, mean of {layers['runs']} runs)"
    rows = [_text(10, 20, title), _text(10, 36, _legend(layers, predicted), "quiet")]
    rows.append(f'<line class="axis" x1="{_LABEL}" x2="{_LABEL}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
    for index, part in enumerate(parts):
        name, ms, top = part["part"], float(part["ms"]), _TOP + _ROW * index
        rows.append(_text(_LABEL - 8, top + _BAR, part["title"], anchor="end"))
        rows.append(_bar("time", top + 2, ms * scale, _BAR))
        rows.append(_bar("work", top + 2 + _BAR, shares[name] * scale, _TICK))
        if name in marks:
            x = _LABEL + marks[name] * scale
            rows.append(f'<line class="predicted" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + _BAR + 6}"/>')
        figures = f"{ms:.3f} ms, {part['share']:.1%}"
        reached = max(ms, shares[name], marks.get(name, 0.0)) * scale
        rows.append(_text(_LABEL + reached + 8, top + _BAR, figures, "quiet"))
    placed = f"{layers['attributed_share']:.1%} of the time could be placed, {layers['divided_share']:.1%} divided by estimate"
    rows.append(_text(10, height - 14, placed, "quiet"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title, {chr(34): "&quot;"})}"><style>{_STYLE}</style>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _legend(layers: Mapping[str, Any], predicted: Mapping[str, Any] | None) -> str:
    text = f"bar: {layers['provenance']} time; thin bar: share of the multiply-accumulates"
    if predicted is not None:
        mode = " ".join(filter(None, (predicted["target"], predicted["power_mode"])))
        text += f"; mark: predicted ({mode})"
    return text


def _bar(kind: str, top: float, length: float, thickness: float) -> str:
    return f'<rect class="{kind}" x="{_LABEL}" y="{top}" width="{max(length, 0.0):.1f}" height="{thickness}"/>'


def _text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(content)}</text>'
