"""The recipe that a calibration writes: merged by mmengine, it says what was loaded, with other constants."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from shared_cases import TINY_RECIPE, CommandResult

from edgeexport.calibration.recipe_text import changes_for_child, python_text, recipe_text, relative_path
from edgeexport.config.reading import strip_delete_marks
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts import CtsSpec

_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["a", "b c", "it's"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", "type", "class"]), inner, max_size=3)
        | st.dictionaries(st.integers(0, 3), inner, max_size=2)
    ),
    max_leaves=12,
)
_configs = st.dictionaries(st.sampled_from(["model", "input", "seed"]), _plain, max_size=3)


def _written(recipe: Path, folder: Path, options: list[str], reduction: dict[str, object], **given: Path) -> Recipe:
    loaded = load_recipe(recipe, options, given.get("checkpoint"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "child.py"
    path.write_text(recipe_text(loaded, reduction, folder, "A child.", options))
    return load_recipe(path)


@given(_configs, _configs)
def test_mmengine_merges_the_changes_into_what_was_wanted(base: dict, wanted: dict) -> None:
    changed = {**base, **wanted}
    merged = Config._merge_a_into_b(changes_for_child(base, changed), base)
    assert repr(strip_delete_marks(_sorted(merged))) == repr(_sorted(changed))


@given(_plain)
def test_text_is_the_value(value: object) -> None:
    text = python_text(value)
    assert repr(eval(text, {"dict": dict})) == repr(value)
    assert repr(eval(python_text(value, 104), {"dict": dict})) == repr(value), "broken into lines"


def test_only_what_differs_is_said() -> None:
    base = {"model": {"backbone": {"depth": 4, "norm": {"type": "LN", "eps": 1e-6}}, "heads": [{"a": 1}, {"a": 2}]}}
    changed = {"model": {"backbone": {"depth": 4, "norm": {"type": "BN"}}, "heads": [{"a": 1}, {"a": 3}]}}
    said = {"model": {"backbone": {"norm": {"_delete_": True, "type": "BN"}}, "heads": [{"a": 1}, {"a": 3}]}}
    assert changes_for_child(base, changed) == said
    assert changes_for_child(base, base) == {}
    assert changes_for_child({"a": 1, "b": 1}, {"a": True, "b": 1}) == {"a": True}, "1 is not True in a recipe"


def test_long_values_are_broken_into_readable_lines() -> None:
    value = {"type": "EncoderDecoder", "heads": [{"type": "PruneHead", "channels": n, "thresh": 0.9} for n in range(4)]}
    text = python_text(value)
    assert max(map(len, text.splitlines())) <= 110
    assert '\n    heads=[\n        dict(type="PruneHead", channels=0, thresh=0.9),\n' in text


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["model.backbone.num_heads=4", "input.preprocess.std=[60.0, 60.0, 60.0]", "seed=7"],
        ["model.auxiliary_head.1.thresh=0.35"],  # through a list
        ["model.auxiliary_head.0={'type': 'PruneHead', 'img_size': 128, 'in_channels': 32, 'channels': 16, 'num_heads': 2, "
         "'num_classes': 6, 'layers_per_decoder': 1, 'in_index': 0}"],
        ["input.preprocess=None", "tail.form=plain", "output=scores"],
        ["model.backbone.norm_cfg={'type': 'LN', 'eps': 1e-5}"],
    ],
)  # fmt: skip
def test_nothing_that_the_command_line_changed_is_lost(tmp_path: Path, options: list[str]) -> None:
    recipe = tmp_path / "recipes" / "tiny.py"
    recipe.parent.mkdir()
    recipe.write_text(TINY_RECIPE)
    wanted = load_recipe(recipe, [*options, "reduction.dtop.prune={3: 24}"])
    found = _written(recipe, tmp_path / "out" / "deep", options, {"dtop": {"prune": {3: 24}}})
    for name in ("model", "input", "reductions", "output", "tail", "seed", "extra_outputs", "checkpoint"):
        assert getattr(found, name) == getattr(wanted, name), name
    assert found.text == wanted.text


def test_the_bases_reduction_is_replaced_not_merged(tmp_path: Path, tiny_recipe: Path) -> None:
    found = _written(tiny_recipe, tmp_path / "out", [], {"cts": {"num_shared": 2, "align_tokens": 1}})
    assert found.reductions == {"cts": CtsSpec(2, 1, None)}
    assert _written(tiny_recipe, tmp_path / "out", [], {}).reductions == {}


def test_files_are_found_from_the_new_folder(tmp_path: Path, tiny_recipe: Path) -> None:
    weights, other = tmp_path / "w.pth", tmp_path / "other.pth"
    weights.touch()
    other.touch()
    given_in_recipe = tmp_path / "with.py"
    given_in_recipe.write_text(TINY_RECIPE.replace("checkpoint = None", "checkpoint = 'w.pth'"))
    reduction: dict[str, object] = {"dtop": {"prune": {3: 8}}}
    folder = tmp_path / "a" / "b"
    assert _written(given_in_recipe, folder, [], reduction).checkpoint == weights
    assert _written(given_in_recipe, folder, [], reduction, checkpoint=other).checkpoint == other
    assert _written(given_in_recipe, folder, ["checkpoint=None"], reduction).checkpoint is None
    assert _written(tiny_recipe, folder, [], reduction, checkpoint=other).checkpoint == other
    assert _written(tiny_recipe, folder, [], reduction).checkpoint is None


def test_outputs_of_a_stage_that_is_gone_are_left_out(tmp_path: Path, tiny_recipe: Path) -> None:
    options = ["extra_outputs=['pruned_tokens_2', 'uncertified_pixels']"]
    loaded = replace(load_recipe(tiny_recipe, options), extra_outputs=("uncertified_pixels",))
    path = tmp_path / "child.py"
    path.write_text(recipe_text(loaded, {"dtop": {"prune": {3: 8}}}, tmp_path, "A child.", options))
    assert load_recipe(path).extra_outputs == ("uncertified_pixels",)


def test_a_description_cannot_break_the_file(tmp_path: Path, tiny_recipe: Path) -> None:
    text = recipe_text(load_recipe(tiny_recipe), {}, tmp_path, 'A "quoted"\\ name\n\nwith """more""".')
    found = ast.get_docstring(ast.parse(text))
    assert found == "A 'quoted'\\ name\n\nwith '''more'''."


def test_paths_with_blanks_and_quotes(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    recipe = folder / "tiny.py"
    recipe.write_text(TINY_RECIPE)
    assert relative_path(recipe, tmp_path / "out") == "../it's a folder/tiny.py"
    assert _written(recipe, tmp_path / "out", [], {}).model == load_recipe(recipe).model


def test_delay_keeps_options_on_the_model(tmp_path: Path, edgeexport: Callable[..., CommandResult]) -> None:
    recipe = tmp_path / "host.py"
    recipe.write_text(
        '"""A tiny host."""\n'
        'model = dict(type="timm", img_size=64, patch_size=8, embed_dim=24, depth=4, num_heads=2, num_classes=5)\n'
        "input = dict(shape=(1, 3, 64, 64))\nreduction = dict(dsm=dict(r=4))\n"
    )
    options = ["model.num_classes=7", "model.depth=5"]
    changed = ["--cfg-options", options[0], "--cfg-options", options[1]]
    done = edgeexport("calibrate", recipe, "--delay", "--out-dir", tmp_path / "out", *changed)
    assert done.code == 0, done.err
    written = load_recipe(tmp_path / "out" / "host_delay.py")
    assert written.model == load_recipe(recipe, options).model


def _sorted(value: object) -> object:
    """Dicts with their keys in one order, for merging keeps the base's."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=repr)}
    if isinstance(value, (list, tuple)):
        return type(value)(_sorted(entry) for entry in value)
    return value
