"""Accuracy and work of the trained scenes Segmenter with CTS, ALGM and ToMe beside its dense form, ALGM as published too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeexport.bundle import sha256_of
from edgeexport.calibration.interval import drop_interval
from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas
from edgeexport.evaluation.dataset import LabelledImage, labelled_images
from edgeexport.evaluation.executions import FixedExecution
from edgeexport.evaluation.folder_layout import open_folder
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo
from edgeexport.recipe import load_recipe

__all__ = ["DENSE", "ROWS", "measure_segmenters", "segmenters_table"]

DENSE = "scenes_segmenter"
ROWS = {"CTS": "scenes_segmenter_cts", "ALGM": "scenes_segmenter_algm", "ToMe": "scenes_segmenter_tome"}
SCHEMA = "edgeexport.segmenters/1"


def measure_segmenters(
    data: Path, split: str, limit: int | None, on_stage: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """The table as a JSON-ready dict: every form on the same held-out scenes, in torch.

    Args:
        data, split: Labelled scenes, see `examples.scenes.generate`.
        limit: Only the first images; None: all.
        on_stage: Called with each recipe's name as it starts.
    """
    folder = open_folder(data, split=split, limit=limit)
    classes = load_recipe(DENSE).facts.num_classes
    found = labelled_images(folder, classes, on_problem=lambda problem: on_stage(str(problem)))
    images = [(image, image.label) for image in found if image.label is not None]
    dense_areas: list[Areas] = []
    rows: list[dict[str, Any]] = []
    for label, name in {"dense": DENSE, **ROWS}.items():
        on_stage(name)
        recipe = load_recipe(name)
        model, origin = model_from_recipe(recipe)
        work = account(recipe).reduced
        fixed = FixedExecution(model, recipe)
        areas = [areas_of(fixed.run([image.photo])[0].class_map, label_map, classes) for image, label_map in images]
        dense_areas = dense_areas or areas
        left = work.schedule.tokens_out - work.schedule.facts.prefix
        rows.append(
            {"row": label, "form": "fixed", "recipe": name, **_figures(dense_areas, areas), "tokens_left": left}
            | {"gmac": round(work.without_policy / 1e9, 4), "gmac_with_policy": round(work.total / 1e9, 4)}
            | {"checkpoint_sha256": origin.sha256}
        )
        if "algm" in recipe.reductions:
            on_stage(f"{name} as published")
            published = PublishedModel(model, recipe)
            areas, counts = _as_published(published, images, classes)
            rows.append(
                {"row": label, "form": "as published", "recipe": name, **_figures(dense_areas, areas)}
                | {
                    "tokens_left": round(sum(counts) / len(counts), 1),
                    "tokens_least": min(counts),
                    "tokens_most": max(counts),
                }
            )
    return {
        "schema": SCHEMA,
        "provenance": "measured; MACs computed",
        "data": {"split": split, "images": len(images), "sha256": folder.content_sha256()},
        "recipes_sha256": {name: sha256_of(load_recipe(name).path) for name in (DENSE, *ROWS.values())},
        "rows": rows,
    }


def segmenters_table(document: dict[str, Any]) -> list[dict[str, str]]:
    """Rows for people."""
    shown = []
    for row in document["rows"]:
        interval = row["drop_from_dense"]
        change = ""
        if row["row"] != "dense" and interval is not None:
            change = f"{-row['drop']:+.2f} ({-interval['high']:+.2f} to {-interval['low']:+.2f})"
        shown.append(
            {
                "recipe": row["recipe"],
                "form": row["form"],
                "mIoU %": f"{row['miou']:.2f}",
                "against dense": change,
                "tokens left": str(row["tokens_left"]),
                "GMAC": "" if "gmac" not in row else f"{row['gmac']:.3f}",
                "with policy": "" if "gmac" not in row else f"{row['gmac_with_policy']:.3f}",
            }
        )
    return shown


def _figures(dense: Sequence[Areas], areas: Sequence[Areas]) -> dict[str, Any]:
    interval = drop_interval(dense, areas)
    ours, theirs = (scores_from_areas(sum(items[1:], items[0])).miou for items in (areas, dense))
    told = None if interval is None else interval.as_dict()
    return {"miou": round(ours, 4), "drop": round(theirs - ours, 4), "drop_from_dense": told}


def _as_published(
    model: PublishedModel, images: Sequence[tuple[LabelledImage, NDArray[np.int64]]], classes: int
) -> tuple[list[Areas], list[int]]:
    """Areas, and the patch tokens that were left, image by image."""
    prefix = model.schedule.facts.prefix
    areas, counts = [], []
    for image, label in images:
        pixels = torch.from_numpy(input_from_photo(image.photo, model.recipe.input)[None])
        (found,) = model.run([pixels])
        areas.append(areas_of(found.outputs["class_map"].numpy(), label, classes))
        counts.append(found.outputs["size"].shape[0] - prefix)
    return areas, counts
