"""The devices' limits, against NVIDIA's published rates."""

from __future__ import annotations

import pytest

from edgeexport.cost.ceilings import (
    ASSUMED,
    DERIVED,
    PUBLISHED,
    ceilings_of,
    gpu_misfit,
    power_mode_named,
    power_modes,
)
from edgeexport.device.targets import TARGETS
from edgeexport.errors import UsageError

# Published dense rates of the Jetson AGX Orin 64GB: TFLOPS (TOPS for int8), memory GB/s.
_ORIN = {
    "MAXN": (5.33, 21.3, 42.6, 85.3, 204.8),
    "50W": (3.34, 13.4, 26.7, 53.5, 204.8),
    "30W": (1.25, 5.0, 10.0, 20.1, 204.8),
    "15W": (0.63, 2.5, 5.0, 10.0, 136.5),
}
_DTYPES = ("float32", "tfloat32", "float16", "int8")
_SHARES = {"float32": 5.0 / 5.33, "tfloat32": 33.5 / 42.6, "float16": 33.5 / 42.6, "int8": 33.5 / 42.6}


@pytest.mark.parametrize("mode", _ORIN)
def test_rates_of_agx_orin(mode: str) -> None:
    found = ceilings_of("orin", mode)
    *peaks, memory = _ORIN[mode]
    for dtype, peak in zip(_DTYPES, peaks, strict=True):
        assert 2 * found.product_rate(dtype) / 1e12 == pytest.approx(peak * _SHARES[dtype], rel=0.01)
    assert found.gigabytes_per_s.value == pytest.approx(memory * 152.8 / 204.8)


@pytest.mark.parametrize(
    ("target", "mode", "dtype", "tera_operations"),
    [
        ("orin-nx", "MAXN", "float32", 1.88),
        ("orin-nx", "MAXN", "float16", 15.0),
        ("orin-nx", "MAXN_SUPER", "int8", 38.4),
        ("orin-nano", "15W", "float16", 10.2),
        ("orin-nano", "MAXN_SUPER", "float16", 16.7),
        ("thor", "MAXN", "float16", 258.0),
    ],
)
def test_rates_of_other_modules(target: str, mode: str, dtype: str, tera_operations: float) -> None:
    found = ceilings_of(target, mode)
    assert 2 * found.product_rate(dtype) / 1e12 == pytest.approx(tera_operations * _SHARES[dtype], rel=0.01)


def test_measured_elsewhere_derived_and_assumed_are_told_apart() -> None:
    fastest = ceilings_of("orin")
    assert fastest.power_mode == "MAXN" and fastest.giga_macs_per_s["float16"].kind == PUBLISHED
    assert fastest.gigabytes_per_s.kind == PUBLISHED and fastest.giga_macs_per_s["int8"].kind == DERIVED
    assert ceilings_of("orin", "30W").giga_macs_per_s["float16"].kind == DERIVED
    assert ceilings_of("thor").giga_macs_per_s["float32"].kind == ASSUMED
    for target in TARGETS:
        for mode in power_modes(target):
            found = ceilings_of(target, mode)
            every = [*found.giga_macs_per_s.values(), found.gigabytes_per_s, found.launch_us]
            assert all(item.value > 0 and len(item.source) > 20 for item in every)
            assert found.launch_us.kind == ASSUMED


def test_targets_of_the_command_line_are_known_or_left_to_measurement() -> None:
    assert [target for target in TARGETS if not power_modes(target)] == ["gpu", "cpu"]
    assert {power_modes(target)[0] for target in TARGETS if power_modes(target)} == {"MAXN", "MAXN_SUPER"}


def test_names_of_nvpmodel() -> None:
    assert power_mode_named("orin", "MODE_30W") == "30W" and power_mode_named("orin", "MAXN") == "MAXN"
    assert power_mode_named("orin", "MODE_37W") is None and power_mode_named("orin", None) is None
    assert power_mode_named("cpu", "MAXN") is None


DEVELOPER_KIT = "NVIDIA Jetson AGX Orin Developer Kit"


@pytest.mark.parametrize(
    ("mode", "model", "multiprocessors", "mhz", "expected"),
    [
        ("MAXN", DEVELOPER_KIT, 16, 1300.5, ""),
        ("MAXN", DEVELOPER_KIT, None, 1300.5, ""),
        ("MAXN", DEVELOPER_KIT, 16, None, ""),
        ("50W", DEVELOPER_KIT, 16, 828.75, ""),
        ("15W", DEVELOPER_KIT, 6, 420.75, ""),
        # A Jetson AGX Orin 32GB.
        (
            "MAXN",
            DEVELOPER_KIT,
            14,
            930.75,
            "the GPU has 14 multiprocessors switched on, a Jetson AGX Orin 64GB in MAXN",
        ),
        (
            "MAXN",
            DEVELOPER_KIT,
            None,
            930.75,
            "clock is limited to 931 MHz, not to the 1301 MHz of a Jetson AGX Orin 64GB",
        ),
        (
            "MAXN",
            "NVIDIA Jetson AGX Orin 32GB",
            None,
            None,
            "nothing tells whether this NVIDIA Jetson AGX Orin 32GB is a",
        ),
        ("MAXN", DEVELOPER_KIT, None, None, f"nothing tells whether this {DEVELOPER_KIT} is a Jetson AGX Orin 64GB"),
        ("MAXN", "NVIDIA Jetson AGX Orin 64GB", None, None, ""),
        ("MAXN", "NVIDIA Jetson AGX Orin 64GB", 12, None, "the GPU has 12 multiprocessors"),
    ],
)
def test_another_variant_of_the_module(
    mode: str, model: str, multiprocessors: int | None, mhz: float | None, expected: str
) -> None:
    hertz = None if mhz is None else int(mhz * 1e6)
    found = gpu_misfit("orin", mode, model, multiprocessors=multiprocessors, hertz=hertz)
    assert expected in found and bool(expected) == bool(found)


def test_variants_of_other_modules() -> None:
    nano = "NVIDIA Jetson Orin Nano Developer Kit"
    assert gpu_misfit("orin-nano", "15W", nano, multiprocessors=8, hertz=624_750_000) == ""
    assert "has 4 multiprocessors" in gpu_misfit("orin-nano", "15W", nano, multiprocessors=4, hertz=624_750_000)  # 4 GB
    assert gpu_misfit("thor", "MAXN", "NVIDIA Jetson AGX Thor", multiprocessors=20, hertz=1_575_000_000) == ""
    assert gpu_misfit("thor", "MAXN", "NVIDIA Jetson AGX Thor", multiprocessors=None, hertz=None) != ""


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(UsageError, match="no published rates"):
        ceilings_of("gpu")
    with pytest.raises(UsageError, match="30W"):
        ceilings_of("orin", "31W")
    with pytest.raises(UsageError, match="int8"):
        ceilings_of("thor").product_rate("int8")
    assert ceilings_of("thor").product_rate("bfloat16") == ceilings_of("thor").product_rate("float16")


def test_json() -> None:
    found = ceilings_of("orin-nx").as_dict()
    assert found["giga_macs_per_s"]["float16"]["source"].startswith("peak 19.22 TFLOPS")
    assert (found["target"], found["power_mode"]) == ("orin-nx", "MAXN_SUPER")
