"""Files that a recipe names: relative to the recipe, and present."""

from __future__ import annotations

from pathlib import Path

from edgeexport.config.paths import absolute_path, shown_path
from edgeexport.config.place import Place
from edgeexport.config.values import string
from edgeexport.errors import CheckpointError

__all__ = ["file_from_config", "file_from_option", "weights_file"]

_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")  # as Hugging Face transformers saves a model


def weights_file(path: Path, where: str) -> Path:
    """The file itself; of a folder of Hugging Face transformers, its weights. ``where`` is named in messages.

    Raises:
        CheckpointError: A folder that holds none, or holds them in several files.
    """
    if not path.is_dir():
        return path
    for name in _IN_FOLDERS:
        if (path / name).is_file():
            return path / name
    parts = sorted(part.name for part in path.glob("*.index.json"))
    if parts:
        remedy = "save it as one: model.save_pretrained(folder, max_shard_size='1TB')"
        raise CheckpointError(where, f"its weights are in several files ({parts[0]})", remedy)
    problem = f"is a folder without {' or '.join(_IN_FOLDERS)}"
    raise CheckpointError(where, problem, "give a .pth or .safetensors file, or a folder with one of these")


def file_from_config(value: object, place: Place, folder: Path) -> Path | None:
    """The absolute path of a file named relative to ``folder``, the folder of the recipe that is loaded; None stays.

    Raises:
        RecipeError: The value is no string.
        CheckpointError: There is no such file.
    """
    if value is None:
        return None
    path = weights_file(absolute_path(folder / string(value, place)), f"{place} = {value!r}")
    if not path.is_file():
        raise CheckpointError(
            f"{place} = {value!r}",
            f"no such file: {shown_path(path)}",
            "give a path relative to the recipe, or None for seeded weights",
        )
    return path


def file_from_option(value: Path) -> Path:
    """The absolute path of a file named on the command line, relative to the current folder.

    Raises:
        CheckpointError: There is no such file.
    """
    path = weights_file(absolute_path(value), f"--checkpoint {value}")
    if not path.is_file():
        raise CheckpointError(f"--checkpoint {value}", "no such file", "give a path relative to the current folder")
    return path
