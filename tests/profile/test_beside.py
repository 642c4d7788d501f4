"""Predictions stand beside the measurements of those devices and engines that they are for, and of no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sysfs_trees import GPU_CLOCK, put, write_tree
from work_cases import WORK

from edgeexport.backends.contract import DeviceIdentity, EngineRecord
from edgeexport.bundle import Bundle
from edgeexport.cost.work import WORK_FILE, work_bytes
from edgeexport.device.power_mode import PowerMode
from edgeexport.profile import beside
from edgeexport.profile.beside import predicted_latency, why_no_prediction
from edgeexport.profile.inputs import Feed
from edgeexport.profile.timed_bundle import TimedBundle

MAXN = PowerMode(0, "MAXN")
ORIN = DeviceIdentity("Orin", "aarch64", "8.7")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "root", "agx_orin")


def timed_bundle(folder: Path, target: str = "orin", **options: Any) -> TimedBundle:
    """The engine of a bundle that has nothing but its work."""
    folder.mkdir(exist_ok=True)
    (folder / WORK_FILE).write_bytes(work_bytes(WORK))
    record = EngineRecord(
        "tensorrt", "10.3.0", target, "fp32", "model.trt.onnx", "0" * 64, None, ORIN, options, 60.0, {}
    )
    feed = Feed(np.zeros((1, 4), np.float32), {})
    runner: Any = None  # nothing is run
    return TimedBundle(Bundle(folder, {}), runner, feed, record, "engine.plan", "tensorrt", ORIN)


def reason(found: TimedBundle, root: Path, mode: PowerMode | None = MAXN) -> str:
    """Why nothing is predicted; the prediction has to agree."""
    text = why_no_prediction(found, mode, root)
    assert (predicted_latency(found, mode, root) is None) == bool(text)
    return text


def test_prediction(tmp_path: Path, root: Path) -> None:
    found = timed_bundle(tmp_path / "b", dla_core=None)
    assert reason(found, root) == ""
    prediction = predicted_latency(found, MAXN, root)
    assert prediction is not None and (prediction["target"], prediction["power_mode"]) == ("orin", "MAXN")
    put(root, f"{GPU_CLOCK}/max_freq", 624_750_000)
    slower = predicted_latency(found, PowerMode(2, "MODE_30W"), root)
    assert slower is not None and slower["power_mode"] == "30W"


def test_smaller_variant_of_the_module(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Jetson AGX Orin 32GB may call itself as the one of 64 GB does."""
    found = timed_bundle(tmp_path / "b")
    put(root, f"{GPU_CLOCK}/max_freq", 930_750_000)
    assert "clock is limited to 931 MHz, not to the 1301 MHz" in reason(found, root)
    (root / GPU_CLOCK / "max_freq").unlink()
    assert "nothing tells whether this NVIDIA Jetson AGX Orin Developer Kit is a" in reason(found, root)
    monkeypatch.setattr(beside, "_multiprocessors", lambda root: 14)
    assert "the GPU has 14 multiprocessors" in reason(found, root)
    monkeypatch.setattr(beside, "_multiprocessors", lambda root: 16)
    assert reason(found, root) == ""


def test_another_machines_gpu_is_not_asked(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(beside, "gpu_multiprocessors", lambda: 132)
    assert beside._multiprocessors(root) is None and beside._multiprocessors(Path("/")) == 132


def test_accelerator(tmp_path: Path, root: Path) -> None:
    found = timed_bundle(tmp_path / "b", dla_core=0)
    assert reason(found, root) == "the engine runs on deep-learning accelerator 0: predictions are of the GPU"


def test_everything_else_that_is_not_known(tmp_path: Path, root: Path) -> None:
    found = timed_bundle(tmp_path / "b")
    assert "no engine was measured" in reason(replace(found, record=None), root)
    assert "power mode MODE_37W (id 7) are not known" in reason(found, root, PowerMode(7, "MODE_37W"))
    assert "power mode None" not in reason(found, root, None) and "power mode" in reason(found, root, None)
    assert "limits of a CPU, with ONNX Runtime are not known ahead" in reason(timed_bundle(tmp_path / "c", "cpu"), root)
    assert "this machine is NVIDIA Jetson AGX Orin" in reason(timed_bundle(tmp_path / "x", "orin-nx"), root)
    (found.bundle.path / WORK_FILE).unlink()
    assert "has no work.json" in reason(found, root)
