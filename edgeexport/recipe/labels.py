"""A recipe's ``labels``: how annotations of the model's data set are numbered, and how its files are called."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, mapping, string

__all__ = ["UNLABELLED", "LabelsSpec", "labels_from_config", "resolved_labels"]


@dataclass(frozen=True)
class LabelsSpec:
    """Of the data set that a model was trained on; None where nothing is said.

    Attributes:
        reduce_zero_label: 0 means "no class" in annotations, and classes begin with 1.
        image_suffix, label_suffix: Ends of file names, such as '_leftImg8bit.png' and '_gtFine_labelTrainIds.png'.
    """

    reduce_zero_label: bool | None = None
    image_suffix: str | None = None
    label_suffix: str | None = None


UNLABELLED = LabelsSpec()
"""Nothing is said."""


def labels_from_config(value: object, place: Place) -> LabelsSpec:
    """Validates ``labels``.

    Raises:
        RecipeError: An unknown key, or a value of another type.
    """
    config = mapping({} if value is None else value, place, ("image_suffix", "label_suffix", "reduce_zero_label"))
    reduced = config.get("reduce_zero_label")
    suffixes = {
        key: None if config.get(key) is None else string(config[key], place.at(key))
        for key in ("image_suffix", "label_suffix")
    }
    return LabelsSpec(None if reduced is None else boolean(reduced, place.at("reduce_zero_label")), **suffixes)


def resolved_labels(labels: LabelsSpec) -> dict[str, object]:
    """What is said, as a recipe writes it."""
    return {key: value for key, value in asdict(labels).items() if value is not None}
