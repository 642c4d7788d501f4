"""Elements of the report's drawings: text, rectangles, lines, axes. No plotting library is at hand on a device.

Lengths across are percentages and those upwards are pixels, so that a drawing takes the width of any screen while its text
keeps its size. Colours and fonts are report.css's, which follows the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from markupsafe import Markup

__all__ = ["axis_top", "document", "drawable", "line", "rectangle", "text", "ticks", "upright_text"]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LINES = 5
_SMALLEST, _LARGEST = 1e-12, 1e100


def drawable(value: float) -> float:
    """``value``, or 0 for what has no length: negative, infinite, not a number. So small or large that sums would leave the
    range of numbers is drawn at a limit."""
    return min(float(value), _LARGEST) if math.isfinite(value) and value >= _SMALLEST else 0.0


def axis_top(lengths: Sequence[float]) -> float:
    """The largest of ``lengths``, each of `drawable` or a sum of such; 1 where all are 0."""
    return max(lengths, default=0.0) or 1.0


def ticks(top: float) -> list[tuple[float, str]]:
    """Round values from 0 up to ``top``, and how they are written."""
    step = _step(top)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != step:  # 2.5
        digits += 1
    values = [step * index for index in range(math.floor(top / step + 1e-9) + 1)]
    return [(value, f"{value:.1e}" if top >= 1e7 or digits > 4 else f"{value:,.{digits}f}") for value in values]


def document(name: str, title: str, description: str, height: float, body: Sequence[str], width_px: int = 0) -> Markup:
    """An SVG element for the middle of a page.

    Args:
        name: Unique on the page: its text alternatives are found by it.
        title, description: What stands for the drawing where it is not seen.
        height: In pixels.
        body: Elements.
        width_px: The drawing is not squeezed below this.
    """
    narrowest = f' style="min-width: {width_px}px"' if width_px else ""
    return Markup(
        f'<svg class="chart" role="img" aria-labelledby="{name}-title {name}-desc" width="100%" height="{height:.0f}"'
        f'{narrowest}><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>\n' + "\n".join(body) + "\n</svg>"
    )


def rectangle(kind: str, left: float, top: float, width: float, height: float, tip: str = "") -> str:
    """``left`` and ``width`` in percent; ``tip`` shows where a pointer rests on it."""
    inside = f"<title>{escape(tip)}</title></rect>" if tip else "</rect>"
    return (
        f'<rect class="{kind}" x="{left:.3f}%" y="{top:.2f}" width="{drawable(width):.3f}%" '
        f'height="{drawable(height):.2f}">{inside}'
    )


def line(kind: str, left: float, right: float, y: float) -> str:
    """Level, from ``left`` to ``right`` in percent."""
    return f'<line class="{kind}" x1="{left:.3f}%" x2="{right:.3f}%" y1="{y:.2f}" y2="{y:.2f}"/>'


def text(content: str, x: float, y: float, kind: str = "", anchor: str = "start") -> str:
    """One line; ``x`` in percent, ``y`` of its base line."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.3f}%" y="{y:.2f}" text-anchor="{anchor}">{escape(content)}</text>'


def upright_text(content: str, x: float, y: float, kind: str = "", anchor: str = "start") -> str:
    """One line that runs upwards from (``x`` percent, ``y``); with ``anchor`` 'end' it ends there."""
    named = f' class="{kind}"' if kind else ""
    return (  # a percentage cannot be rotated about: a nested drawing begins there instead
        f'<svg x="{x:.3f}%" y="{y:.2f}" overflow="visible"><text{named} transform="rotate(-90)" y="4" '
        f'text-anchor="{anchor}">{escape(content)}</text></svg>'
    )


def _step(top: float) -> float:
    scale = 10.0 ** math.floor(math.log10(top / _LINES))
    return next((step * scale for step in _STEPS if step * scale * _LINES >= top * (1 - 1e-9)), 10.0 * scale)
