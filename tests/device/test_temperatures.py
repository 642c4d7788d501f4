"""From which temperature on a thermal zone slows the device: its trip points, and what is bound to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sysfs_trees import put

from edgeexport.device.temperatures import read_temperatures

ZONE = "sys/class/thermal/thermal_zone0"


def passive_trip(root: Path, trips: list[tuple[str, int]], bound: list[tuple[str, int]]) -> float | None:
    """What is read of a zone with these trip points (type, degrees) and cooling devices (type, trip point's number)."""
    put(root, f"{ZONE}/type", "cpu-thermal")
    put(root, f"{ZONE}/temp", 71_000)
    for number, (kind, degrees) in enumerate(trips):
        put(root, f"{ZONE}/trip_point_{number}_type", kind)
        put(root, f"{ZONE}/trip_point_{number}_temp", degrees * 1000)
    for number, (kind, trip) in enumerate(bound):
        put(root, f"sys/class/thermal/cooling_device{number + 5}/type", kind)
        # A link, as on a device.
        (root / ZONE / f"cdev{number}").symlink_to(f"../cooling_device{number + 5}")
        put(root, f"{ZONE}/cdev{number}_trip_point", trip)
    (found,) = read_temperatures(root)
    assert found.throttles == (found.passive_c is not None and found.passive_c <= 71)
    return found.passive_c


ORIN = [("passive", 99), ("critical", 104), ("passive", 70)]


@pytest.mark.parametrize(
    ("trips", "bound", "expected"),
    [
        (ORIN, [("cpufreq-cpu0", 0), ("cpu-throttle-alert", 0), ("hot-surface-alert", 2)], 99),
        (ORIN, [("hot-surface-alert", 2), ("cpufreq-cpu0", 0), ("cpufreq-cpu4", 2)], 70),
        (ORIN, [], 99),  # an older kernel, or a container that does not show what is bound
        (ORIN, [("hot-surface-alert", 2)], 99),
        (ORIN, [("pwm-fan", 0), ("hot-surface-alert", 2)], None),
        ([("passive", 70)], [("hot-surface-alert", 0)], None),
        ([("passive", 70)], [("hot-surface-alert", 0), ("devfreq-17000000.gpu", 0)], 70),
        ([("passive", 70), ("passive", 85)], [("something new", 0)], 85),
        ([("passive", 70), ("passive", 85)], [("something new", 0), ("Processor", 0)], 70),
        ([("passive", 70)], [("thermal-cpufreq-0", -1)], 70),  # bound to no trip point
        ([("active", 50), ("critical", 104)], [("cpufreq-cpu0", 0)], None),
        ([("passive", 0), ("passive", -274)], [("cpufreq-cpu0", 0)], None),  # not set
    ],
)
def test_trip_point_that_slows_the_device(
    tmp_path: Path, trips: list[tuple[str, int]], bound: list[tuple[str, int]], expected: float | None
) -> None:
    assert passive_trip(tmp_path, trips, bound) == expected
