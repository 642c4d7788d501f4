"""What the build benchmark measures of a process, and what a row says of two."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.builds import MODELS, Run, _row, run_measured

_HOLDS = "held = bytearray({megabytes} << 20); held[::4096] = b'x' * len(held[::4096]); print('done')"


def test_memory_and_time_of_a_process_are_its_own() -> None:
    small, large = (run_measured([sys.executable, "-c", _HOLDS.format(megabytes=size)]) for size in (1, 200))
    assert small.output == large.output == "done\n"
    assert 150e6 < large.peak_bytes - small.peak_bytes < 250e6
    busy = run_measured([sys.executable, "-c", "import time\nwhile time.process_time() < 0.4: pass"])
    asleep = run_measured([sys.executable, "-c", "import time; time.sleep(0.4)"])
    assert busy.cpu_seconds >= 0.4 > asleep.cpu_seconds and min(busy.seconds, asleep.seconds) >= 0.4


def test_the_memory_of_a_child_counts() -> None:
    inner = _HOLDS.format(megabytes=200)
    outer = run_measured(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"]
    )
    assert outer.peak_bytes > 200e6


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_measured([sys.executable, "-c", "raise SystemExit('no such model')"])
    assert caught.value.returncode == 1 and "no such model" in caught.value.stderr


def test_a_row_sets_a_build_beside_the_exporter() -> None:
    stages = {"torch's exporter": 5.0, "verify": 3.0, "kernel plans, dense model beside it": 6.0}
    build = Run(20.0, 30.0, 3_000_000_000, json.dumps({"seconds": stages}))
    row = _row("s", 512, 88_000_000, build, Run(8.0, 6.0, 1_000_000_000, ""))
    assert row["times"] == 2.5 and row["times_apart_from_plans"] == 1.75 and row["cpu_times"] == 5
    assert row["verify_share"] == 0.15 and row["plans_share"] == 0.3 and row["unaccounted"] == 6
    assert (row["model"], row["pixels"], row["weights_mb"]) == ("ViT-S", 512, 88.0)
    assert row["build"] == {"seconds": 20.0, "cpu_seconds": 30.0, "peak_gb": 3.0}


def test_four_models_are_measured() -> None:
    assert list(MODELS) == ["ti", "s", "b", "l"]
