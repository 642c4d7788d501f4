"""Conditions from sysfs trees, and what about them makes a measurement invalid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sysfs_trees
from sysfs_trees import GPU_CLOCK, put, write_tree

from edgeexport.device.conditions import changed, instabilities, read_conditions
from edgeexport.device.power_mode import PowerMode

POLICY = "sys/devices/system/cpu/cpufreq/policy4"


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    return write_tree(tmp_path, "agx_orin")


@pytest.fixture
def orin_nx(tmp_path: Path) -> Path:
    return write_tree(tmp_path, "orin_nx")


def test_agx_orin(orin: Path) -> None:
    found = read_conditions(orin)
    assert found.power_mode == PowerMode(0, "MAXN")
    assert found.online_cpus == "0-11" and found.load_average == 0.42 and found.known
    clocks = {clock.name: clock for clock in found.clocks}
    assert set(clocks) == {"17000000.gpu", "policy0", "policy4", "policy8", "emc"}  # 15340000.vic clocks no inference
    assert clocks["17000000.gpu"].current_hz == 1_300_500_000 and clocks["17000000.gpu"].pinned
    assert clocks["policy0"].current_hz == 2_201_600_000 and clocks["policy0"].drives == "cpu"
    assert clocks["emc"].current_hz is None and clocks["emc"].max_hz == 3_199_000_000
    assert found.loose_clocks == ()
    temperatures = {zone.name: zone for zone in found.temperatures}
    assert temperatures["tj-thermal"].celsius == 51.718 and temperatures["tj-thermal"].passive_c == 99.0
    assert "cv0-thermal" not in temperatures  # EAGAIN
    assert found.throttling.active == {}  # the fan is at work, which slows nothing
    assert found.throttling.events["instantaneous over-current (oc3)"] == 4
    document = json.loads(json.dumps(found.as_dict()))
    assert document["power_mode"] == {"id": 0, "name": "MAXN"} and document["clocks"][0]["pinned"] is True


def test_orin_nx_with_loose_clocks(orin_nx: Path) -> None:
    found = read_conditions(orin_nx)
    assert str(found.power_mode) == "25W (id 3)"
    assert found.loose_clocks == ("17000000.gpu", "policy0", "policy4")


def test_machine_without_power_modes(tmp_path: Path) -> None:
    found = read_conditions(write_tree(tmp_path, "none"))
    assert found.power_mode is None and found.known
    assert [zone.name for zone in found.temperatures] == [
        "acpitz (thermal_zone0)",
        "acpitz (thermal_zone1)",
        "x86_pkg_temp",
    ]
    assert all(zone.passive_c is None for zone in found.temperatures)  # a passive trip point at 0 is not set
    assert found.throttling.active == {}  # 'intel_powerclamp' in state -1
    assert found.throttling.events == {"processor cores too hot": 0, "processor package too hot": 4}


def test_nothing_to_read(tmp_path: Path) -> None:
    found = read_conditions(tmp_path)
    assert not found.known and found.clocks == () and found.load_average is None
    assert changed(found, found) == []


@pytest.mark.parametrize("tree", sysfs_trees.NAMES)
def test_nothing_changed(tmp_path: Path, tree: str) -> None:
    found = read_conditions(write_tree(tmp_path, tree))
    assert changed(found, read_conditions(tmp_path)) == []


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("var/lib/nvpmodel/status", "pmode:0002", "power mode MAXN (id 0) became MODE_30W (id 2)"),
        ("var/lib/nvpmodel/status", "pmode:0007", "power mode MAXN (id 0) became id 7"),
        ("sys/devices/system/cpu/online", "0-7", "processors in use 0-11 became 0-7"),
        (f"{GPU_CLOCK}/max_freq", 816_000_000, "gpu clock 17000000.gpu limits 1300-1300 MHz became 1300-816 MHz"),
        (f"{GPU_CLOCK}/cur_freq", 1_224_000_000, "gpu clock 17000000.gpu 1300 became 1224 MHz"),
        (f"{POLICY}/scaling_cur_freq", 1_728_000, "cpu clock policy4 2202 became 1728 MHz"),
        (f"{POLICY}/scaling_min_freq", 729_600, "cpu clock policy4 limits 2202-2202 MHz became 730-2202 MHz"),
        ("sys/kernel/nvpmodel_clk_cap/emc", 2_133_000_000, "memory clock emc limits ?-3199 MHz became ?-2133 MHz"),
        ("sys/class/hwmon/hwmon5/oc3_event_cnt", 6, "throttled: instantaneous over-current (oc3), 2 events"),
        ("sys/class/hwmon/hwmon5/oc1_event_cnt", 1, "throttled: under-voltage (oc1), 1 event"),
    ],
)
def test_each_change_is_told(orin: Path, path: str, content: object, expected: str) -> None:
    before = read_conditions(orin)
    assert (orin / path).exists()
    put(orin, path, content)
    assert changed(before, read_conditions(orin)) == [expected]


def test_small_movements_are_no_change(orin: Path) -> None:
    before = read_conditions(orin)
    put(orin, f"{POLICY}/scaling_cur_freq", 2_190_000)  # a measured clock, half a per cent off
    put(orin, f"{sysfs_trees.zone(orin, 'gpu-thermal')}/temp", 47_625 + 14_900)
    put(orin, "proc/loadavg", "9.99 1 1 1/1 1")
    assert changed(before, read_conditions(orin)) == []


def test_a_cold_device_is_told(orin: Path) -> None:
    before = read_conditions(orin)
    put(orin, f"{sysfs_trees.zone(orin, 'gpu-thermal')}/temp", 47_625 + 15_100)
    assert changed(before, read_conditions(orin)) == ["gpu-thermal warmed from 47.6 to 62.7 °C, more than 15 K"]


@pytest.mark.parametrize("kind", ["gpu-throttle-alert", "cpufreq-cpu4", "devfreq-17000000.gpu"])
def test_cooling_at_work_from_the_beginning_is_throttling(orin: Path, kind: str) -> None:
    put(orin, f"{sysfs_trees.cooling(orin, kind)}/cur_state", 1)
    found = read_conditions(orin)
    assert changed(found, found) == [f"throttled: {kind} is at work (state 1)"]


@pytest.mark.parametrize("tree", ["agx_orin", "orin_nx"])
def test_a_hot_surface_is_no_throttling(tmp_path: Path, tree: str) -> None:
    """At 70 degrees an Orin warns that its case is hot; it slows down at 99."""
    root = write_tree(tmp_path, tree)
    zone = sysfs_trees.zone(root, "cpu-thermal")
    put(root, f"{zone}/temp", 71_000)
    put(root, f"{sysfs_trees.cooling(root, 'hot-surface-alert')}/cur_state", 1)
    found = read_conditions(root)
    assert found.throttling.active == {} and changed(found, found) == []
    put(root, f"{zone}/temp", 99_000)
    found = read_conditions(root)
    assert changed(found, found) == ["throttled: cpu-thermal at 99.0 °C, its passive trip point is 99.0 °C"]


def test_passive_trip_point_reached(orin: Path) -> None:
    put(orin, f"{sysfs_trees.zone(orin, 'tj-thermal')}/temp", 99_000)
    found = read_conditions(orin)
    assert changed(found, found) == ["throttled: tj-thermal at 99.0 °C, its passive trip point is 99.0 °C"]


def test_loose_clock_counts_where_it_does_the_work(orin_nx: Path) -> None:
    before = read_conditions(orin_nx)
    put(orin_nx, f"{GPU_CLOCK}/cur_freq", 306_000_000)
    put(orin_nx, f"{POLICY}/scaling_cur_freq", 729_600)
    after = read_conditions(orin_nx)
    assert changed(before, after, on_gpu=True) == ["gpu clock 17000000.gpu 408 became 306 MHz"]
    assert changed(before, after, on_gpu=False) == []


def test_clock_that_disappears(orin: Path) -> None:
    before = read_conditions(orin)
    for file in (orin / GPU_CLOCK).iterdir():
        file.unlink()
    (orin / GPU_CLOCK).rmdir()
    assert changed(before, read_conditions(orin)) == ["gpu clock 17000000.gpu is gone"]


def test_what_happened_in_between_is_told_once(orin: Path) -> None:
    readings = [read_conditions(orin)]
    alert = f"{sysfs_trees.cooling(orin, 'gpu-throttle-alert')}/cur_state"
    for state, events in ((1, 5), (2, 9), (0, 9)):
        put(orin, alert, state)
        put(orin, "sys/class/hwmon/hwmon5/oc3_event_cnt", events)
        readings.append(read_conditions(orin))
    assert changed(readings[0], readings[-1]) == ["throttled: instantaneous over-current (oc3), 5 events"]
    assert instabilities(readings) == [
        "throttled: gpu-throttle-alert is at work (state 2)",
        "throttled: instantaneous over-current (oc3), 5 events",
    ]


def test_mode_without_a_name_and_without_a_file(orin: Path) -> None:
    (orin / "etc/nvpmodel.conf").unlink()
    mode = read_conditions(orin).power_mode
    assert mode == PowerMode(0, None) and str(mode) == "id 0"
    (orin / "var/lib/nvpmodel/status").unlink()
    assert read_conditions(orin).power_mode is None
