"""Parts of a study: plateaus, the front, forms as text, levels of images."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgeexport.tune.bounds import seconds_of_budget
from edgeexport.tune.form import DENSE_FORM, Form
from edgeexport.tune.ladder import SAME, Step, plateaus
from edgeexport.tune.prices import price_key
from edgeexport.tune.result import Point, front
from edgeexport.tune.search import image_levels
from edgeexport.tune.trials import SHARD, shards

COSTS = st.lists(st.floats(0.1, 10, allow_nan=False), min_size=1, max_size=30)


def step(index: int, cost: float) -> Step:
    return Step(Form.of("tome", {"tome": {"r": index}}), 100 - index, cost)


@given(COSTS)
def test_a_plateau_is_its_largest_count(costs: list[float]) -> None:
    steps = [step(index, cost) for index, cost in enumerate(costs)]
    kept = plateaus(steps)
    assert kept[0].form == steps[0].form and sum(item.counts for item in kept) == len(steps)
    assert all(later.cost <= earlier.cost * (1 - SAME) for earlier, later in itertools.pairwise(kept))
    position = 0
    for item in kept:  # all that it stands for costs as much or more, and has no more tokens
        members = steps[position : position + item.counts]
        assert members[0].form == item.form
        assert all(member.cost > item.cost * (1 - SAME) for member in members)
        assert all(member.tokens_out <= item.tokens_out for member in members)
        position += item.counts


class _Lossy(Point):
    """A point whose loss is its name's."""

    @property
    def worst(self) -> float:
        return float(self.precision)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20))
def test_the_front_is_what_no_other_beats(places: list[tuple[int, int]]) -> None:
    points = [_Lossy(DENSE_FORM, str(worst / 10), 1, 1, float(cost), True, None) for cost, worst in places]
    line = front(points)
    for point in points:
        beaten = any(
            other.cost <= point.cost
            and other.worst >= point.worst
            and (other.cost, other.worst) != (point.cost, point.worst)
            for other in points
        )
        assert any((item.cost, item.worst) == (point.cost, point.worst) for item in line) is not beaten
    assert len({(item.cost, item.worst) for item in line}) == len(line)


@given(st.integers(1, 500))
def test_levels_are_whole_shards_up_to_all_images(images: int) -> None:
    levels = image_levels(images)
    assert levels[-1] == images and list(levels) == sorted(set(levels)) and len(levels) <= 3
    assert all(level % SHARD == 0 for level in levels[:-1])
    for level in levels:  # what a level measured is a part of what the next one needs
        assert set(shards(level)) <= set(shards(images)) or level == images
    assert [index for first, last in shards(images) for index in range(first, last)] == list(range(images))


def test_a_form_is_plain_text_that_reads_back() -> None:
    form = Form.of("dtop", {"dtop": {"prune": {6: 30, 8: 40}, "protect_per_class": 5}})
    assert form.config == {"dtop": {"prune": {6: 30, 8: 40}, "protect_per_class": 5}} and not form.is_dense
    assert Form(form.way, form.reduction) == form and DENSE_FORM.is_dense
    r = Form.of("dsm delay=2", {"dsm": {"r": [0, 0, 9, 9, 9, 8], "delay": 2}})
    assert r.counts == "r = 0(x2) 9(x3) 8" and r.file_name == "dsm_delay_2_r_0_x2_9_x3_8"


def test_times_of_a_budget() -> None:
    assert [seconds_of_budget(text) for text in (None, "90s", "1.5m", "2h", "1d")] == [None, 90, 90, 7200, 86400]


def test_ways_that_share_a_price() -> None:
    keys = {
        "tome": "tome",
        "tome rope=mean": "tome",
        "dsm delay=0 window=7": "dsm in windows",
        "dsm delay=2 window=7": "dsm in windows",
        "dsm delay=4 window=None": "dsm",
        "own cts+dtop": "own cts+dtop",
    }
    assert {way: price_key(way) for way in keys} == keys
