"""What is asked of `edgeexport evaluate`, and the part of it that `edgeexport calibrate` is asked as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexport.evaluation.file_names import Endings

if TYPE_CHECKING:
    from edgeexport.recipe.labels import LabelsSpec

__all__ = ["EvaluationOptions", "ImageRunOptions"]


@dataclass(frozen=True, kw_only=True)
class ImageRunOptions:
    """A model run over a user's images; what it has measured is kept, and the same request goes on from there.

    Attributes:
        split, limit: Of the images; see `edgeexport.evaluation.folder_layout.open_folder`.
        image_suffix, label_suffix: What names of images and annotations end in, such as '_mask.png'; None: as the recipe's data
            set calls them, or as is known.
        reduce_zero_label: Annotations number classes from 1, and 0 is none; None: as the recipe says, which says nothing else.
        checkpoint, cfg_options: See `edgeexport.recipe.load_recipe`.
        out_dir: Where files go; None: a folder named after what is run, in the working directory.
        restart: Begin anew, whatever an earlier run left there.
    """

    split: str | None = None
    limit: int | None = None
    image_suffix: str | None = None
    label_suffix: str | None = None
    reduce_zero_label: bool | None = None
    checkpoint: Path | None = None
    cfg_options: tuple[str, ...] = ()
    out_dir: Path | None = None
    restart: bool = False

    def endings(self, labels: LabelsSpec | None = None) -> Endings:
        """What names end in: as asked for, else as a model's data set says."""
        image, label = (None, None) if labels is None else (labels.image_suffix, labels.label_suffix)
        return Endings(image=image, label=label, asked_image=self.image_suffix, asked_label=self.label_suffix)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(ImageRunOptions):
    """How to measure accuracy.

    Attributes:
        data: The labelled images.
        executions: Of `edgeexport.evaluation.executions.EXECUTIONS`; empty: all in reach, each computation once.
        checkpoint, policy_checkpoint: Weights; of a bundle, the files that it was built from.
        policy_every: Of a bundle whose policy network is a graph of its own: how many images of a sequence each choice is kept
            for; every number above 1 is measured beside the choice for each. Images of one folder are a sequence, by name.
        thresholds: Block -> theta, instead of the recipe's, for the published computation.
    """

    data: Path
    executions: tuple[str, ...] = ()
    policy_checkpoint: Path | None = None
    policy_every: tuple[int, ...] = ()
    thresholds: Mapping[int, float] | None = None
