from __future__ import annotations

import ast
from pathlib import Path

import pytest
from recipe_cases import message_of

from edgeexport.config import lookup
from edgeexport.config.lookup import docstring_line, recipe_path, shipped_recipes, shipped_recipes_folder
from edgeexport.errors import RecipeError


def test_a_path_wins_over_a_shipped_name(write, tmp_path, monkeypatch):
    own = write("segvit.py", "")
    monkeypatch.chdir(tmp_path)
    assert recipe_path("segvit.py") == own
    assert recipe_path("segvit") == own


@pytest.mark.parametrize("name", ["segvit_cts_dtop.py", "segvit_cts_dtop", Path("segvit_cts_dtop.py")])
def test_a_shipped_name_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe_path(name) == shipped_recipes_folder() / "segvit_cts_dtop.py"


def test_a_folder_of_that_name_does_not_hide_the_shipped_recipe(tmp_path, monkeypatch):
    (tmp_path / "segvit").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipe_path("segvit") == shipped_recipes_folder() / "segvit.py"


def test_paths_become_absolute_without_dots(write, tmp_path, monkeypatch):
    own = write("a/x.py", "")
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert recipe_path("../a/x.py") == own


@pytest.mark.parametrize("name", ["segvit_cst.py", "segvit_cst", "elsewhere/segvit_cst.py"])
def test_an_unknown_name_is_refused_with_the_nearest(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        recipe_path(name)
    message = message_of(caught.value)
    assert message.startswith(f"{name} | no such recipe")
    assert "did you mean 'segvit_cts.py'?" in message
    assert "edgeexport recipes" in message


@pytest.mark.parametrize("name", ["model.onx", "quite_another_thing", "weights.pth"])
def test_nothing_is_meant_that_is_not_near_or_of_another_kind(name):
    with pytest.raises(RecipeError) as caught:
        recipe_path(name)
    message = message_of(caught.value)
    assert "did you mean" not in message and "known:" not in message and "`edgeexport recipes` lists" in message


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_a_name_that_names_no_file_is_refused(name):
    with pytest.raises(RecipeError, match="no such recipe"):
        recipe_path(name)


def test_another_kind_of_file_is_refused(write):
    with pytest.raises(RecipeError) as caught:
        recipe_path(write("model.json", "{}"))
    assert "a recipe is a Python file (.py), found '.json'" in message_of(caught.value)


def test_shipped_recipes_lie_inside_an_installed_package_or_beside_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "site" / "edgeexport"
    (tmp_path / "site" / "recipes").mkdir(parents=True)
    monkeypatch.setattr(lookup, "_PACKAGE", package)
    assert shipped_recipes_folder() == tmp_path / "site" / "recipes"
    (package / "recipes").mkdir(parents=True)
    assert shipped_recipes_folder() == package / "recipes"


def test_an_installation_without_recipes_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "_PACKAGE", tmp_path / "edgeexport")
    with pytest.raises(RecipeError, match="the shipped recipes are missing"):
        shipped_recipes_folder()


def test_descriptions_are_read_without_executing(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "b.py").write_text('"""First line.\n\nMore."""\nraise SystemExit\n')
    (tmp_path / "recipes" / "a.py").write_text("raise SystemExit\n")
    monkeypatch.setattr(lookup, "_PACKAGE", tmp_path)
    assert shipped_recipes() == [("a.py", ""), ("b.py", "First line.")]


def test_docstring_line():
    assert docstring_line(ast.parse('"""\n  One.\n  Two.\n"""')) == "One."
    assert docstring_line(ast.parse("x = 1")) == ""
    assert docstring_line(ast.parse('""" """')) == ""
