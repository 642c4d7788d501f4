from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from measured_cases import bench
from PIL import Image
from report_cases import tokens, write_bundle

from edgeexport.pictures.canvas import png_of
from edgeexport.report.html import write_report
from edgeexport.report.refresh import refresh_report


def test_the_page_shows_what_a_command_added(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", tokens=tokens())
    assert refresh_report(bundle) == ""
    page = bundle / "report.html"
    assert "Nothing was measured yet" in page.read_text(encoding="utf-8")
    shutil.copy(write_bundle(tmp_path / "c", bench=bench()) / "bench.json", bundle)
    assert refresh_report(bundle) == ""
    assert "Some CPU, onnxruntime 1.31.1" in page.read_text(encoding="utf-8")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    bundle.chmod(0o555)
    try:
        assert "report.html stays as it was" in refresh_report(bundle)
    finally:
        bundle.chmod(0o755)


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """As on a full or read-only disk; for root as well."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "report.html").mkdir()
    (bundle / "report.html" / "x").touch()
    told: list[str] = []
    reason = refresh_report(bundle, told.append)
    assert told == [reason]
    assert reason.startswith("report.html stays as it was:") and "cannot be written" in reason
    assert sorted(path.name for path in bundle.iterdir()) == ["manifest.json", "report.html"]


def test_a_damaged_file_is_told_and_the_older_page_stays(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", tokens=tokens())
    older = write_report(bundle).read_bytes()
    (bundle / "bench.json").write_text('{"schema": "edgeexport.bench/1"}')
    assert "bench.json | lacks" in refresh_report(bundle)
    (bundle / "bench.json").write_text("{")
    assert "bench.json" in refresh_report(bundle)
    assert (bundle / "report.html").read_bytes() == older
    assert refresh_report(tmp_path / "absent").endswith("`edgeexport build` printed")


def test_an_engine_finds_the_report_and_the_report_no_engine() -> None:
    """`edgeexport.backends.engine` may call it: nothing here imports what imports the engine."""
    code = "import sys, edgeexport.report.refresh\nprint('edgeexport.backends.engine' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_real_bundle_measured_here(tiny_bundle: Path, tmp_path: Path) -> None:
    from edgeexport.profile.bench import profile_bundle
    from edgeexport.profile.protocol import TimingRequest
    from edgeexport.report.pictures import pictures_from_report

    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    drawn = png_of(Image.new("RGB", (60, 40), (90, 120, 30)))
    pictures = pictures_from_report(write_report(bundle, overlays={"x.jpg": drawn}))
    assert pictures
    profile_bundle(bundle, TimingRequest(warmup_ms=1, duration_s=0.02), allow_unstable=True)
    assert refresh_report(bundle) == ""
    text = (bundle / "report.html").read_text(encoding="utf-8")
    assert pictures_from_report(bundle / "report.html") == pictures
    assert (
        "Measured time of each part of the model" in text
        and "Predicted time of each part of the model on Jetson" in text
    )
    assert "MAXN, predicted" in text and "MAXN, measured" not in text  # a PC's processor is no Jetson
