"""A model in place of a recipe: a name, ``timm:vit_small_patch14_dinov2``, or a file, ``model.onnx``; options for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeexport.config.options import config_with_options
from edgeexport.config.place import Place
from edgeexport.hosts import FILES, NAMED
from edgeexport.hosts.host import Host

__all__ = ["config_of_name", "family_of_name", "name_of_recipe"]


def family_of_name(subject: str | Path) -> str | None:
    """What stands ahead of the colon where ``subject`` is a model's name, or how a model's file ends; None for recipe files and
    anything else.
    """
    if (ending := Path(subject).suffix) in FILES:
        return ending
    family, colon, _ = str(subject).partition(":")
    return family if colon and family in NAMED else None


def config_of_name(subject: str, cfg_options: Sequence[str] = ()) -> dict[str, object]:
    """The plain data of a recipe for a model with a name, options applied.

    Options about ``model`` come first, so that the input follows, say, ``model.img_size``; then all of them replace what
    stands there.

    Args:
        subject: Such as ``timm:deit_small_patch16_224`` or ``model.onnx``.
        cfg_options: ``key=value`` strings, see `config_with_options`.

    Raises:
        RecipeError: No such model, or an option that leads nowhere.
    """
    family, name = _family_and_name(subject)
    of_model = [option for option in cfg_options if option.partition("=")[0].split(".")[0].strip() == "model"]
    model = config_with_options({"model": {"name": name}}, of_model)["model"]
    assert isinstance(model, dict)
    return config_with_options(family.config_of_name(model, Place(subject).at("model")), cfg_options)


def _family_and_name(subject: str) -> tuple[Host, str]:
    if (ending := Path(subject).suffix) in FILES:
        return FILES[ending], subject
    family, _, name = subject.partition(":")
    return NAMED[family], name


def name_of_recipe(subject: str, config: Mapping[str, object]) -> str:
    """What such a recipe is called, and its bundle's folder after it: the model and its reductions, ``..._tome8``."""
    name = Path(subject).stem if Path(subject).suffix in FILES else subject.partition(":")[2]
    words = [name.replace(".", "_").replace("/", "_")]
    reduction = config.get("reduction")
    for key, value in reduction.items() if isinstance(reduction, Mapping) else ():
        r = value.get("r") if isinstance(value, Mapping) else None
        words.append(f"{key}{r}" if isinstance(r, int) else str(key))
    return "_".join(words)
