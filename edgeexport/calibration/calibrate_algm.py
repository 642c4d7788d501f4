"""`edgeexport calibrate` on a recipe with ALGM: constant counts from what its published thresholds merge on images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError
from edgeexport.evaluation.folder_layout import has_image_folder, open_folder
from edgeexport.evaluation.photo_folder import open_photos
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.batches import image_batches
from edgeexport.recipe import load_recipe
from edgeexport.recipe.labels import LabelsSpec
from edgeexport.recipe.schema import Recipe

__all__ = ["SCHEMA", "AlgmCalibration", "calibrate_algm", "published_counts", "reached"]

SCHEMA = "edgeexport.algm_calibration/1"
_COVERAGE = 0.5
_MISPLACED = ("max_miou_drop", "macs", "latency_ms", "latency_table", "reduce_zero_label", "restart")


@dataclass(frozen=True)
class AlgmCalibration:
    """What the published form merged on every image, or where windows slide in every window, and the counts that follow.

    Attributes:
        recipe: By name.
        weights: Where they are from, for people.
        threshold: Of the local step.
        coverage: Share of images, or of their windows, on which the published form merges at least the proposed counts.
        windows, r: Proposed.
        per_image: (windows of 2x2 patches, tokens) that the published form merged, image by image, or window by window.
        slid: Sliding windows over an image; 1 where it is seen whole.
        macs, dense_macs: Multiply-accumulates per image with the proposed counts, and of the dense model.
    """

    recipe: str
    weights: str
    threshold: float
    coverage: float
    windows: int
    r: int
    per_image: tuple[tuple[int, int], ...]
    macs: int
    dense_macs: int
    slid: int = 1

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        fields = {name: value for name, value in vars(self).items() if name != "per_image"}
        return {
            "schema": SCHEMA,
            "provenance": "measured",
            **fields,
            "per_image": [list(pair) for pair in self.per_image],
        }


def calibrate_algm(
    recipe: str | Path, options: CalibrationOptions, on_stage: Callable[[str], None] = lambda name: None
) -> AlgmCalibration:
    """Runs the published form on images and proposes the counts that ``coverage`` of them reach (by default half).

    Args:
        recipe: Path or name of a recipe with ``reduction.algm``; its counts do not matter.
        options: ``data``, ``split`` and ``limit`` choose images, without labels; ``threshold`` stands in for the recipe's.
        on_stage: Called with each stage's name as it starts.

    Raises:
        UsageError: An option is for other calibrations, the coverage is no share, or there is no image.
        RecipeError, CheckpointError, ImageError: See there.
    """
    if misplaced := options.given(*_MISPLACED):
        raise UsageError(
            misplaced[0], "is not for reduction.algm", f"leave it out, or give --coverage (now {_COVERAGE})"
        )
    coverage = _COVERAGE if options.coverage is None else options.coverage
    if not 0 < coverage <= 1:
        raise UsageError(f"--coverage {coverage}", "expected a share of images above 0 and at most 1", "such as 0.5")
    if options.data is None:
        raise UsageError("--data", "is missing", "give a folder of images, or one with images/ and annotations/")
    on_stage("read recipe")
    loaded = load_recipe(recipe, options.cfg_options, options.checkpoint)
    spec = loaded.reductions["algm"]
    if options.threshold is not None:
        spec = replace(spec, threshold=options.threshold)
    adaptive = replace(
        loaded,
        input=replace(loaded.input, batch=1),
        reductions={"algm": replace(spec, windows=max(spec.windows, 1), r=max(spec.r, 1))},
    )
    paths = _images(options, options.data, loaded.labels)
    on_stage("load weights")
    model, origin = model_from_recipe(adaptive)
    on_stage(f"published form on {len(paths)} images")
    counts = published_counts(PublishedModel(model, adaptive), adaptive, paths)
    windows, r = (reached([pair[step] for pair in counts], coverage) for step in (0, 1))
    proposed = replace(loaded, reductions={"algm": replace(spec, windows=windows, r=r)})
    work = account(proposed)
    return AlgmCalibration(
        loaded.name,
        origin.statement,
        spec.threshold,
        coverage,
        windows,
        r,
        counts,
        work.reduced.total,
        work.dense.total,
        loaded.facts.windows,
    )


def published_counts(model: PublishedModel, recipe: Recipe, paths: Sequence[Path]) -> tuple[tuple[int, int], ...]:
    """(windows of 2x2 patches, tokens) that the published form merges at its own thresholds, image by image; where windows
    slide over them, window by window.
    """
    local, later = recipe.reductions["algm"].blocks
    counts = []
    for batch in islice(image_batches(recipe.input, paths), len(paths)):
        (image,) = model.run([torch.from_numpy(batch.pixels)], upsample=False)
        for seen in image.seen:
            merged = (seen.outputs[name].numel() for name in (f"merged_windows_{local}", f"merge_source_{later}"))
            first, second = merged
            counts.append((first, second))
    return tuple(counts)


def reached(counts: Sequence[int], coverage: float) -> int:
    """The largest count that at least ``coverage`` of ``counts`` reach."""
    falling = sorted(counts, reverse=True)
    return falling[int(np.ceil(coverage * len(falling))) - 1]


def _images(options: CalibrationOptions, data: Path, labels: LabelsSpec) -> list[Path]:
    """Of a data set's layout, whose annotations do not matter, or of a bare folder."""
    if has_image_folder(data):
        endings = options.endings(labels)
        folder = open_folder(data, split=options.split, limit=options.limit, labels="optional", endings=endings)
        return [sample.image for sample in folder.samples]
    photos = open_photos(data if options.split is None else data / options.split).photos
    return [photo.path for photo in photos[: options.limit]]
