from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image
from report_cases import write_bundle

from edgeexport.errors import BundleError
from edgeexport.report.html import write_report
from edgeexport.report.pictures import pictures_from_files, pictures_from_report


def _png(colour: tuple[int, int, int] = (200, 30, 40)) -> bytes:
    content = io.BytesIO()
    Image.new("RGBA", (40, 30), (*colour, 255)).save(content, "PNG")
    return content.getvalue()


def test_pictures_become_jpegs() -> None:
    (found,) = pictures_from_files({"coffee.jpg": _png()}, Path("b"))
    assert found.name == "coffee.jpg" and found.uri.startswith("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(found.uri.partition(",")[2]))) as image:
        assert image.size == (40, 30) and image.format == "JPEG"
    postscript = io.BytesIO()
    Image.new("RGB", (40, 30)).save(postscript, "EPS")
    for content in (b"no image", postscript.getvalue()):
        with pytest.raises(BundleError, match="evil is no image"):
            pictures_from_files({"evil": content}, Path("b"))


def test_pictures_survive_any_number_of_refreshes_unchanged(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    first = write_report(bundle, overlays={"coffee.jpg": _png(), '<b>&".jpg': _png((1, 2, 3))}).read_bytes()
    assert [picture.name for picture in pictures_from_report(bundle / "report.html")] == ["coffee.jpg", '<b>&".jpg']
    for _ in range(3):
        assert write_report(bundle).read_bytes() == first
    assert sorted(path.name for path in bundle.iterdir()) == ["manifest.json", "report.html"]


def test_new_pictures_take_the_place_of_old_ones(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    write_report(bundle, overlays={"a": _png(), "b": _png()})
    write_report(bundle, overlays={"c": _png()})
    assert [picture.name for picture in pictures_from_report(bundle / "report.html")] == ["c"]


@pytest.mark.parametrize(
    "source",
    [
        "https://example.org/x.jpg",
        "data:image/svg+xml;base64,PHN2Zy8+",
        "data:image/jpeg;base64,!!!",
        "data:image/jpeg;base64,bm8gaW1hZ2U=",
        "data:image/jpeg;base64," + base64.b64encode(_png()).decode(),
    ],
)
def test_nothing_but_whole_jpegs_is_taken_from_a_page(tmp_path: Path, source: str) -> None:
    page = tmp_path / "report.html"
    page.write_text(f'<html><img src="{source}"><img></html>')
    assert pictures_from_report(page) == ()


def test_a_report_of_an_earlier_version_keeps_its_picture(tmp_path: Path) -> None:
    (made,) = pictures_from_files({"": _png()}, tmp_path)
    page = tmp_path / "report.html"
    page.write_text(f'<section><figure><img src="{made.uri}" alt="Classes"></figure></section>')
    assert pictures_from_report(page) == (made,)
    assert pictures_from_report(tmp_path / "absent.html") == ()
    page.write_bytes(b"\xff\xfe\x00")
    assert pictures_from_report(page) == ()
