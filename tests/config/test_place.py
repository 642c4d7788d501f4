from __future__ import annotations

from edgeexport.config.place import Place, shown_value
from edgeexport.errors import RecipeError


def test_key_paths_read_as_python_writes_them():
    place = Place("recipes/x.py").at("reduction").at("dtop").at("prune").at(8)
    assert str(place) == "recipes/x.py: reduction.dtop.prune[8]"
    assert str(Place("x.py").at("heads").at(0).at("in_index")) == "x.py: heads[0].in_index"
    assert str(Place("x.py")) == "x.py"


def test_errors_carry_place_value_problem_and_remedy():
    error = Place("x.py", "reduction.dtop.prune").at(8).error(700, "exceeds the 640 tokens", "use less")
    assert isinstance(error, RecipeError)
    assert str(error) == "x.py: reduction.dtop.prune[8] = 700 | exceeds the 640 tokens | use less"
    assert str(Place("x.py").missing("model", "model=dict(...)")) == (
        "x.py | required key 'model' is missing | add model=dict(...)"
    )


def test_shown_values_fit_a_line():
    assert shown_value("a") == "'a'"
    assert len(shown_value(list(range(1000)))) == 80
