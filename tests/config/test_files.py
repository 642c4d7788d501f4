from __future__ import annotations

from pathlib import Path

import pytest
from recipe_cases import message_of

from edgeexport.config.files import file_from_config, file_from_option
from edgeexport.config.place import Place
from edgeexport.errors import CheckpointError, RecipeError

HERE = Place("x.py", "checkpoint")


def test_a_file_is_relative_to_the_recipe(write, tmp_path):
    weights = write("weights/w.pth", "")
    assert file_from_config("../weights/w.pth", HERE, tmp_path / "recipes") == weights
    assert file_from_config(str(weights), HERE, tmp_path / "recipes") == weights
    assert file_from_config(None, HERE, tmp_path) is None


def test_a_missing_file_is_a_checkpoint_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        file_from_config("w.pth", HERE, tmp_path)
    message = message_of(caught.value)
    assert message.startswith("x.py: checkpoint = 'w.pth' | no such file: w.pth | ")
    assert "relative to the recipe" in message


def test_a_folder_is_its_weights_or_an_error(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        file_from_config(".", HERE, tmp_path)
    message = message_of(caught.value)
    assert message.startswith("x.py: checkpoint = '.' | is a folder without model.safetensors or pytorch_model.bin | ")
    weights = write("vit/pytorch_model.bin", "")
    assert file_from_config("vit", HERE, tmp_path) == file_from_option(Path("vit")) == weights


def test_a_value_of_another_type_is_a_recipe_error(tmp_path):
    with pytest.raises(RecipeError) as caught:
        file_from_config(3, HERE, tmp_path)
    assert message_of(caught.value) == "x.py: checkpoint = 3 | expected a string, found an int"


def test_the_command_line_is_relative_to_the_current_folder(write, tmp_path, monkeypatch):
    weights = write("w.pth", "")
    monkeypatch.chdir(tmp_path)
    assert file_from_option(Path("w.pth")) == weights
    with pytest.raises(CheckpointError) as caught:
        file_from_option(Path("v.pth"))
    assert message_of(caught.value).startswith("--checkpoint v.pth | no such file")
