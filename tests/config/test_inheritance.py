from __future__ import annotations

import pytest
from recipe_cases import message_of

from edgeexport.config.inheritance import prune_keys_in_force, recipe_file
from edgeexport.config.lookup import shipped_recipes_folder
from edgeexport.errors import RecipeError


def refusal(path) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_file(path)
    return message_of(caught.value)


def test_the_chain_follows_bases_of_any_depth_and_number(write):
    write("lib/a.py", "x = 1")
    write("lib/b.py", "_base_ = ['a.py']")
    write("c.py", "y = 1")
    file = recipe_file(write("d.py", "_base_ = ['lib/b.py', './c.py']"))
    assert [link.path.name for link in file.chain()] == ["d.py", "b.py", "a.py", "c.py"]


def test_a_syntax_error_names_file_line_and_reason(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(write("x.py", "a = 1\nb = = 2\n")) == (
        "x.py:2 | syntax error: invalid syntax | correct the Python of the recipe"
    )


def test_a_syntax_error_in_a_base_names_the_base(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("base.py", "\n\nmodel = dict(\n")
    assert refusal(write("x.py", "_base_ = 'base.py'")).startswith("base.py:3 | syntax error: '(' was never closed")


@pytest.mark.parametrize("content", [b"a = '\xff'", b"a = 1\0"])
def test_a_file_that_is_no_text_is_refused(content, tmp_path):
    path = tmp_path / "x.py"
    path.write_bytes(content)
    message = refusal(path)
    assert "x.py" in message
    assert "cannot be read" in message or "syntax error" in message


def test_a_missing_base_names_the_line_and_how_to_find_it(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(write("x.py", "\n_base_ = 'lib/nothing.py'"))
    assert message.startswith("x.py:2 | the base 'lib/nothing.py' is missing: no file lib/nothing.py | ")
    assert "`edgeexport recipes` prints the folder" in message


def test_a_shipped_recipe_as_base_is_answered_with_its_path(write):
    assert f"write _base_ = '{shipped_recipes_folder() / 'segvit.py'}'" in refusal(
        write("x.py", "_base_ = 'segvit.py'")
    )


def test_a_recipe_that_inherits_from_itself_is_refused(write):
    write("a.py", "_base_ = 'b.py'")
    assert "a.py:1 | the base 'b.py' inherits from this recipe" in refusal(write("b.py", "_base_ = 'a.py'"))
    assert "inherits from this recipe" in refusal(write("c.py", "_base_ = 'c.py'"))


@pytest.mark.parametrize(
    "line",
    [
        "_base_ = name",
        "_base_ = 3",
        "_base_ = ('a.py',)",
        "_base_ = 'model.json'",
        "_base_ = 'mmseg::a.py'",
        "_base_ = [1]",
    ],
)
def test_a_base_that_is_not_written_out_is_refused(line, write):
    message = refusal(write("x.py", line))
    assert f"found `{line}`" in message
    assert "write _base_ = 'other.py'" in message


def test_the_other_mmengine_syntax_is_refused(write):
    text = "from mmengine.config import read_base\nwith read_base():\n    from .segvit import *\n"
    assert "`with read_base()` is not supported | write _base_ = 'other.py'" in refusal(write("x.py", text))


BASE = "reduction = dict(dtop=dict(prune={6: 1, 8: 2}))"


def keys(write, child: str, base: str = BASE):
    write("base.py", base)
    return prune_keys_in_force(recipe_file(write("child.py", f"_base_ = 'base.py'\n{child}")))


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        ("reduction = dict(dtop=dict(prune={8: 5}))", {8}),
        ("reduction = {'dtop': {'prune': {8: _count, 10: 3}}}", {8, 10}),
        ("reduction = dict(dtop=dict(prune={}))", set()),
        ("reduction = dict(dtop=dict(prune=dict()))", set()),
        ("reduction = dict(dtop=dict(prune={'_delete_': True, 4: 1}))", {"_delete_", 4}),
        ("", {6, 8}),
        ("reduction = dict(cts=dict(num_shared=_shared))", {6, 8}),
        ("reduction = dict(dtop=dict(protect_per_class=3))", {6, 8}),
    ],
)
def test_the_most_derived_file_that_gives_prune_decides(child, expected, write):
    assert keys(write, child) == expected


@pytest.mark.parametrize(
    "child",
    [
        "reduction = _somewhere",
        "reduction = dict(dtop=_dtop)",
        "reduction = dict(dtop=dict(prune=_prune))",
        "reduction = dict(dtop=dict(prune={block: 1 for block in (6, 8)}))",
        "reduction = dict(dtop=dict(prune={_block: 1}))",
        "reduction = dict(**_given)",
        "reduction = dict(dtop=dict(prune={**_more}))",
        "reduction = dict(dtop=dict(prune={8: 1}))\nreduction['dtop']['prune'][9] = 1",
        "if True:\n    reduction = dict(dtop=dict(prune={8: 1}))",
    ],
)
def test_what_syntax_cannot_tell_is_refused_only_where_a_base_gives_prune_too(child, write):
    with pytest.raises(RecipeError) as caught:
        keys(write, child)
    message = message_of(caught.value)
    assert "child.py: reduction | cannot tell its own dtop.prune from the one in " in message
    assert "write it in one statement" in message
    assert keys(write, child, base="x = 1") is None


def test_the_nearest_ancestor_counts(write):
    write("a.py", BASE)
    write("b.py", "_base_ = 'a.py'\nreduction = dict(dtop=dict(prune={4: 1}))")
    assert prune_keys_in_force(recipe_file(write("c.py", "_base_ = 'b.py'\nseed = 1"))) == {4}


def test_nothing_given_keeps_everything(write):
    assert prune_keys_in_force(recipe_file(write("a.py", "seed = 1"))) is None
