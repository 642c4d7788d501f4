"""Columns side by side, each a stack of parts: what the report draws per block of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.report.svg import axis_top, document, drawable, line, rectangle, text, ticks, upright_text

__all__ = ["Segment", "Slot", "Stack", "column_chart"]

_PLOT = 200  # pixels from the axis to the top
_HEAD, _RIGHT = 22, 100.0
_NARROWEST, _NARROWEST_SLOT = 280, 16  # pixels
_CHARACTER = 7.2  # pixels
_NUMBERS_BELOW = 22


@dataclass(frozen=True)
class Segment:
    """A part of a stack: a class of report.css, its height in the chart's unit, and what a pointer shows."""

    kind: str
    value: float
    tip: str = ""


@dataclass(frozen=True)
class Stack:
    """Segments from the axis upwards; ``style`` is a further class of all of them."""

    segments: tuple[Segment, ...]
    style: str = ""

    @property
    def height(self) -> float:
        """In the chart's unit."""
        return sum(drawable(segment.value) for segment in self.segments)


@dataclass(frozen=True)
class Slot:
    """A place along the axis.

    Attributes:
        label: Below the axis: a block's number, or a word that is written upwards.
        stacks: Side by side.
        frame: Height of an empty column around them; None for none.
        caption: Written upwards on the first stack.
    """

    label: str
    stacks: tuple[Stack, ...]
    frame: float | None = None
    caption: str = ""


def column_chart(name: str, title: str, description: str, unit: str, slots: Sequence[Slot]) -> Markup:
    """Draws the slots from left to right.

    Args:
        name: Unique on the page.
        title, description: What stands for the drawing where it is not seen.
        unit: Of the heights, written above the axis.
        slots: At least one; values that are negative or no numbers are drawn as 0.

    Returns:
        An SVG element whose heights are in proportion to the values.
    """
    heights = [stack.height for slot in slots for stack in slot.stacks]
    top = axis_top([*heights, *(drawable(slot.frame or 0.0) for slot in slots)])
    scale = _PLOT / top
    upright = [slot.label for slot in slots if not slot.label.isdigit()]
    below = max([_NUMBERS_BELOW, *(_CHARACTER * len(label) + 10 for label in upright)])
    base = _HEAD + _PLOT
    narrowest = max(_NARROWEST, round(1.1 * _NARROWEST_SLOT * len(slots)))
    written = ticks(top)
    left = 100 * (_CHARACTER * max(len(words) for _, words in written) + 8) / narrowest
    rows = [text(unit, 0, 11, "quiet")]
    for value, words in written:
        y = base - value * scale
        rows.append(line("grid" if value else "axis", left, _RIGHT, y))
        rows.append(text(words, left - 100 * 6 / narrowest, y + 4, "quiet", "end"))
    pitch = (_RIGHT - left) / len(slots)
    for index, slot in enumerate(slots):
        rows += _slot(slot, left + pitch * index, pitch, base, scale)
    return document(name, title, description, base + below, rows, width_px=narrowest)


def _slot(slot: Slot, left: float, pitch: float, base: float, scale: float) -> list[str]:
    rows = []
    if slot.frame is not None:
        height = drawable(slot.frame) * scale
        rows.append(rectangle("frame", left + 0.06 * pitch, base - height, 0.88 * pitch, height))
    width = 0.76 * pitch / len(slot.stacks)
    for number, stack in enumerate(slot.stacks):
        top = base
        for segment in stack.segments:
            height = drawable(segment.value) * scale
            if height:
                top -= height
                kind = f"{segment.kind} {stack.style}".strip()
                rows.append(
                    rectangle(kind, left + 0.12 * pitch + number * width, top, 0.96 * width, height, segment.tip)
                )
    centre = left + pitch / 2
    if slot.caption:
        room = drawable(slot.stacks[0].segments[0].value) * scale if slot.stacks[0].segments else 0.0
        fits = room > _CHARACTER * len(slot.caption) + 8
        rows.append(upright_text(slot.caption, centre, base - (6 if fits else room + 5), "on" if fits else "over"))
    if slot.label.isdigit():
        rows.append(text(slot.label, centre, base + 15, "quiet", "middle"))
    else:
        rows.append(upright_text(slot.label, centre, base + 6, "quiet", "end"))
    return rows
