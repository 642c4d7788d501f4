"""The page in a real browser: widths of a screen and of a phone, light and dark, on paper; without network and script."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium_browser import Browser, browser, chromium
from measured_cases import bench, engine, orin_bench, verify, work
from PIL import Image
from report_cases import (
    latent_manifest,
    latent_tokens,
    manifest,
    merge_manifest,
    merge_tokens,
    parity,
    tokens,
    write_bundle,
)

from edgeexport.report.html import write_report

PAGES = ("built", "measured", "jetson", "merges", "latent", "deep")
VIEWS = [(1280, False), (390, False), (320, True), (1280, True)]


def files_of_pages() -> dict[str, dict[str, Any]]:
    """The JSON files of the bundle that each page shows."""
    return {
        "built": {"tokens": tokens(), "parity": parity(), "manifest": manifest(name="n" * 90)},
        "measured": {"tokens": tokens(), "parity": parity(), "bench": bench(), "work": work()},
        "jetson": {"tokens": tokens(), "bench": orin_bench(), "engine": engine(), "verify": verify(), "work": work()},
        "merges": {"manifest": merge_manifest(), "tokens": merge_tokens()},
        "latent": {"manifest": latent_manifest(), "tokens": latent_tokens()},
        "deep": {"tokens": {**tokens(), "blocks": [{**tokens()["blocks"][1], "block": n} for n in range(1, 49)]}},
    }


# Text whose contrast with what lies behind it is below WCAG's: 4.5, or 3 for 24 px (bold: 18.66 px) and more.
UNREADABLE = """
(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const found = numbers(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0.99) return found;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
  };
  const bad = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ['TITLE', 'DESC', 'title', 'desc'].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const drawn = element instanceof SVGElement;
    let back = behind(element);
    if (element.classList.contains('on')) {
      const probe = document.querySelector('svg rect.kept');
      back = numbers(getComputedStyle(probe).fill);
    }
    const [one, two] = [luminance(numbers(drawn ? style.fill : style.color)), luminance(back)].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= (parseInt(style.fontWeight) >= 700 ? 18.66 : 24);
    const contrast = (one + 0.05) / (two + 0.05);
    seen += 1;
    if (contrast < (large ? 3 : 4.5)) bad.push([element.textContent.slice(0, 40), contrast]);
  }
  return [seen, bad];
})()
"""
FAINT = """
(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const card = luminance(numbers(getComputedStyle(document.querySelector('section')).backgroundColor));
  return [...document.querySelectorAll('svg rect')].filter(r => !/frame|track/.test(r.getAttribute('class'))).map(r => {
    const style = getComputedStyle(r);
    const shown = r.classList.contains('predicted') ? style.stroke : style.fill;
    const [one, two] = [luminance(numbers(shown)), card].sort((a, b) => b - a);
    return [r.getAttribute('class'), (one + 0.05) / (two + 0.05)];
  }).filter(([kind, contrast]) => contrast < 3);
})()
"""


# What axe-core finds that is serious or critical: rule, how many elements, the first of them.
SERIOUS = """
axe.run().then(found => found.violations.filter(v => ['serious', 'critical'].includes(v.impact))
  .map(v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 120)]))
"""


def axe() -> str:
    """axe-core's source, from the wheel of the dev extra; asked for where CI runs, else skipped without it."""
    package = importlib.util.find_spec("axe_core_python")
    if package is None or package.origin is None:
        reason = "no axe-core to check the page with (pip install -e '.[dev]')"
        assert os.environ.get("EDGEEXPORT_REQUIRE_ALL") != "1", reason
        pytest.skip(reason)
    return (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        reason = "no chromium to open the page with (apt install chromium)"
        assert os.environ.get("EDGEEXPORT_REQUIRE_ALL") != "1", reason
        pytest.skip(reason)
    with browser(program) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    picture = io.BytesIO()
    Image.new("RGB", (1600, 900), (200, 30, 40)).save(picture, "PNG")
    overlays = {"coffee.jpg": picture.getvalue(), "chelsea.jpg": picture.getvalue()}
    found = files_of_pages()
    return {name: write_report(write_bundle(folder / name, **found[name]), overlays=overlays) for name in PAGES}


@pytest.mark.parametrize(("width", "dark"), VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_loads_nothing_and_can_be_read(
    tab: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    tab.open(pages[name], width, dark=dark)
    for expanded in (False, True):  # closed, and with every table in sight
        if expanded:
            tab.value("document.querySelectorAll('details').forEach(part => part.open = true)")
        inner, scrolled, body = tab.value(
            "[innerWidth, document.documentElement.scrollWidth, document.body.getBoundingClientRect().width]"
        )
        assert inner == width and scrolled <= width and body <= width
        sizes = tab.value(
            "[...document.querySelectorAll('svg.chart, img')].map(e => e.getBoundingClientRect().toJSON())"
        )
        assert len(sizes) >= 4 and all(size["width"] > 200 and size["height"] > 30 for size in sizes)
        outside = tab.value(
            "[...document.querySelectorAll('section *')].filter(e => !e.closest('.scroll') && !e.closest('svg') "
            "&& e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"
        )
        assert outside == []
    seen, unreadable = tab.value(UNREADABLE)
    assert seen > 50 and unreadable == []
    assert tab.value(FAINT) == []
    asked = [
        event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].resolve().as_uri()]
    told = [
        event
        for event in tab.events
        if event["method"] in ("Runtime.consoleAPICalled", "Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert told == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
@pytest.mark.parametrize("name", ["built", "jetson", "merges", "latent"])
def test_axe_finds_nothing_serious(tab: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    source = axe()
    tab.open(pages[name], width, dark=dark)
    tab.value("document.querySelectorAll('details').forEach(part => part.open = true)")
    tab.value(f"{source};0")
    assert tab.value(SERIOUS, promised=True) == []


def test_axe_can_find_something(tab: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    page, source = tmp_path / "bad.html", axe()
    bad = '<img src="data:,"><p style="color: #ccc; background: #fff">faint</p></body>'
    page.write_text(pages["built"].read_text(encoding="utf-8").replace("</body>", bad), encoding="utf-8")
    tab.open(page, 1280)
    tab.value(f"{source};0")
    assert {rule for rule, _, _ in tab.value(SERIOUS, promised=True)} >= {"image-alt", "color-contrast"}


def test_first_screen_and_letters(tab: Browser, pages: dict[str, Path]) -> None:
    """The three answers stand above the fold of a screen; nothing on a phone is written smaller than 12 pixels."""
    tab.open(pages["measured"], 1280)
    bottoms = tab.value(
        "['pays', 'right', 'weights'].map(id => document.getElementById(id).getBoundingClientRect().bottom)"
    )
    assert max(bottoms) <= 900
    for name in PAGES:
        tab.open(pages[name], 390)
        small = tab.value(
            "[...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType == 3 && "
            "n.textContent.trim()) && !['TITLE', 'DESC', 'title', 'desc'].includes(e.tagName) && "
            "parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.outerHTML.slice(0, 80))"
        )
        assert small == []


def test_captions_of_columns_stay_inside_the_drawing(tab: Browser, pages: dict[str, Path]) -> None:
    for width in (390, 1280):
        tab.open(pages["deep"], width)
        outside = tab.value(
            "[...document.querySelectorAll('svg.chart text')].filter(t => { const a = t.getBoundingClientRect(), "
            "b = t.closest('svg.chart').getBoundingClientRect(); return a.left < b.left - 1 || a.right > b.right + 1 "
            "|| a.top < b.top - 1 || a.bottom > b.bottom + 1 }).map(t => t.textContent)"
        )
        assert outside == []


def test_many_columns_scroll_in_their_own_box(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["deep"], 390)
    inside, shown = tab.value(
        "(() => { const box = document.querySelector('svg.chart').parentElement; return [box.scrollWidth, box.clientWidth] })()"
    )
    assert inside > 700 and shown < 390


def test_columns_on_the_screen_are_in_proportion(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["built"], 390)
    heights = tab.value("[...document.querySelectorAll('svg rect.kept')].map(r => r.getBoundingClientRect().height)")
    assert heights[1] / heights[0] == pytest.approx(0.7, rel=0.02)


def test_everything_is_on_paper(tab: Browser, pages: dict[str, Path]) -> None:
    shown = "[...document.querySelectorAll('details table')].map(t => t.checkVisibility())"
    tab.open(pages["jetson"], 800)
    assert not any(tab.value(shown))
    tab.open(pages["jetson"], 800, media="print")
    visible = tab.value(shown)
    assert len(visible) >= 6 and all(visible)


def test_the_check_of_the_width_can_fail(tab: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    wide = '<div style="width: 600px">x</div></body>'
    page.write_text(pages["built"].read_text(encoding="utf-8").replace("</body>", wide), encoding="utf-8")
    tab.open(page, 390)
    assert tab.value("document.documentElement.scrollWidth") >= 600
