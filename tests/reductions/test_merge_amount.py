# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_cases import message_of

from edgeexport.config.place import Place
from edgeexport.errors import RecipeError
from edgeexport.reductions.merge_amount import parsed_r, resolved_r


@pytest.mark.parametrize(
    ("r", "depth", "counts"),
    [
        (8, 3, (8, 8, 8)),
        (0, 2, (0, 0)),
        ((4, 1.0), 6, (0, 1, 3, 4, 6, 8)),
        ((6, -0.5), 5, (9, 7, 6, 4, 3)),
        ((8, -1.0), 4, (16, 10, 5, 0)),
        ((8, -1), 4, (16, 10, 5, 0)),
        ([8, -1.0], 4, (16, 10, 5, 0)),
        ([8, -1], 4, (16, 10, 5, 0)),
        ((8, 1), 4, (0, 5, 10, 16)),
        ([8, 1.0], 4, (0, 5, 10, 16)),
        ([8, 1], 4, (8, 1, 0, 0)),
        ([8, 0], 2, (8, 0)),
        ((8, 0), 3, (8, 8, 8)),
        ([3, 0, 5, 1], 4, (3, 0, 5, 1)),
        ((3, 0, 5), 5, (3, 0, 5, 0, 0)),
        ([3], 2, (3, 0)),
        ([], 2, (0, 0)),
        ((7, -1.0), 1, (7,)),
        # Truncated after the step is multiplied, as the published code does: 2.7272... x 11 is 29.999...
        ((15, 1.0), 12, (0, 2, 5, 8, 10, 13, 16, 19, 21, 24, 27, 29)),
    ],
)
def test_every_form_gives_one_count_a_block(r, depth, counts):
    assert parsed_r(r, depth) == counts


def test_the_falling_schedule_of_the_paper_merges_181_tokens():
    assert sum(parsed_r((8, -1), 24)) == 181


@pytest.mark.parametrize("case", ["tome_vit_batch2_no_prop", "tome_vit_no_class_token", "tome_vit_tiny_grid"])
def test_golden_schedules(case, golden):
    config = json.loads((golden / case / "config.json").read_text())
    for entry in config["cases"].values():
        assert list(parsed_r(entry["r"], config["model"]["depth"])) == entry["parsed"]


_COUNTS = st.integers(0, 200)
_FORMS = st.one_of(
    _COUNTS,
    st.tuples(_COUNTS, st.floats(-1, 1)),
    st.tuples(_COUNTS, st.integers(-1, 1)),
    st.lists(_COUNTS, max_size=4),
)


@given(_FORMS, st.integers(4, 32))
def test_the_resolved_form_means_the_same_after_json(r, depth):
    text = resolved_r(r)
    again = json.loads(json.dumps(text))
    assert parsed_r(again, depth) == parsed_r(r, depth)
    assert resolved_r(again) == text


@given(_COUNTS, st.floats(-1, 1), st.integers(2, 48))
def test_schedules_stay_within_zero_and_twice_the_mean(r, inflection, depth):
    counts = parsed_r((r, inflection), depth)
    assert len(counts) == depth
    assert all(0 <= count <= 2 * r for count in counts)
    assert list(counts) in (sorted(counts), sorted(counts, reverse=True))


@pytest.mark.parametrize(
    ("r", "message"),
    [
        (-1, "r = -1 | out of range: expected an integer of at least 0"),
        (8.0, "r = 8.0 | expected an integer of at least 0, found a float"),
        (True, "r = True | expected an integer of at least 0, found a bool"),
        ("8", "r = '8' | expected an integer of at least 0, found a str"),
        (None, "r = None | expected an integer of at least 0, found None"),
        ([1, 2, 3, 4, 5], "r = [1, 2, 3, 4, 5] | has 5 entries, but the model has 4 blocks | give at most 4, one per block"),
        ([1, 2, -3], "r[2] = -3 | out of range: expected an integer of at least 0"),
        ([1, 2, 3.0], "r[2] = 3.0 | expected an integer of at least 0, found a float"),
        ([8, True], "r[1] = True | expected an integer of at least 0, found a bool"),
        ((8, True), "r[1] = True | expected a finite number, found a bool"),
        ((8.0, -1), "r[0] = 8.0 | expected an integer of at least 0, found a float"),
        ((-8, -1), "r[0] = -8 | out of range: expected an integer of at least 0"),
        ((8, -1.5), "r = [8, -1.5] | reads as (r, inflection), and an inflection is from -1 (falling) to 1 (rising) | use -1.0, or write one integer per block as a list"),
        ((3, 5), "r = [3, 5] | reads as (r, inflection)"),
        ((8, float("nan")), "r[1] = nan | expected a finite number"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(r, message):
    with pytest.raises(RecipeError) as caught:
        parsed_r(r, 4, Place("x.py", "r"))
    assert f"x.py: {message}" in message_of(caught.value)
