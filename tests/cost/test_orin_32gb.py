"""An AGX Orin 32GB has clocks and ceilings of its own, and is told from one of 64 GB by its GPU."""

from __future__ import annotations

import pytest

from edgeexport.cost.ceilings import ceilings_of, gpu_misfit, power_modes
from edgeexport.cost.gpu_limits import gpu_limits

KIT = "NVIDIA Jetson AGX Orin Developer Kit"  # what both call themselves


def test_its_rates_are_the_share_of_its_own_peak() -> None:
    small, large = ceilings_of("orin-32gb"), ceilings_of("orin")
    assert power_modes("orin-32gb") == ("MAXN",) and gpu_limits("orin-32gb").multiprocessors == 14
    ratio = (14 * 930) / (16 * 1301)
    for dtype in ("float32", "float16"):
        assert small.product_rate(dtype) == pytest.approx(ratio * large.product_rate(dtype), rel=1e-3)
        assert small.giga_macs_per_s[dtype].kind == "derived"
    assert small.gigabytes_per_s.value == pytest.approx(large.gigabytes_per_s.value)


def test_each_is_told_from_the_other() -> None:
    assert gpu_misfit("orin-32gb", "MAXN", KIT, multiprocessors=14, hertz=930_750_000) == ""
    wrong = gpu_misfit("orin", "MAXN", KIT, multiprocessors=14, hertz=930_750_000)
    assert wrong.endswith("so many has a Jetson AGX Orin 32GB: --target orin-32gb")
    other = gpu_misfit("orin-32gb", "MAXN", KIT, multiprocessors=16, hertz=1_300_500_000)
    assert other.endswith("so many has a Jetson AGX Orin 64GB: --target orin")
    assert "--target" not in gpu_misfit("orin", "MAXN", KIT, multiprocessors=10, hertz=None)
