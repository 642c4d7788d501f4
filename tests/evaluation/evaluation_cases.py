"""Small labelled folders and recipes of segmenters, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from shared_cases import TINY_RECIPE
from torch import nn

from edgeexport.evaluation.evaluate import evaluate
from edgeexport.evaluation.options import EvaluationOptions
from edgeexport.evaluation.result import Evaluation
from edgeexport.fixed.model import fixed_from_model
from edgeexport.inputs.photos import input_from_photo
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.dtop import PruneEvidence
from edgeexport.reductions.dtop_selection import threshold_for_count

__all__ = [
    "ATM_RECIPE",
    "CTS_RECIPE",
    "NUM_CLASSES",
    "RANDOM_RECIPE",
    "TOME_RECIPE",
    "evaluated",
    "exact_thresholds",
    "label_of",
    "photo_of",
    "write_pairs",
    "written_recipe",
]

NUM_CLASSES = 6  # of the tiny recipe

# No reduction, three stages, scores at image size.
ATM_RECIPE = '''"""A small SegViT with ATMHead, dense."""

model = dict(
    type="EncoderDecoder",
    backbone=dict(type="VisionTransformer", img_size=(64, 64), patch_size=16, embed_dims=32, num_layers=3, num_heads=2,
                  out_indices=(0, 1, 2), norm_cfg=dict(type="LN", eps=1e-6)),
    decode_head=dict(type="ATMHead", in_channels=32, embed_dims=24, num_heads=2, num_classes=6, num_layers=2),
)
input = dict(shape=(1, 3, 64, 64))
output = "scores"
'''

TOME_RECIPE = TINY_RECIPE.replace(
    "reduction = dict(dtop=dict(prune={2: 16, 3: 8}))", "reduction = dict(tome=dict(r=12, dense=True))"
)
CTS_RECIPE = TINY_RECIPE.replace(
    "reduction = dict(dtop=", "reduction = dict(cts=dict(num_shared=4, align_tokens=1), dtop="
)
RANDOM_RECIPE = TINY_RECIPE.replace("reduction = dict(dtop=", "reduction = dict(random=")


def evaluated(argument: str | Path, *, on_progress: Any = None, on_note: Any = None, **options: Any) -> Evaluation:
    """`evaluate` with its options by name."""
    callbacks = {"on_progress": on_progress, "on_note": on_note}
    given = {name: callback for name, callback in callbacks.items() if callback is not None}
    return evaluate(argument, EvaluationOptions(**options), **given)


def exact_thresholds(model: nn.Module, recipe: Recipe, photo: Image.Image) -> dict[int, float]:
    """At which the published computation prunes as many tokens of this photograph as the recipe says."""
    dtop = recipe.reductions["dtop"]
    with torch.no_grad():
        trace = fixed_from_model(model, recipe).trace(torch.from_numpy(input_from_photo(photo, recipe.input)[None]))
    found = {}
    for block, k in dtop.prune:
        seen = trace.evidence[f"pruned_tokens_{block}"]
        assert isinstance(seen, PruneEvidence)
        theta = threshold_for_count(seen.confidence[0], seen.label[0], k, NUM_CLASSES, dtop.protect_per_class)
        assert theta is not None
        found[block] = theta
    return found


def photo_of(seed: int, size: tuple[int, int] = (128, 128)) -> Image.Image:
    """Coarse random blocks: neighbours resemble each other, images differ."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def label_of(seed: int, size: tuple[int, int] = (128, 128), num_classes: int = NUM_CLASSES) -> NDArray[np.uint8]:
    """Random classes in blocks, a tenth of them ignored."""
    generator = np.random.default_rng(1000 + seed)
    cells = generator.integers(0, num_classes, (16, 16), dtype=np.uint8)
    cells[generator.random(cells.shape) < 0.1] = 255
    return np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.NEAREST))


def write_pairs(
    folder: Path,
    count: int,
    *,
    size: tuple[int, int] = (128, 128),
    split: str | None = None,
    num_classes: int = NUM_CLASSES,
) -> Path:
    """``images/`` and ``annotations/`` with samples 00, 01, ...; returns ``folder``."""
    images, annotations = folder / "images", folder / "annotations"
    if split is not None:
        images, annotations = images / split, annotations / split
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    for number in range(count):
        photo_of(number, size).save(images / f"{number:02d}.png")
        Image.fromarray(label_of(number, size, num_classes)).save(annotations / f"{number:02d}.png")
    return folder


def written_recipe(folder: Path, text: str, name: str = "segmenter") -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path
