"""A drawing read back: its rectangles and texts, from the XML."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass


@dataclass(frozen=True)
class Rectangle:
    """``kind``: its classes; ``x`` and ``width`` in percent."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    tip: str


@dataclass(frozen=True)
class Drawing:
    """What was drawn, in order; ``captions`` are the texts written on columns."""

    title: str
    description: str
    height: float
    rectangles: tuple[Rectangle, ...]
    texts: tuple[str, ...]
    captions: tuple[str, ...]

    def of(self, kind: str) -> list[Rectangle]:
        """Rectangles of exactly these classes."""
        return [found for found in self.rectangles if found.kind == kind]


def drawing(svg: str) -> Drawing:
    """Parses an SVG; every length in it is a finite number and nothing leaves the drawing sideways."""
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and root.get("role") == "img"
    names = {element.get("id"): element.text or "" for element in root if element.tag in ("title", "desc")}
    title, description = (names[name] for name in (root.get("aria-labelledby") or "").split())
    rectangles = []
    for element in root.iter():
        for name in ("x", "x1", "x2", "y", "y1", "y2", "width", "height"):
            if name in element.attrib:
                assert math.isfinite(float(element.attrib[name].removesuffix("%"))), element.attrib
        if element.tag == "rect":
            sizes = [float(element.attrib[name].removesuffix("%")) for name in ("x", "y", "width", "height")]
            assert sizes[0] + sizes[2] <= 100.001 and sizes[2] >= 0 and sizes[3] >= 0
            tip = element.find("title")
            rectangles.append(Rectangle(element.get("class") or "", *sizes, "" if tip is None else tip.text or ""))
    texts = [(element.get("class"), element.text or "") for element in root.iter("text")]
    captions = tuple(text for kind, text in texts if kind in ("on", "over"))
    return Drawing(
        title, description, float(root.attrib["height"]), tuple(rectangles), tuple(text for _, text in texts), captions
    )
