from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_cases import message_of

from edgeexport.config.options import config_with_options, option_value
from edgeexport.errors import RecipeError

CONFIG = {
    "reduction": {"dtop": {"prune": {6: 1, 8: 2}, "protect_per_class": 5}, "cts": None},
    "input": {"shape": (1, 3, 128, 128)},
    "model": {"auxiliary_head": [{"thresh": 0.5}, {"thresh": 0.6}]},
    "seed": 0,
}


def refusal(*options: str) -> str:
    with pytest.raises(RecipeError) as caught:
        config_with_options(CONFIG, options)
    return message_of(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0.5", 0.5),
        ("True", True),
        ("None", None),
        ("true", "true"),
        ("class_map", "class_map"),
        ("'8'", "8"),
        ("{6: 1, 8: 2}", {6: 1, 8: 2}),
        ("(1, 3, 64, 96)", (1, 3, 64, 96)),
        ("1,3,64,96", (1, 3, 64, 96)),
        (" [1]", [1]),
        ("weights/a=b.pth", "weights/a=b.pth"),
        ("__import__('os')", "__import__('os')"),
        ("dict(mode='slide', crop_size=(512, 512))", {"mode": "slide", "crop_size": (512, 512)}),
        ("[dict(a=dict(b={1: 2})), dict()]", [{"a": {"b": {1: 2}}}, {}]),
        ("dict(a=open('x'))", "dict(a=open('x'))"),
        ("dict([(1, 2)])", "dict([(1, 2)])"),
        ("dict(**{'a': 1})", "dict(**{'a': 1})"),
        ("list(a=1)", "list(a=1)"),
        ("", ""),
    ],
)
def test_values_are_literals_or_strings(text, value):
    found = option_value(text)
    assert found == value
    assert type(found) is type(value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.dictionaries(st.integers(), x)))
def test_every_literal_comes_back(value):
    assert option_value(repr(value)) == value


def test_a_value_replaces_and_nothing_merges():
    changed = config_with_options(CONFIG, ["reduction.dtop.prune={10: 4}"])
    assert changed["reduction"]["dtop"] == {"prune": {10: 4}, "protect_per_class": 5}
    assert config_with_options(CONFIG, ["reduction={'cts': {'num_shared': 3}}"])["reduction"] == {
        "cts": {"num_shared": 3}
    }


def test_delete_in_a_value_leaves_no_trace():
    changed = config_with_options(CONFIG, ["reduction.dtop.prune={'_delete_': True, 8: 3}"])
    assert changed["reduction"]["dtop"]["prune"] == {8: 3}


def test_an_integer_addresses_a_block_or_a_position():
    changed = config_with_options(
        CONFIG, ["reduction.dtop.prune.8=9", "model.auxiliary_head.1.thresh=0.7", "input.shape.0=2"]
    )
    assert changed["reduction"]["dtop"]["prune"] == {6: 1, 8: 9}
    assert changed["model"]["auxiliary_head"] == [{"thresh": 0.5}, {"thresh": 0.7}]
    assert changed["input"]["shape"] == (2, 3, 128, 128)


def test_missing_levels_are_made_and_later_options_win():
    changed = config_with_options(CONFIG, ["reduction.cts.num_shared=3", "tail.form=plain", "seed=1", "seed=2"])
    assert changed["reduction"]["cts"] == {"num_shared": 3}
    assert changed["tail"] == {"form": "plain"}
    assert changed["seed"] == 2


def test_the_configuration_given_is_not_changed():
    config_with_options(CONFIG, ["reduction.dtop.prune.8=9", "input.shape.0=2", "model.auxiliary_head.0.thresh=1"])
    assert CONFIG["reduction"]["dtop"]["prune"] == {6: 1, 8: 2}
    assert CONFIG["input"]["shape"] == (1, 3, 128, 128)
    assert CONFIG["model"]["auxiliary_head"][0] == {"thresh": 0.5}


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("seed", "has no '='"),
        ("=3", "has an empty key"),
        ("reduction..cts=3", "has an empty key"),
        (".seed=3", "has an empty key"),
        ("seed.x=3", "'x' leads into 1, which has no entries"),
        ("model.auxiliary_head.2.thresh=1", "expected a position from 0 to 1, found '2'"),
        ("model.auxiliary_head.-1.thresh=1", "expected a position from 0 to 1, found '-1'"),
        ("model.auxiliary_head.first=1", "expected a position from 0 to 1, found 'first'"),
        ("_width=3", "'_width' is a helper variable of the recipe"),
    ],
)
def test_an_option_that_leads_nowhere_is_refused(option, problem):
    message = refusal("seed=1", option)
    assert message.startswith(f"--cfg-options {option} | ")
    assert problem in message
