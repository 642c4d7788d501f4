from __future__ import annotations

import pytest
from recipe_cases import TINY_ATM

REDUCED = {("reduction",): {"cts": {"num_shared": 5}, "dtop": {"prune": {2: 0, 3: 4}}}}


def test_extra_outputs_keep_their_order(validated):
    names = (
        "pruned_tokens_3",
        "uncertified_pixels",
        "shared_windows",
        "protected_pruned_3",
        "smallest_pruned_confidence_3",
    )
    assert validated({**REDUCED, ("extra_outputs",): list(names)}).extra_outputs == names
    assert validated().extra_outputs == ()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "shared_windows"),
        ({("reduction",): {"cts": {"num_shared": 0}}}, "shared_windows"),
        (REDUCED, "pruned_tokens_2"),
        (REDUCED, "pruned_tokens"),
        ({("output",): "scores"}, "uncertified_pixels"),
        ({("tail",): {"form": "plain"}}, "uncertified_pixels"),
    ],
)
def test_outputs_that_the_recipe_does_not_compute_are_refused(changes, name, refused):
    message = refused({**changes, ("extra_outputs",): (name,)})
    assert f"x.py: extra_outputs[0] = '{name}' | this recipe computes no such output | " in message


def test_the_refusal_names_the_nearest_output(refused):
    message = refused({**REDUCED, ("extra_outputs",): ("shared_window",)})
    assert "did you mean 'shared_windows'?" in message
    message = refused({("extra_outputs",): ("shared_windows",)}, TINY_ATM)
    assert "this recipe has none: write extra_outputs=()" in message


def test_extra_outputs_are_named_once_and_in_a_list(refused):
    twice = {("extra_outputs",): ("uncertified_pixels", "uncertified_pixels")}
    assert "x.py: extra_outputs[1] = 'uncertified_pixels' | is given twice" in refused(twice)
    assert "expected a list, found a str" in refused({("extra_outputs",): "uncertified_pixels"})
    assert "x.py: extra_outputs[0] = 3 | expected a string, found an int" in refused({("extra_outputs",): (3,)})
