"""A recipe's own pictures for the report, and which a build takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeexport.config.place import Place
from edgeexport.errors import RecipeError
from edgeexport.recipe.pictures import pictures_from_config

PLACE = Place("r.py").at("pictures")


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert pictures_from_config(["a.png"], PLACE, tmp_path) == (tmp_path / "a.png",)
    assert pictures_from_config([], PLACE, tmp_path) == ()
    assert pictures_from_config(None, PLACE, tmp_path) is None


@pytest.mark.parametrize(
    ("value", "says"), [("a.png", "expected a list"), ([1], "expected a list"), (["b.png"], "no such file")]
)
def test_wrong_pictures_are_errors_of_the_recipe(tmp_path: Path, value: object, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        pictures_from_config(value, PLACE, tmp_path)
    assert caught.value.exit_code == 2


def test_scenes_recipes_show_no_photographs() -> None:
    from edgeexport.recipe import load_recipe

    assert load_recipe("scenes_cts_dtop.py").pictures == ()
    assert load_recipe("tome_deit_ti.py").pictures is None


@pytest.mark.parametrize(
    ("origin", "photo", "own", "names"),
    [
        ("checkpoint", True, None, ["astronaut.jpg", "chelsea.jpg"]),
        ("checkpoint", True, (Path("x.png"),), ["x.png"]),
        ("checkpoint", True, (), []),
        ("random", True, None, []),
        ("checkpoint", False, None, []),
    ],
)
def test_what_a_build_draws(origin: str, photo: bool, own: Any, names: list[str]) -> None:
    from edgeexport.commands.build import _pictures

    recipe = SimpleNamespace(input=SimpleNamespace(is_photo=photo), pictures=own)
    assert [path.name for path in _pictures(recipe, SimpleNamespace(origin=origin))] == names  # type: ignore[arg-type]
