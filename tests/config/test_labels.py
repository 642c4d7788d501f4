from __future__ import annotations

import sys

import pytest
from recipe_cases import message_of

from edgeexport.config.labels import classes_from_config, generated_palette, palette_from_config
from edgeexport.config.place import Place
from edgeexport.errors import RecipeError

HERE = Place("x.py", "classes")


def refusal(read, *arguments) -> str:
    with pytest.raises(RecipeError) as caught:
        read(*arguments)
    return message_of(caught.value)


def test_a_data_sets_name_gives_its_classes_and_colours():
    pytest.importorskip("mmseg")
    names = classes_from_config("ade20k", HERE, 150)
    assert len(names) == 150
    assert names[:3] == ("wall", "building", "sky")
    assert all(name == name.strip() for name in names)
    colours = palette_from_config(None, HERE, 150, "ade20k")
    assert colours[:2] == ((120, 120, 120), (180, 120, 120))
    assert palette_from_config("cityscapes", HERE, 19, None)[0] == (128, 64, 128)


def test_imagenets_names_are_timms():
    names = classes_from_config("imagenet", HERE, 1000)
    assert len(names) == 1000
    assert (names[0], names[283], names[999]) == ("tench", "Persian cat", "toilet tissue")
    assert "1000 entries" in refusal(classes_from_config, "imagenet", HERE, 10)
    assert "'imagenet'" in refusal(classes_from_config, "imagnet", HERE, 1000)


def test_lists_are_taken_as_they_are():
    assert classes_from_config(["a", "b"], HERE, 2) == ("a", "b")
    assert palette_from_config([(0, 1, 2), [3, 4, 255]], HERE, 2, None) == ((0, 1, 2), (3, 4, 255))


def test_nothing_given_leaves_names_out_and_generates_colours():
    assert classes_from_config(None, HERE, 3) == ()
    assert classes_from_config([], HERE, 3) == ()
    assert palette_from_config(None, HERE, 3, None) == generated_palette(3)
    assert palette_from_config(None, HERE, 3, ["a", "b", "c"]) == generated_palette(3)


def test_generated_colours_are_distinct_and_stable():
    colours = generated_palette(200)
    assert len(set(colours)) == 200
    assert all(0 <= level <= 255 for colour in colours for level in colour)
    assert generated_palette(3) == colours[:3]


@pytest.mark.parametrize(
    ("value", "count", "message"),
    [
        ("ade20", 150, "no data set of this name | did you mean 'ade20k'?, or give a list"),
        ("ade20k", 19, "has 150 entries, but the model has 19 classes"),
        (["a"], 2, "has 1 entries, but the model has 2 classes"),
        (["a", 3], 2, "classes[1] = 3 | expected a string"),
        (3, 2, "expected a list, found an int"),
    ],
)
def test_names_that_do_not_fit_are_refused(value, count, message):
    assert message in refusal(classes_from_config, value, HERE, count)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([(0, 0, 0)], "has 1 entries, but the model has 2 classes"),
        ([(0, 0, 0), (0, 0)], "[1] = (0, 0) | expected 3 values, found 2"),
        ([(0, 0, 0), (0, 0, 256)], "[1][2] = 256 | out of range: expected an integer from 0 to 255"),
        ([(0, 0, 0), (0, 0, 0.5)], "[1][2] = 0.5 | expected an integer from 0 to 255, found a float"),
        ("nothing", "no data set of this name"),
    ],
)
def test_colours_that_do_not_fit_are_refused(value, message):
    assert message in refusal(palette_from_config, value, HERE, 2, None)


def test_without_mmsegmentation_the_message_says_what_to_do(monkeypatch):
    for module in ("mmseg", "mmseg.utils"):
        monkeypatch.setitem(sys.modules, module, None)
    message = refusal(classes_from_config, "ade20k", HERE, 150)
    assert "a data set's name needs mmsegmentation" in message
    assert "give a list instead" in message
