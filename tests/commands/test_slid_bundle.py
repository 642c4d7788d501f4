"""A bundle whose windows slide over the image, through the commands that users run on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_cases import CommandResult

pytestmark = pytest.mark.slow

RECIPE = '''"""A Segmenter of a few thousand weights, with ALGM, by windows."""

model = dict(
    type="EncoderDecoder",
    backbone=dict(type="VisionTransformer", img_size=64, embed_dims=32, num_layers=2, num_heads=2, final_norm=True),
    decode_head=dict(
        type="SegmenterMaskTransformerHead", in_channels=32, num_classes=4, num_layers=1, num_heads=2, embed_dims=32
    ),
    test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(48, 48)),
)
input = dict(shape=(1, 3, 100, 120), preprocess=dict(mean=[127.5] * 3, std=[127.5] * 3))
reduction = dict(algm=dict(windows=1, r=2))
'''


def test_build_verify_inspect_and_run(tmp_path: Path, edgeexport: Callable[..., CommandResult]) -> None:
    (tmp_path / "slid.py").write_text(RECIPE)
    bundle, photo = tmp_path / "bundle", tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 130, 3), dtype=np.uint8)).save(photo)
    built = edgeexport("build", tmp_path / "slid.py", "--target", "cpu", "--work-dir", bundle)
    assert built.code == 0, built.err
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["windows"] == 6 and manifest["outputs"][0]["shape"] == [1, 100, 120]
    parity = json.loads((bundle / "parity.json").read_text())
    assert {item["status"] for item in parity["comparisons"]} == {"passed"}
    assert edgeexport("verify", bundle).code == 0
    inspected = edgeexport("inspect", bundle)
    assert "6 windows of 64 x 64" in inspected.out
    ran = edgeexport("run", bundle, photo, "--out-dir", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert list((tmp_path / "out").glob("*"))
    assert "6 over an image, as a batch" in (bundle / "report.html").read_text()
