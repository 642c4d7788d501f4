# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import math

import pytest
from recipe_cases import message_of

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, choice, integer, mapping, number, pair, reject_unless, sequence, string
from edgeexport.errors import RecipeError

HERE = Place("x.py", "a.b")


def refusal(read, *arguments) -> str:
    with pytest.raises(RecipeError) as caught:
        read(*arguments)
    return message_of(caught.value)


@pytest.mark.parametrize(
    ("read", "value", "arguments", "message"),
    [
        (integer, True, (), "x.py: a.b = True | expected an integer, found a bool"),
        (integer, 8.0, (1,), "x.py: a.b = 8.0 | expected an integer of at least 1, found a float"),
        (integer, "8", (None, 9), "x.py: a.b = '8' | expected an integer of at most 9, found a str"),
        (integer, -1, (0,), "x.py: a.b = -1 | out of range: expected an integer of at least 0"),
        (integer, 10, (0, 9), "x.py: a.b = 10 | out of range: expected an integer from 0 to 9"),
        (number, True, (), "x.py: a.b = True | expected a finite number, found a bool"),
        (number, math.inf, (), "x.py: a.b = inf | expected a finite number, found a float"),
        (number, math.nan, (), "x.py: a.b = nan | expected a finite number, found a float"),
        (boolean, 1, (), "x.py: a.b = 1 | expected True or False, found an int"),
        (string, "", (), "x.py: a.b = '' | expected a string, found an empty string"),
        (string, None, (), "x.py: a.b = None | expected a string, found None"),
        (choice, "scroes", (("class_map", "scores"),), "x.py: a.b = 'scroes' | expected one of 'class_map', 'scores' | did you mean 'scores'?"),
        (choice, 1, (("class_map",),), "x.py: a.b = 1 | expected one of 'class_map'"),
        (sequence, "abc", (3,), "x.py: a.b = 'abc' | expected 3 values, found a str"),
        (sequence, (1, 2), (3,), "x.py: a.b = (1, 2) | expected 3 values, found 2"),
        (sequence, {1}, (), "x.py: a.b = {1} | expected a list, found a set"),
        (pair, (1, 2, 3), (), "x.py: a.b = (1, 2, 3) | expected (height, width), found 3 values"),
        (pair, (1, 0), (), "x.py: a.b[1] = 0 | out of range: expected an integer from 1 to 65536"),
        (mapping, [], (("k",),), "x.py: a.b = [] | expected a dict | known keys: k"),
        (mapping, {"widht": 3}, (("width", "height"),), "x.py: a.b.widht = 3 | unknown key 'widht' | did you mean 'width'?"),
        (mapping, {3: 4}, (("width",),), "x.py: a.b[3] = 4 | unknown key 3 | known: width"),
        (reject_unless, 0, ((False,), "why"), "x.py: a.b = 0 | unsupported: why | supported: False"),
        (reject_unless, "x", (("corner", 0), "why"), "x.py: a.b = 'x' | unsupported: why | supported: 'corner' or 0"),
    ],
)  # fmt: skip
def test_refusals_say_where_what_and_expected(read, value, arguments, message):
    assert refusal(read, value, HERE, *arguments) == message


def test_what_fits_comes_back():
    assert integer(3, HERE, 3, 3) == 3
    assert number(3, HERE) == 3.0
    assert type(number(3, HERE)) is float
    assert boolean(False, HERE) is False
    assert string("a", HERE) == "a"
    assert choice("a", HERE, ("a", "b")) == "a"
    assert sequence((1, 2), HERE, 2) == [1, 2]
    assert mapping({"a": 1}, HERE, ("a", "b")) == {"a": 1}
    assert [pair(value, HERE) for value in (7, (7,), [7, 8])] == [(7, 7), (7, 7), (7, 8)]
    reject_unless(0, HERE, ("corner", 0), "")


def test_long_values_are_shortened_to_one_line():
    message = refusal(integer, "x\n" * 200, HERE)
    assert len(message) < 200
    assert "..." in message
