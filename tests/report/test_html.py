from __future__ import annotations

import errno
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from report_cases import (
    STATEMENT,
    latent_manifest,
    latent_tokens,
    manifest,
    merge_manifest,
    merge_tokens,
    parity,
    tokens,
    write_bundle,
)

from edgeexport.errors import BuildError, BundleError
from edgeexport.report.html import write_report

VOID = {"meta", "img", "br", "link", "input"}


class _Page(HTMLParser):
    """Checks that elements nest, and collects text and attributes."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _png(size: tuple[int, int] = (40, 30)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(content, "PNG")
    return content.getvalue()


def _page(bundle: Path, overlay: bytes | None = None) -> _Page:
    path = write_report(bundle, overlay=overlay)
    assert path == bundle / "report.html"
    return _Page(path.read_text(encoding="utf-8"))


def test_page_shows_everything(tmp_path: Path) -> None:
    page = _page(write_bundle(tmp_path / "b", tokens=tokens(), parity=parity()), _png())
    for words in (
        "tiny_cts_dtop",
        "A small model.",
        STATEMENT,
        "Random" + STATEMENT[6:],
        "7.5 of 10.0 GMAC",
        "16 → 7 tokens",
        "– not run",
        "the wheel is not installed",
        "0 uncertified pixels",
        "shared 2 windows; pruned 3 after block 1",
        "sum without policy network 5.500 10.000 55.0 %",
        "computed",
        "adaptive against fixed ✓ passed",
        "fixed torch against exported graph ✗ failed",
        "batch – not applicable",
        "onnx 1.23.2",
        "ab" * 32,
    ):
        assert words in page.text, words
    widths = [value for tag, name, value in page.attributes if name == "style"]
    assert widths == ["width: 100.00%", "width: 62.50%", "width: 43.75%", "width: 43.75%"]


def test_page_of_a_bundle_that_merges(tmp_path: Path) -> None:
    page = _page(write_bundle(tmp_path / "b", manifest=merge_manifest(), tokens=merge_tokens()), _png())
    for words in (
        "8 tokens merged in blocks 2 to 3: 5, 3, inside windows of 3 x 3 tokens in block 2",
        "17 → 9 tokens from the patches to the final head",
        "window 3: merged 5",
        "tokens attention matching MLP total dense of dense",
        "block 2 17 1.700 0.020 2.400 4.120 5.100 80.8 %",
        "classifier head 9",
        "logits: float32 1 x 10",
    ):
        assert words in page.text, words
    for words in ("policy network", "Class map", "decode_head", "tail", "shared"):
        assert words not in page.text, words
    (described,) = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert "merged" in described


def test_only_bundles_that_match_have_a_column_for_it(tmp_path: Path) -> None:
    plain = _page(write_bundle(tmp_path / "a", tokens=tokens())).text
    assert "tokens attention MLP total" in plain
    latent = _page(write_bundle(tmp_path / "b", manifest=latent_manifest(), tokens=latent_tokens())).text
    assert "64 → 32 → 64 tokens ahead of a block, inside it at the fewest, and after it" in latent
    assert "block 1 64 3.000 1.000 2.000 6.000 12.000 50.0 %" in latent


def test_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    page = _page(write_bundle(tmp_path / "b", tokens=tokens(), parity=parity()), _png())
    assert not {tag for tag, _, _ in page.attributes} & {"script", "link", "iframe"}
    addresses = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert len(addresses) == 1 and addresses[0].startswith("data:image/jpeg;base64,")
    content = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "url(" not in content and "@import" not in content and "http:" not in content and "https:" not in content
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes


def test_values_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    weights = {"origin": "random", "statement": evil}
    files = manifest(name=evil, weights=weights, recipe={"k": evil}, versions={evil: evil}, files={evil: evil})
    page = _page(write_bundle(tmp_path / "b", manifest=files))
    assert "script" not in {tag for tag, _, _ in page.attributes}
    assert "<script" not in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert page.text.count(evil) >= 5


def test_checkpoint_weights_have_no_banner(tmp_path: Path) -> None:
    random = _page(write_bundle(tmp_path / "a"))
    weights = {"origin": "checkpoint", "file": "x.pth", "sha256": "cd" * 32, "statement": "weights of x.pth"}
    trained = _page(write_bundle(tmp_path / "b", manifest=manifest(weights=weights)))
    assert ("div", "class", "banner") in random.attributes and ("div", "class", "banner") not in trained.attributes
    assert "weights of x.pth" in trained.text and "cd" * 32 in trained.text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    page = _page(write_bundle(tmp_path / "b", manifest=manifest(checks={})))
    assert "The bundle has no tokens.json." in page.text
    assert "No comparison is recorded" in page.text
    assert "No check is recorded." in page.text
    assert "img" not in {tag for tag, _, _ in page.attributes}


def test_overlay_of_the_bundle_is_found(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle / "overlay.png").write_bytes(_png())
    assert any(tag == "img" and name == "src" for tag, name, _ in _page(bundle).attributes)


def test_writing_twice_gives_the_same_page(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", tokens=tokens(), parity=parity())
    first = write_report(bundle, overlay=_png()).read_bytes()
    assert write_report(bundle, overlay=_png()).read_bytes() == first
    assert sorted(file.name for file in bundle.iterdir()) == [
        "manifest.json",
        "parity.json",
        "report.html",
        "tokens.json",
    ]


def test_damaged_files_are_bundle_errors(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle folder"):
        write_report(tmp_path / "absent")
    bundle = write_bundle(tmp_path / "a", tokens={"patches": 16})
    with pytest.raises(BundleError, match=r"lacks what a report shows \(KeyError") as caught:
        write_report(bundle)
    assert caught.value.exit_code == 9 and not (bundle / "report.html").exists()
    with pytest.raises(BundleError, match="is no image"):
        write_report(write_bundle(tmp_path / "b"), overlay=b"no image")


def test_full_disk_keeps_the_older_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle / "report.html").write_text("older")

    def full(path: Path, content: str, encoding: str) -> int:
        path.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(BuildError, match="No space left on device"):
        write_report(bundle)
    assert (bundle / "report.html").read_text() == "older" and len(list(bundle.iterdir())) == 2


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to lay the page out with")
def test_page_is_no_wider_than_a_phone(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", manifest=manifest(name="n" * 90), tokens=tokens(), parity=parity())
    report = write_report(bundle, overlay=_png((1600, 900)))
    # The page's own policy forbids scripts, so that a page of ours holds it in a frame of a phone's width.
    probe = tmp_path / "probe.html"
    content = re.sub(r"<meta http-equiv=[^>]*>", "", report.read_text(encoding="utf-8"))
    measured = "<script>document.title = 'width ' + document.documentElement.scrollWidth</script></body>"
    inner = content.replace("</body>", measured).replace("&", "&amp;").replace('"', "&quot;")
    outer = "document.title = document.querySelector('iframe').contentDocument.title"
    probe.write_text(
        f'<html><body><iframe style="width: 360px; height: 800px; border: 0" onload="{outer}" srcdoc="{inner}">'
        "</iframe></body></html>",
        encoding="utf-8",
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", probe.as_uri()]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"<title>width (\d+)</title>", printed)
    assert found and int(found.group(1)) <= 360
