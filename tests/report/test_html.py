from __future__ import annotations

import errno
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from measured_cases import bench, engine, orin_bench, verify, work
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
    path = write_report(bundle, overlays=None if overlay is None else {"": overlay})
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
        "original against fixed, coffee.jpg ✓ passed",
        "fixed torch against exported graph, chelsea.jpg ✗ failed",
        "Token decisions result shared_windows same 104 chosen (Jaccard 1)",
        "batch against images one by one – not applicable a near tie",
        "chelsea.jpg ✗ failed decisions differ first at pruned_tokens_8 torch fixed against onnxruntime 1.31",
        "onnx 1.23.2",
        "ab" * 32,
    ):
        assert words in page.text, words


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
    for words in ("policy network", "Class map", "decode_head", "tail, as published", "sharing"):
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
    outside = [address for address in addresses if not address.startswith("#")]
    assert len(outside) == 1 and outside[0].startswith("data:image/jpeg;base64,")
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {address[1:] for address in addresses if address.startswith("#")} <= ids
    content = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "url(" not in content and "@import" not in content and "http:" not in content and "https:" not in content
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes


def test_values_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    weights = {"origin": "random", "statement": evil}
    files = manifest(name=evil, weights=weights, recipe={"k": evil}, versions={evil: evil}, files={evil: "ab" * 32})
    page = _page(write_bundle(tmp_path / "b", manifest=files))
    assert "script" not in {tag for tag, _, _ in page.attributes}
    assert "<script" not in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert page.text.count(evil) >= 5


def test_hostile_names_stay_text_in_every_file(tmp_path: Path) -> None:
    evil = "</title></svg><script>alert('x')</script>"
    merging = [{**block, "reason": evil} for block in tokens()["blocks"]]
    measured = orin_bench(
        notes=[evil], stable=False, instabilities=[evil], device={**orin_bench()["device"], "name": evil}
    )
    measured["baseline"]["bundle"]["name"] = evil
    measured["predicted"] = None
    measured["layers"]["parts"][0]["part"] = evil
    checks = {"parity": {"status": evil, "reason": evil}}
    bundle = write_bundle(
        tmp_path / "b",
        manifest=manifest(name=evil, description=evil, checks=checks),
        tokens={**tokens(), "blocks": merging, "convention": evil},
        bench=measured,
        engine=engine(provenance=evil, files={evil.replace("/", ""): "00"}),
        verify={**verify(), "runner": evil},
        work=work(),
    )
    write_report(bundle, overlays={evil: _png()})
    page = _Page((bundle / "report.html").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _, _ in page.attributes} | {*page.open}
    assert page.text.count(evil) >= 12
    assert ("img", "data-photo", evil) in page.attributes


def test_measurement_prediction_engine_and_verification_are_shown(tmp_path: Path) -> None:
    """All made up, and marked so in what they name."""
    files = {"bench": orin_bench(), "engine": engine(), "verify": verify(), "work": work()}
    page = _page(write_bundle(tmp_path / "b", tokens=tokens(), parity=parity(), **files))
    total = orin_bench()["predicted"]["total_ms"]
    for words in (
        "12.00 ms median latency measured TEST DATA Jetson AGX Orin, power mode MODE_30W, tensorrt 10.3.0",
        "1.50 times as fast as tiny_dense measured 1.500, 99 % interval 1.450 to 1.550: faster",
        "240.0 mJ an inference measured",
        f"{total:.2f} ms latency predicted Jetson AGX Orin 64GB, 30W, by roofline",
        "built on jetson.example over ssh: TEST DATA Orin (aarch64, compute capability 8.7)",
        "Verified after the build TensorRT 10.3.0; original model not run: torch is not installed",
        "30W, measured 12.00 ms (",
        "A prediction, not a measurement.",
        "derived peak",
        "timing.cache " + "56" * 32,
        "auxiliary head after block 1",
    ):
        assert words in page.text, words
    tags = [
        value for tag, name, value in page.attributes if tag == "span" and name == "class" and value.startswith("tag")
    ]
    assert {"tag computed", "tag measured", "tag predicted"} == set(tags)


def test_bundles_without_later_files_still_have_a_report(tmp_path: Path) -> None:
    text = _page(write_bundle(tmp_path / "b", tokens=tokens())).text
    assert "Nothing was measured yet: edgeexport profile BUNDLE, on the device." in text
    assert "No prediction: the bundle has no work.json: it was built by an earlier edgeexport." in text
    assert "Verified after the build" not in text


def test_drawings_have_text_alternatives_and_names_of_their_own(tmp_path: Path) -> None:
    page = _page(write_bundle(tmp_path / "b", tokens=tokens(), bench=bench(), work=work()))
    drawings = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-labelledby")]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(drawings) == 5 and len(ids) == len(set(ids))
    assert {part for value in drawings for part in value.split()} <= set(ids)


def test_checkpoint_weights_have_no_banner(tmp_path: Path) -> None:
    random = _page(write_bundle(tmp_path / "a"))
    weights = {"origin": "checkpoint", "file": "x.pth", "sha256": "cd" * 32, "statement": "weights of x.pth"}
    trained = _page(write_bundle(tmp_path / "b", manifest=manifest(weights=weights)))
    banner = ("p", "class", "warning-line")
    assert banner in random.attributes and banner not in trained.attributes
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
    first = write_report(bundle, overlays={"a": _png()}).read_bytes()
    assert write_report(bundle, overlays={"a": _png()}).read_bytes() == first
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
    with pytest.raises(BundleError, match=r"tokens.json . lacks blocks") as caught:
        write_report(bundle)
    assert caught.value.exit_code == 9 and not (bundle / "report.html").exists()
    with pytest.raises(BundleError, match="is no image"):
        write_report(write_bundle(tmp_path / "b"), overlays={"a": b"no image"})


def test_full_disk_keeps_the_older_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle / "report.html").write_text("older")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BuildError, match="No space left on device"):
        write_report(bundle)
    assert (bundle / "report.html").read_text() == "older" and len(list(bundle.iterdir())) == 2
