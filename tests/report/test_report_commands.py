"""Commands that add figures to a bundle leave a page that shows them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from shared_cases import CommandResult

from edgeexport.pictures.canvas import png_of
from edgeexport.pictures.overlay import draw_overlay
from edgeexport.report.html import write_report
from edgeexport.report.pictures import Picture, pictures_from_report


def write_overlays(bundle: Path) -> tuple[Picture, ...]:
    """Puts an overlay with its legend into the page."""
    drawn = draw_overlay(Image.new("RGB", (60, 40), (90, 120, 30)), np.eye(4, dtype=np.int32), classes=("a", "b"))
    return pictures_from_report(write_report(bundle, overlays={"x.jpg": png_of(drawn)}))


def test_build_profile_and_verify_refresh_the_page(
    tiny_bundle: Path, tmp_path: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    page = bundle / "report.html"
    assert pictures_from_report(page) == ()  # random weights: what they draw means nothing
    pictures = write_overlays(bundle)
    assert pictures[0].legend is not None

    def text() -> str:
        return page.read_text(encoding="utf-8")

    assert edgeexport("build", bundle, "--target", "cpu").code == 0
    assert "engine.onnx: onnxruntime" in text() and "Nothing was measured yet" in text()
    assert edgeexport("profile", bundle, "--duration", 0.02, "--warmUp", 1, "--allow-unstable").code == 0
    assert "at the median, on " in text() and "Verified after the build" not in text()
    assert edgeexport("verify", bundle).code == 0
    assert "Verified after the build" in text()
    assert pictures_from_report(page) == pictures


def test_a_failed_verification_is_shown(
    tiny_bundle: Path, tmp_path: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    import json

    import numpy as np

    from edgeexport.bundle import sha256_of

    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    with np.load(bundle / "golden.npz") as found:
        golden = {name: found[name] for name in found.files}
    name = next(key for key in golden if "class_map" in key)
    golden[name] = golden[name] + 1
    np.savez_compressed(bundle / "golden.npz", **golden)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["golden.npz"] = sha256_of(bundle / "golden.npz")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert edgeexport("verify", bundle).code == 4
    assert '<span class="status failed">' in (bundle / "report.html").read_text(encoding="utf-8")
