"""A drawn legend travels in its picture's file as text, and report.html shows it as text."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edgeexport.documents.legend import LEGEND
from edgeexport.documents.reading import parsed
from edgeexport.errors import BundleError
from edgeexport.pictures.canvas import LEGEND_KEY, display_size, png_of
from edgeexport.pictures.heat_map import draw_heat_map
from edgeexport.pictures.overlay import draw_overlay
from edgeexport.report.pictures import pictures_from_files

PHOTO = Image.new("RGB", (64, 48), (30, 90, 200))


def test_overlay_carries_its_legend_and_the_page_shows_the_picture_alone() -> None:
    drawn = draw_overlay(PHOTO, np.array([[0, 1]]), classes=("sky", "road"), palette=((1, 2, 3), (4, 5, 6)), title="t")
    (found,) = pictures_from_files({"x": png_of(drawn)}, Path("b"))
    assert found.legend is not None
    (column,) = found.legend["columns"]
    assert column["heading"] == "Classes"
    assert [(entry["text"], entry["value"], entry["fill"]) for entry in column["entries"]] == [
        ("sky", "50.0 %", [1, 2, 3]),
        ("road", "50.0 %", [4, 5, 6]),
    ]
    assert (found.legend["width"], found.legend["height"]) == display_size(PHOTO)


def test_legend_below_pictures_side_by_side() -> None:
    drawn = draw_heat_map(PHOTO, np.array([[0.0, 1.0]]), name="saliency")
    legend = parsed(drawn.info[LEGEND_KEY], LEGEND, "x")
    assert legend["width"] > 2 * display_size(PHOTO, 1280)[0] and legend["columns"][0]["heading"] == "saliency"


@pytest.mark.parametrize("text", ["", "no json", "{}", '{"schema": "edgeexport.legend/1", "height": 0}'])
def test_a_damaged_legend_leaves_the_drawn_one(text: str) -> None:
    info = PngInfo()
    info.add_text(LEGEND_KEY, text)
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(content, "PNG", pnginfo=info)
    (found,) = pictures_from_files({"x": content.getvalue()}, Path("b"))
    assert found.legend is None and found.legend_text == ""
    with pytest.raises(BundleError):
        parsed(text, LEGEND, "x")
