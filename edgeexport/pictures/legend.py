"""The legend under an overlay: a title, a warning, and columns of swatches with text. Pillow alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from PIL import Image, ImageDraw, ImageFont

from edgeexport.documents.legend import LEGEND_SCHEMA

__all__ = ["Legend", "LegendColumn", "LegendEntry", "draw_legend", "percent_text"]

Colour = tuple[int, int, int]

_BACKGROUND: Colour = (250, 250, 251)
_TEXT: Colour = (28, 32, 38)
_MUTED: Colour = (104, 112, 122)
_RULE: Colour = (220, 224, 229)
_WARNING: Colour = (255, 226, 145)
_WARNING_TEXT: Colour = (92, 52, 0)
_NARROWEST_LANE, _WIDEST_LANE = 12, 22  # in text sizes
_NEUTRAL: Colour = (196, 202, 209)  # what a brightness is shown on


@dataclass(frozen=True)
class LegendEntry:
    """A line: swatch, text, value. The swatch is filled, outlined, a brightness 0..1 of a neutral grey, or absent.

    ``sides`` outlines it in one colour for each side, which stands for outlines of any colour.
    """

    text: str
    value: str = ""
    fill: Colour | None = None
    outline: Colour | None = None
    shade: float | None = None
    sides: tuple[Colour, Colour, Colour, Colour] | None = None

    @property
    def has_swatch(self) -> bool:
        """Whether anything stands before the text."""
        return any(part is not None for part in (self.fill, self.outline, self.shade, self.sides))


@dataclass(frozen=True)
class LegendColumn:
    """Entries under a heading. A ``wide`` column flows into two where there is room."""

    heading: str
    entries: tuple[LegendEntry, ...]
    wide: bool = False


@dataclass(frozen=True)
class Legend:
    """What the legend says."""

    columns: tuple[LegendColumn, ...]
    title: str = ""
    notice: str = ""
    background: Colour = _BACKGROUND

    def as_dict(self, width: int, height: int) -> dict[str, object]:
        """JSON-ready form (`edgeexport.documents.legend`) below a picture of ``width`` x ``height`` pixels."""
        columns = [
            {"heading": column.heading, "entries": [_entry_dict(entry) for entry in column.entries]}
            for column in self.columns
        ]
        return {
            "schema": LEGEND_SCHEMA,
            "width": width,
            "height": height,
            "title": self.title,
            "notice": self.notice,
            "columns": columns,
        }


def _entry_dict(entry: LegendEntry) -> dict[str, object]:
    """Without what it has not."""
    return {name: value for name, value in asdict(entry).items() if value not in (None, "") or name == "text"}


class _Pen:
    """Measures and draws a legend's text. Its size follows the canvas, so that a scaled-down overlay stays legible."""

    def __init__(self, draw: ImageDraw.ImageDraw, width: int) -> None:
        self.draw = draw
        self.size = min(max(width // 47, 18), 34)
        self.font = ImageFont.load_default(size=self.size)
        self.heading = ImageFont.load_default(size=round(self.size * 0.88))
        self.line = round(self.size * 1.65)
        self.margin = round(self.size * 1.1)

    def text(self, x: float, y: float, words: str, room: float, colour: Colour = _TEXT, heading: bool = False) -> None:
        """One line whose vertical middle is ``y``, shortened to ``room`` pixels."""
        font = self.heading if heading else self.font
        shown = words
        while shown and self.draw.textlength(shown if shown == words else f"{shown}...", font) > room:
            shown = shown[:-1]
        self.draw.text((x, y), shown if shown == words else f"{shown.rstrip()}...", colour, font, anchor="lm")

    def right(self, x: float, y: float, words: str) -> float:
        """One line that ends at ``x``; returns its length."""
        self.draw.text((x, y), words, _MUTED, self.font, anchor="rm")
        return self.draw.textlength(words, self.font)

    def wrapped(self, words: str, room: float) -> list[str]:
        """``words`` broken into lines of at most ``room`` pixels; a longer single word stays whole."""
        lines: list[str] = []
        for word in words.split():
            joined = f"{lines[-1]} {word}" if lines else word
            if lines and self.draw.textlength(joined, self.font) <= room:
                lines[-1] = joined
            else:
                lines.append(word)
        return lines


def draw_legend(legend: Legend, width: int) -> Image.Image:
    """Draws a legend ``width`` pixels wide, as high as it needs."""
    sketch = _Pen(ImageDraw.Draw(Image.new("RGB", (1, 1))), width)
    image = Image.new("RGB", (width, _draw(sketch, legend, width)), legend.background)
    _draw(_Pen(ImageDraw.Draw(image), width), legend, width)
    return image


def _draw(pen: _Pen, legend: Legend, width: int) -> int:
    """Draws and returns the height; on a one-pixel image it only measures (Pillow clips)."""
    y = pen.margin * 0.75
    room = width - 2 * pen.margin
    for line in pen.wrapped(legend.title, room):
        pen.text(pen.margin, y + pen.line / 2, line, room)
        y += pen.line
    if legend.notice:
        y = _draw_notice(pen, legend.notice, y + pen.size * 0.2, width)
    gap = 2 * pen.margin
    widths = _column_widths(pen, legend, room, gap)
    x, bottom = float(pen.margin), y
    for column, part in zip(legend.columns, widths, strict=True):
        bottom = max(bottom, _draw_column(pen, column, x, y + pen.size * 0.3, part))
        x += part + gap
    return round(bottom + pen.margin * 0.75)


def _column_widths(pen: _Pen, legend: Legend, room: float, gap: float) -> list[float]:
    """Columns that are not wide get what their longest line needs (at most their part); wide ones share the rest."""
    needed = []
    for column in legend.columns:
        lines = [pen.draw.textlength(column.heading.upper(), pen.heading)]
        for entry in column.entries:
            value = pen.draw.textlength(entry.value, pen.font) + 1.5 * pen.size if entry.value else 0.0
            lines.append(_indent(pen, column) + pen.draw.textlength(entry.text, pen.font) + value + 0.2 * pen.size)
        needed.append(0.0 if column.wide else min(max(lines), room / max(len(legend.columns), 2)))
    wide = sum(column.wide for column in legend.columns)
    rest = (room - gap * (len(needed) - 1) - sum(needed)) / max(wide, 1)
    return [rest if column.wide else width for column, width in zip(legend.columns, needed, strict=True)]


def _draw_notice(pen: _Pen, notice: str, y: float, width: int) -> float:
    inside = width - 4 * pen.margin
    lines = pen.wrapped(notice, inside)
    height = len(lines) * pen.line + pen.size * 0.3
    box = (pen.margin, y, width - pen.margin, y + height)
    pen.draw.rounded_rectangle(box, radius=pen.size // 3, fill=_WARNING)
    for number, line in enumerate(lines):
        middle = y + pen.size * 0.15 + (number + 0.5) * pen.line
        pen.text(2 * pen.margin, middle, line, inside, _WARNING_TEXT)
    return y + height + pen.size * 0.3


def _draw_column(pen: _Pen, column: LegendColumn, x: float, y: float, width: float) -> float:
    pen.text(x, y + pen.line / 2, column.heading.upper(), width, _MUTED, heading=True)
    rule = y + pen.line
    pen.draw.line((x, rule, x + width, rule), fill=_RULE, width=max(1, pen.size // 14))
    top = rule + pen.size * 0.3
    gap = 1.5 * pen.margin
    lanes = _lanes(column, width, pen.size)
    per_lane = -(-len(column.entries) // lanes)
    # A name and its value belong together: no lane is so wide that the eye loses the line.
    lane_width = min((width - gap * (lanes - 1)) / lanes, _WIDEST_LANE * pen.size)
    for number, entry in enumerate(column.entries):
        lane, line = divmod(number, per_lane)
        left, middle = x + lane * (lane_width + gap), top + (line + 0.5) * pen.line
        _draw_entry(pen, entry, left, middle, lane_width, _indent(pen, column))
    return top + per_lane * pen.line


def _indent(pen: _Pen, column: LegendColumn) -> float:
    """Room for the swatches, where the column has any."""
    return pen.size * 1.6 if any(entry.has_swatch for entry in column.entries) else 0.0


def _lanes(column: LegendColumn, width: float, size: int) -> int:
    """A wide column flows into as many lanes as fit, of at least three entries each."""
    if not column.wide:
        return 1
    fitting = int(width // (_NARROWEST_LANE * size))
    return max(1, min(fitting, -(-len(column.entries) // 3)))


def _draw_entry(pen: _Pen, entry: LegendEntry, x: float, middle: float, width: float, indent: float) -> None:
    side = pen.size
    box = (x, middle - side / 2, x + side, middle + side / 2)
    if entry.fill is not None:
        pen.draw.rectangle(box, fill=entry.fill, outline=_RULE)
    elif entry.outline is not None:
        pen.draw.rectangle(box, outline=entry.outline, width=max(2, pen.size // 8))
    elif entry.shade is not None:
        level = tuple(round(part * entry.shade) for part in _NEUTRAL)
        pen.draw.rectangle(box, fill=(level[0], level[1], level[2]), outline=_RULE)
    elif entry.sides is not None:
        left, top, right, bottom = box
        corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
        for colour, start_at, end_at in zip(entry.sides, corners, corners[1:], strict=False):
            pen.draw.line((*start_at, *end_at), fill=colour, width=max(3, pen.size // 7))
    start = x + indent
    used = pen.right(x + width, middle, entry.value) + side * 0.5 if entry.value else 0.0
    pen.text(start, middle, entry.text, x + width - used - start)


def percent_text(share: float) -> str:
    """A share as an entry's value; what would round to nothing says so."""
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
