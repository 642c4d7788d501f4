from __future__ import annotations

import sys

import pytest
from recipe_cases import message_of

from edgeexport.config.inheritance import recipe_file
from edgeexport.config.reading import config_from_file
from edgeexport.errors import RecipeError


def read(path):
    return config_from_file(recipe_file(path), ("model", "reduction", "seed"))


def refusal(path) -> str:
    with pytest.raises(RecipeError) as caught:
        read(path)
    return message_of(caught.value)


def test_values_are_plain_and_block_numbers_stay_integers(write):
    config = read(write("x.py", "reduction = dict(dtop=dict(prune={6: 1, 8: 2}))\ninput = dict(shape=(1, 3, 32, 32))"))
    assert config == {"reduction": {"dtop": {"prune": {6: 1, 8: 2}}}, "input": {"shape": (1, 3, 32, 32)}}
    assert type(config["reduction"]) is dict
    assert type(config["reduction"]["dtop"]["prune"]) is dict
    assert [type(block) for block in config["reduction"]["dtop"]["prune"]] == [int, int]


def test_dicts_merge_except_prune(write):
    write("base.py", "reduction = dict(cts=dict(num_shared=3), dtop=dict(prune={6: 1, 8: 2}, protect_per_class=4))")
    config = read(write("x.py", "_base_ = 'base.py'\nreduction = dict(dtop=dict(prune={8: 7}))"))
    assert config["reduction"] == {"cts": {"num_shared": 3}, "dtop": {"prune": {8: 7}, "protect_per_class": 4}}


def test_prune_is_replaced_at_every_level(write):
    write("a.py", "reduction = dict(dtop=dict(prune={4: 1, 6: 1, 8: 2}))")
    write("b.py", "_base_ = 'a.py'\nreduction = dict(dtop=dict(prune={6: 5}))")
    assert read(write("c.py", "_base_ = 'b.py'"))["reduction"]["dtop"]["prune"] == {6: 5}
    child = write("d.py", "_base_ = 'b.py'\n_k = 9\nreduction = dict(dtop=dict(prune={8: _k}))")
    assert read(child)["reduction"]["dtop"]["prune"] == {8: 9}
    assert read(write("e.py", "_base_ = 'b.py'\nreduction = dict(dtop=dict(prune={}))"))["reduction"] == {
        "dtop": {"prune": {}}
    }


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        ("reduction = dict(_delete_=True)", {}),
        ("reduction = dict(_delete_=True, cts=dict(num_shared=1))", {"cts": {"num_shared": 1}}),
        ("reduction = dict(dtop=dict(_delete_=True, prune={8: 3}))", {"dtop": {"prune": {8: 3}}}),
        (
            "reduction = dict(dtop=dict(prune={'_delete_': True, 8: 3}))",
            {"dtop": {"prune": {8: 3}, "protect_per_class": 4}},
        ),
        ("reduction = dict(dtop=None)", {"dtop": None}),
    ],
)
def test_delete_works_as_in_mmengine(child, expected, write):
    write("base.py", "reduction = dict(dtop=dict(prune={6: 1, 8: 2}, protect_per_class=4))")
    assert read(write("x.py", f"_base_ = 'base.py'\n{child}"))["reduction"] == expected


def test_delete_with_nothing_to_delete_leaves_no_trace(write):
    assert read(write("x.py", "model = dict(_delete_=True, heads=[dict(_delete_=True, a=1)])")) == {
        "model": {"heads": [{"a": 1}]}
    }


def test_helpers_imports_and_functions_are_not_part_of_the_recipe(write):
    text = (
        "from __future__ import annotations\nimport os.path\nfrom math import sqrt as root\nfrom pathlib import Path\n"
        "_width = 48\ndef _head(): return 3\ndef helper(): return 2\nclass Thing: pass\n"
        "seed = int(root(16))\n"
    )
    assert read(write("x.py", text)) == {"seed": 4}


def test_an_imported_recipe_key_stays(write):
    assert read(write("x.py", "from math import tau as seed")) == {"seed": 6.283185307179586}


def test_importing_an_installed_package_does_not_change_the_syntax(write):
    assert read(write("x.py", "import numpy as np\nseed = int(np.int64(3))")) == {"seed": 3}


def test_an_exception_inside_names_file_line_and_reason(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        refusal(write("x.py", "a = 1\nb = a / 0\n"))
        == "x.py:2 | ZeroDivisionError: division by zero | correct the recipe"
    )


def test_an_exception_in_a_base_names_the_innermost_line(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("lib/base.py", "def _f():\n    return missing\n\nmodel = _f()\n")
    assert refusal(write("x.py", "_base_ = 'lib/base.py'")).startswith(
        "lib/base.py:2 | NameError: name 'missing' is not defined"
    )


def test_leaving_the_interpreter_is_an_error_of_the_recipe(write):
    assert "x.py:1 | SystemExit: 3" in refusal(write("x.py", "raise SystemExit(3)"))


def test_dicts_that_cannot_merge_say_why(write):
    write("base.py", "reduction = dict(dtop=None)")
    message = refusal(write("x.py", "_base_ = 'base.py'\nreduction = dict(dtop=dict(prune={8: 1}))"))
    assert "x.py | TypeError: " in message
    assert "_delete_=True" in message


def test_the_same_key_in_two_bases_says_so(write):
    write("a.py", "seed = 1")
    write("b.py", "seed = 2")
    assert "KeyError: Duplicate key is not allowed among bases" in refusal(write("x.py", "_base_ = ['a.py', 'b.py']"))


def test_without_mmengine_the_message_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmengine.config", None)
    assert "reading a recipe needs mmengine" in refusal(write("x.py", "seed = 1"))
