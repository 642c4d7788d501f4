"""Whether annotations number classes from 1: as the command line says, else as the model's data set does."""

from __future__ import annotations

from collections.abc import Callable

from edgeexport.evaluation.options import ImageRunOptions
from edgeexport.recipe.labels import LabelsSpec

__all__ = ["reduced_zero"]


def reduced_zero(options: ImageRunOptions, labels: LabelsSpec, on_note: Callable[[str], None]) -> bool:
    """Of ``options``, else of ``labels``, which is said."""
    if options.reduce_zero_label is not None:
        return options.reduce_zero_label
    if labels.reduce_zero_label:
        on_note(
            "annotations: 0 is no class and classes begin with 1, as the config says; --no-reduce-zero-label overrides"
        )
    return bool(labels.reduce_zero_label)
