"""Data sets as mmsegmentation's classes describe them: names, colours, and how files are called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.config.mmsegmentation import mmsegmentation

__all__ = ["DataSetFacts", "facts_of_data_set"]


@dataclass(frozen=True)
class DataSetFacts:
    """What is known of a data set; empty or None where nothing is.

    Attributes:
        name: Of its class.
        known: Whether mmsegmentation has a class of this name.
        classes: Names by number.
        palette: RGB colours by number, 0..255.
        reduce_zero_label: Whether 0 is "no class" in annotations.
        image_suffix, label_suffix: Ends of file names, such as '_gtFine_labelTrainIds.png'.
    """

    name: str
    known: bool
    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    reduce_zero_label: bool | None
    image_suffix: str | None
    label_suffix: str | None


def facts_of_data_set(given: Mapping[str, Any]) -> DataSetFacts:
    """Of a config's data set: what it states itself (``metainfo``, ``img_suffix``, ...), else what its class states.

    Args:
        given: ``dict(type='CityscapesDataset', ...)``; empty for none.
    """
    name = str(given.get("type", "")).rpartition(".")[2]
    own = _class_of(name) if name else None
    defaults = _defaults(own)
    meta: Mapping[str, Any] = getattr(own, "METAINFO", {})
    stated = given.get("metainfo")
    if isinstance(stated, Mapping):
        meta = {**meta, **stated} if "palette" in stated or "classes" not in stated else dict(stated)
    elif given.get("classes") is not None:  # 0.x
        meta = {key: given[key] for key in ("classes", "palette") if given.get(key) is not None}

    def said(key: str, kind: type) -> Any:
        value = given.get(key, defaults.get(key))
        return value if isinstance(value, kind) else None

    return DataSetFacts(
        name=name,
        known=own is not None,
        classes=tuple(text.strip() for text in _entries(meta.get("classes")) if isinstance(text, str)),
        palette=tuple(tuple(colour) for colour in _entries(meta.get("palette")) if isinstance(colour, (list, tuple))),
        reduce_zero_label=said("reduce_zero_label", bool),
        image_suffix=said("img_suffix", str),
        label_suffix=said("seg_map_suffix", str),
    )


def _class_of(name: str) -> Any:
    try:
        datasets = mmsegmentation("mmseg.datasets")
    except ImportError:
        return None
    found = getattr(datasets, name, None)
    return found if inspect.isclass(found) and hasattr(found, "METAINFO") else None


def _defaults(own: Any) -> dict[str, Any]:
    """Defaults of a class's arguments, those of the classes that it is derived from beneath."""
    found: dict[str, Any] = {}
    for kind in reversed(inspect.getmro(own)) if own is not None else ():
        if "__init__" in vars(kind) and kind is not object:
            parameters = inspect.signature(kind).parameters.items()
            found |= {key: one.default for key, one in parameters if one.default is not inspect.Parameter.empty}
    return found


def _entries(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
