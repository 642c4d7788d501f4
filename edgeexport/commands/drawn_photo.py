"""What `edgeexport run` draws of one result: every picture that the bundle has, not yet written. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgeexport.errors import plain_text
from edgeexport.inputs.framing import seen_part, without_padding
from edgeexport.pictures.class_probability import ClassProbability, most_probable
from edgeexport.pictures.feature_colours import draw_features
from edgeexport.pictures.heat_map import draw_heat_map
from edgeexport.pictures.label_map import ClassShare, class_shares, label_image, resized_class_map
from edgeexport.pictures.merged_regions import draw_merged_regions
from edgeexport.pictures.overlay import draw_overlay
from edgeexport.pictures.predictor import PhotoResult, Predictor

__all__ = ["FEATURES", "LABELS", "MAP", "OVERLAY", "PICTURES", "REGIONS", "DrawnPhoto", "drawn_photo", "kinds_of"]

LABELS, OVERLAY, REGIONS, FEATURES, MAP = "labels", "overlay", "regions", "features", "map"
PICTURES = (OVERLAY, MAP, FEATURES, REGIONS, LABELS)
"""The most telling first."""

_NUMBERS = (np.uint8, np.uint16)  # of classes, in as little memory as they need
_MANY = 257


@dataclass(frozen=True)
class DrawnPhoto:
    """Pictures by kind, and the classes: of a segmenter by share, of a classifier by probability."""

    pictures: dict[str, Image.Image]
    classes: tuple[ClassShare, ...] | tuple[ClassProbability, ...]


def kinds_of(predictor: Predictor) -> tuple[str, ...]:
    """Which pictures the bundle has."""
    drawn = {LABELS: predictor.segments, OVERLAY: predictor.segments}
    drawn |= {REGIONS: predictor.merges, FEATURES: predictor.features is not None, MAP: predictor.decodes}
    return tuple(kind for kind, has in drawn.items() if has)


def drawn_photo(predictor: Predictor, name: str, photo: Image.Image, result: PhotoResult) -> DrawnPhoto:
    """Draws one result; ``name`` stands in the pictures' titles."""
    seen = seen_part(photo, predictor.input)
    title, notice = f"{plain_text(name)} | {predictor.title}", predictor.notice
    if predictor.pays is not None and predictor.pays.warns:
        notice = "; ".join(filter(None, (predictor.pays.text, notice)))
    elif predictor.pays is not None:
        title = f"{title} | {predictor.pays.text}"
    pictures: dict[str, Image.Image] = {}
    shares: tuple[ClassShare, ...] = ()
    probable: tuple[ClassProbability, ...] = ()
    if result.class_map is not None:
        own = without_padding(result.class_map, photo.size, predictor.input)
        numbers = own.astype(_NUMBERS[(predictor.num_classes or _MANY) >= _MANY])
        class_map = resized_class_map(numbers, photo.height, photo.width)
        shares = class_shares(class_map, predictor.classes)
        pictures[LABELS] = label_image(class_map, predictor.num_classes, predictor.palette)
        pictures[OVERLAY] = draw_overlay(
            seen,
            result.class_map,
            tokens=result.whole.tokens if result.whole is not None else None,
            slid=[(own.place, own.tokens) for own in result.slid if own.tokens is not None],
            classes=predictor.classes,
            palette=predictor.palette,
            title=title,
            notice=notice,
        )
    if result.logits is not None:
        probable = most_probable(result.logits, predictor.classes)
    merged = [(own.place, own.merges) for own in result.seen if own.merges is not None]
    if merged:
        whole, slid = (merged[0][1], ()) if len(merged) == 1 else (None, tuple(merged))
        pictures[REGIONS] = draw_merged_regions(seen, whole, slid=slid, classes=probable, title=title, notice=notice)
    if result.features is not None:
        pictures[FEATURES] = draw_features(seen, result.features, title=title, notice=notice)
    if result.heat is not None:
        pictures[MAP] = draw_heat_map(seen, result.heat, name=predictor.prediction, title=title, notice=notice)
    return DrawnPhoto(pictures, shares or probable)
