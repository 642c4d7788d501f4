from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from svg_reading import drawing

from edgeexport.report.bar_chart import Bar, bar_chart
from edgeexport.report.column_chart import Segment, Slot, Stack, column_chart
from edgeexport.report.svg import axis_top, drawable, ticks

VALUES = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1e4) | st.sampled_from([0.0, 1e-12, 1e308])


def slot(*values: float, frame: float | None = None, label: str = "1", caption: str = "") -> Slot:
    """One stack."""
    segments = tuple(Segment(f"kind{number}", value, f"tip {number}") for number, value in enumerate(values))
    return Slot(label, (Stack(segments),), frame=frame, caption=caption)


def test_heights_are_in_proportion_and_parts_stand_on_each_other() -> None:
    found = drawing(column_chart("n", "Title", "Words", "ms", [slot(30, 10), slot(20, 0, frame=80, label="tail")]))
    (low, other), (high,) = found.of("kind0"), found.of("kind1")
    assert low.height / other.height == pytest.approx(1.5) and low.height / high.height == pytest.approx(3)
    assert high.y + high.height == pytest.approx(low.y) and low.y + low.height == pytest.approx(other.y + other.height)
    (frame,) = found.of("frame")
    assert frame.height == pytest.approx(4 * other.height) and frame.width > other.width
    assert (found.title, found.description, low.tip) == ("Title", "Words", "tip 0")
    assert {"ms", "0", "20", "40", "60", "80", "1", "tail"} == set(found.texts)


def test_stacks_of_a_place_stand_side_by_side() -> None:
    pair = Slot("7", (Stack((Segment("a", 2.0),)), Stack((Segment("a", 3.0),), "predicted")))
    found = drawing(column_chart("n", "t", "d", "ms", [pair]))
    (left,), (right,) = found.of("a"), found.of("a predicted")
    assert left.x + left.width <= right.x and right.height / left.height == pytest.approx(1.5, rel=1e-3)


def test_captions_stand_above_columns_that_are_too_low() -> None:
    text = column_chart("n", "t", "d", "tokens", [slot(1000, caption="1,000"), slot(3, caption="3")])
    assert text.count('class="on"') == 1 and text.count('class="over"') == 1


@pytest.mark.parametrize("count", [1, 48])
def test_every_column_has_its_place(count: int) -> None:
    found = drawing(column_chart("n", "t", "d", "ms", [slot(5.0, label=str(index + 1)) for index in range(count)]))
    columns = found.of("kind0")
    assert len(columns) == count and {str(index + 1) for index in range(count)} <= set(found.texts)
    assert all(one.x + one.width < next_.x for one, next_ in itertools.pairwise(columns))


@settings(deadline=None)
@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=6), VALUES)
def test_any_number_can_be_drawn(stacks: list[list[float]], frame: float) -> None:
    text = column_chart("n", "t", "d", "u", [slot(*values, frame=frame) for values in stacks])
    assert "nan" not in text.lower() and "inf" not in text.lower()
    found = drawing(text)
    assert all(-0.01 <= rectangle.y <= 222.01 for rectangle in found.rectangles)
    drawn = [sum(map(drawable, values)) for values in stacks]
    top = max([*drawn, drawable(frame)])
    if top > 0:
        heights = sum(rectangle.height for rectangle in found.rectangles if rectangle.kind != "frame")
        assert heights == pytest.approx(
            200 * sum(total / top for total in drawn), abs=0.05 * len(found.rectangles) + 0.1
        )


@pytest.mark.parametrize(
    ("top", "written"),
    [
        (1024.0, ["0", "250", "500", "750", "1,000"]),
        (1.97, ["0.0", "0.5", "1.0", "1.5"]),
        (0.011, ["0.0000", "0.0025", "0.0050", "0.0075", "0.0100"]),
        (1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (3e12, ["0.0e+00", "1.0e+12", "2.0e+12", "3.0e+12"]),
    ],
)
def test_axes_are_marked_at_round_values(top: float, written: list[str]) -> None:
    assert [text for _, text in ticks(top)] == written


def test_nothing_to_draw_has_an_axis_all_the_same() -> None:
    assert axis_top([]) == axis_top([0.0]) == 1.0
    assert drawing(column_chart("n", "t", "d", "ms", [slot(0.0)])).rectangles == ()


def test_words_are_escaped() -> None:
    evil = '"><script>alert(1)</script>&'
    bars = bar_chart("n", evil, evil, [Bar(evil, evil, 1.0, "k")])
    columns = column_chart("n", evil, evil, evil, [slot(1, label=evil, caption=evil)])
    for text in (bars, columns):
        assert "<script" not in text and drawing(text).title == evil


def test_bars_are_in_proportion() -> None:
    bars = [Bar("MAXN", "8 ms", 8.0, "a"), Bar("15W", "32 ms", 32.0, "b"), Bar("none", "?", math.nan, "c")]
    found = drawing(bar_chart("n", "t", "d", bars))
    (short,), (long,), (none,) = found.of("a"), found.of("b"), found.of("c")
    assert (short.width, long.width, none.width) == (25, 100, 0)
    assert short.y < long.y < none.y < found.height
    assert found.texts == ("MAXN", "8 ms", "15W", "32 ms", "none", "?")
