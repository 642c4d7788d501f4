"""Rails and their total from sysfs trees, and sampling them."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sysfs_trees
from sysfs_trees import put, write_tree

from edgeexport.device.power import find_rails
from edgeexport.device.power_sampler import PowerSample, power_csv, sampled
from edgeexport.errors import MeasurementError


def test_agx_orin_total_counts_nothing_twice(tmp_path: Path) -> None:
    rails = find_rails(write_tree(tmp_path, "agx_orin"))
    watts = rails.watts()
    assert list(watts) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]  # no NC, no sum of shunts
    assert watts["VDD_GPU_SOC"] == pytest.approx(0.843 * 6.170)
    assert watts["VDDQ_VDD2_1V8AO"] == pytest.approx(1.800 * 0.341)
    assert rails.total == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    assert rails.total_watts(watts) == pytest.approx(0.843 * 6.170 + 0.780 * 3.437 + 4.968 * 0.953)
    assert rails.update_interval_ms == 430 and rails.rails[0].samples == 512


def test_orin_nx_total_is_the_input(tmp_path: Path) -> None:
    rails = find_rails(write_tree(tmp_path, "orin_nx"))
    watts = rails.watts()
    assert set(watts) == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}
    assert rails.total_watts(watts) == watts["VDD_IN"] == pytest.approx(5.008 * 1.856)


def test_thor_total_is_the_input(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/hwmon/hwmon1/name", "ina238")
    put(tmp_path, "sys/class/hwmon/hwmon1/in1_label", "VIN")
    put(tmp_path, "sys/class/hwmon/hwmon1/power1_input", 23_500_000)
    put(tmp_path, "sys/class/hwmon/hwmon2/name", "ina3221")
    for channel, name in enumerate(("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"), start=1):
        put(tmp_path, f"sys/class/hwmon/hwmon2/in{channel}_label", name)
        put(tmp_path, f"sys/class/hwmon/hwmon2/in{channel}_input", 19_700)
        put(tmp_path, f"sys/class/hwmon/hwmon2/curr{channel}_input", 200)
    rails = find_rails(tmp_path)
    assert rails.total_watts(rails.watts()) == pytest.approx(23.5) and rails.update_interval_ms is None


def test_no_rails(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"holds no power sensor.*leave out --power"):
        find_rails(write_tree(tmp_path, "none"))
    with pytest.raises(MeasurementError, match="holds no power sensor"):
        find_rails(tmp_path / "nothing")


def test_unknown_rails_are_not_added_up(tmp_path: Path) -> None:
    root = write_tree(tmp_path, "agx_orin")
    put(root, f"{sysfs_trees.sensor(root, 'ina3221')}/in1_label", "VDD_SOMETHING")
    with pytest.raises(MeasurementError, match=r"VDD_SOMETHING.*not known what adds up"):
        find_rails(root)


def test_disabled_channel_is_no_rail(tmp_path: Path) -> None:
    root = write_tree(tmp_path, "orin_nx")
    put(root, f"{sysfs_trees.sensor(root, 'ina3221')}/in3_enable", 0)
    assert [rail.name for rail in find_rails(root).rails] == ["VDD_IN", "VDD_CPU_GPU_CV"]


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(tmp_path, "orin_nx")
    file = root / sysfs_trees.sensor(root, "ina3221") / "curr1_input"
    file.chmod(0)
    if os.access(file, os.R_OK):  # the superuser may read everything
        read = Path.read_text

        def refuse(path: Path, *arguments: object, **options: object) -> str:
            if path == file:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(MeasurementError, match=r"curr1_input \| may not be read by this user \| .*sudo") as error:
        find_rails(root)
    assert error.value.exit_code == 6


def test_sensor_without_a_number(tmp_path: Path) -> None:
    root = write_tree(tmp_path, "orin_nx")
    rails = find_rails(root)
    put(root, f"{sysfs_trees.sensor(root, 'ina3221')}/in1_input", "")
    with pytest.raises(MeasurementError, match="VDD_IN gives no number"):
        rails.watts()


def test_sampling_follows_the_sensor(tmp_path: Path) -> None:
    root = write_tree(tmp_path, "orin_nx")
    rails = find_rails(root)
    current = f"{sysfs_trees.sensor(root, 'ina3221')}/curr1_input"
    begin = time.perf_counter()
    with sampled(rails, period_s=0.01) as samples:
        _wait_until(lambda: len(samples) >= 3)
        fresh = tmp_path / "fresh"
        fresh.write_text("4000\n")
        fresh.replace(root / current)  # at once, as a sensor does: no reader sees half a number
        changed = len(samples) + 1  # one may have been under way
        _wait_until(lambda: len(samples) >= changed + 2)
        end = time.perf_counter()
    times = [sample.seconds for sample in samples]
    assert times == sorted(times) and begin <= times[0] and times[-1] >= end  # the last is taken when the block ends
    assert samples[0].total_watts == pytest.approx(5.008 * 1.856)
    assert all(sample.total_watts == pytest.approx(5.008 * 4.0) for sample in samples[changed:])


def test_period_is_kept(tmp_path: Path) -> None:
    rails = find_rails(write_tree(tmp_path, "orin_nx"))
    with sampled(rails, period_s=0.2) as samples:
        time.sleep(0.5)
    assert 2 <= len(samples) <= 4  # at 0, 0.2 and 0.4 s, and at the end


def _wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + 60
    while not reached():
        assert time.perf_counter() < deadline
        time.sleep(0.002)


def test_sensor_that_fails_while_sampling(tmp_path: Path) -> None:
    root = write_tree(tmp_path, "orin_nx")
    rails = find_rails(root)
    with pytest.raises(MeasurementError, match="gives no number"), sampled(rails, period_s=0.01):
        (root / sysfs_trees.sensor(root, "ina3221") / "in2_input").unlink()
        time.sleep(0.05)


def test_csv(tmp_path: Path) -> None:
    rails = find_rails(write_tree(tmp_path, "agx_orin"))
    watts = rails.watts()
    idle = [PowerSample(100.0 + 0.1 * n, watts, rails.total_watts(watts)) for n in range(3)]
    load = [PowerSample(101.0 + 0.1 * n, watts, rails.total_watts(watts)) for n in range(2)]
    text = power_csv(rails, [("idle", idle), ("load", load)])
    rows = list(csv.DictReader(text.splitlines()))
    assert text.endswith("\n") and "\r" not in text
    assert [row["phase"] for row in rows] == ["idle"] * 3 + ["load"] * 2
    assert [float(row["seconds"]) for row in rows] == pytest.approx([0.0, 0.1, 0.2, 1.0, 1.1])
    assert float(rows[0]["VDDQ_VDD2_1V8AO_w"]) == pytest.approx(0.6138)
    assert float(rows[0]["total_w"]) == pytest.approx(sum(watts[name] for name in rails.total), abs=1e-6)
