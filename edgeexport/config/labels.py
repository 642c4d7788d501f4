"""Class names and colours, for overlays and reports; they change nothing in the graph."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from edgeexport.config.mmsegmentation import mmsegmentation
from edgeexport.config.place import Place
from edgeexport.config.values import integer, sequence, string
from edgeexport.errors import nearest_hint

__all__ = ["classes_from_config", "generated_palette", "palette_from_config"]

IMAGENET = "imagenet"
_GOLDEN_RATIO = 0.618033988749895  # successive hues a golden section apart: neighbours in the list differ most


def classes_from_config(value: object, place: Place, num_classes: int) -> tuple[str, ...]:
    """Class names from a data set's name or a list; None: no names.

    Data sets are those that mmsegmentation knows, such as 'ade20k', and 'imagenet', whose names are timm's.

    Raises:
        RecipeError: An unknown name, or another number of classes than the model's.
    """
    if value is None:
        return ()
    if value == IMAGENET:
        names = _imagenet_names()
    elif isinstance(value, str):
        # mmsegmentation's ADE20K list has names with trailing blanks.
        names = [name.strip() for name in _of_data_set(value, place, "get_classes")]
    else:
        names = [string(name, place.at(position)) for position, name in enumerate(sequence(value, place))]
        if not names:
            return ()
    _check_count(names, value, place, num_classes)
    return tuple(names)


def palette_from_config(
    value: object, place: Place, num_classes: int, classes: object
) -> tuple[tuple[int, int, int], ...]:
    """RGB colours (0..255) from a data set's name or a list of triples.

    None takes the colours of the data set that ``classes`` names, else `generated_palette`.

    Raises:
        RecipeError: An unknown name, another number of colours than classes, or a colour that is none.
    """
    if value is None:
        if not isinstance(classes, str):
            return generated_palette(num_classes)
        value = classes
    if isinstance(value, str):
        colours = [list(colour) for colour in _of_data_set(value, place, "get_palette")]
    else:
        colours = [sequence(colour, place.at(i), 3) for i, colour in enumerate(sequence(value, place))]
    _check_count(colours, value, place, num_classes)
    triples = []
    for position, colour in enumerate(colours):
        at = place.at(position)
        red, green, blue = (integer(level, at.at(i), 0, 255) for i, level in enumerate(colour))
        triples.append((red, green, blue))
    return tuple(triples)


def generated_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """Distinct colours for any number of classes, the same on every call."""
    colours = []
    for index in range(num_classes):
        hue = (index * _GOLDEN_RATIO) % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (index % 2), 0.95 - 0.25 * (index % 3) / 2)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(colours)


def _imagenet_names() -> list[str]:
    """The first of the synonyms that timm lists for each of the 1000 classes."""
    from timm.data import ImageNetInfo  # not at the top: this needs torch

    return [names.split(",")[0] for names in ImageNetInfo("imagenet-1k").label_descriptions()]


def _of_data_set(name: str, place: Place, function: str) -> Sequence:
    """Entries that mmsegmentation lists for a data set."""
    try:
        utils = mmsegmentation("mmseg.utils")
    except ModuleNotFoundError as error:
        raise place.error(name, f"a data set's name needs mmsegmentation ({error})", "give a list instead") from None
    aliases = {alias for names in utils.dataset_aliases.values() for alias in names}
    if name not in aliases:
        known = aliases | {IMAGENET} if function == "get_classes" else aliases
        raise place.error(name, "no data set of this name", f"{nearest_hint(name, known)}, or give a list")
    return getattr(utils, function)(name)


def _check_count(entries: Sequence[object], value: object, place: Place, num_classes: int) -> None:
    if len(entries) != num_classes:
        raise place.error(
            value, f"has {len(entries)} entries, but the model has {num_classes} classes", "make them agree"
        )
