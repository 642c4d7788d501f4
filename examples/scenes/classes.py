"""The classes of the procedural scenes and the colours that pictures of labels use."""

from __future__ import annotations

__all__ = ["CLASSES", "PALETTE", "class_index"]

CLASSES: tuple[str, ...] = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "grass",
    "tree",
    "hill",
    "sky",
    "person",
    "car",
    "bus",
    "truck",
    "sign",
)
"""Class names; a label holds the position in this tuple."""

PALETTE: tuple[tuple[int, int, int], ...] = (
    (112, 64, 128),
    (232, 88, 208),
    (96, 96, 104),
    (168, 152, 120),
    (152, 240, 120),
    (40, 112, 48),
    (160, 104, 40),
    (96, 168, 232),
    (216, 24, 56),
    (16, 32, 168),
    (0, 152, 152),
    (240, 144, 16),
    (248, 232, 16),
)
"""One RGB colour (0-255) per class, in the order of CLASSES."""


def class_index(name: str) -> int:
    """Position of class ``name`` in CLASSES. Raises: ValueError for a name that is no class."""
    return CLASSES.index(name)
