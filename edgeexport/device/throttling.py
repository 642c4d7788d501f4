"""Signs that a device is being slowed down: thermal cooling devices in use, and counters of power and thermal events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeexport.device.sysfs import number_of, numbered, text_of

__all__ = ["Throttling", "costs_no_speed", "read_throttling", "slows"]

# Cooling devices that cost speed. A Jetson's *-throttle-alert devices do not act but tell that something else (BPMP
# firmware) does. Kernels before 5.12 write thermal-cpufreq-0 where later ones write cpufreq-cpu0.
_SLOWING = re.compile(r"-throttle-alert$|^(thermal-)?(cpufreq|devfreq)-|^Processor$")
# Fans, and a Jetson's warning that its case may be too hot to touch: from 70 degrees on, far below where it slows down.
_HARMLESS = re.compile(r"fan|^hot-surface-alert$", re.IGNORECASE)
# Jetson Linux Developer Guide, Jetson Orin, "Over-current throttling".
_OVER_CURRENT = {1: "under-voltage (oc1)", 2: "average over-current (oc2)", 3: "instantaneous over-current (oc3)"}


@dataclass(frozen=True)
class Throttling:
    """What slows the device.

    Attributes:
        active: Cooling device that costs speed -> its state, where that is above zero: it is slowed right now.
        events: Counter -> events since the system started. Only their growth means something.
    """

    active: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)


def slows(kind: str) -> bool:
    """Whether a cooling device of this type is known to cost speed when it is at work."""
    return _SLOWING.search(kind) is not None


def costs_no_speed(kind: str) -> bool:
    """Whether one of this type is known to cost none. Of an unknown type neither is known."""
    return _HARMLESS.search(kind) is not None


def read_throttling(root: Path = Path("/")) -> Throttling:
    """Reads cooling devices, a Jetson's over-current counters (soctherm_oc) and an x86 processor's throttle counters."""
    return Throttling(_active(root), {**_over_current_events(root), **_processor_events(root)})


def _active(root: Path) -> dict[str, int]:
    states: dict[str, int] = {}
    for device in numbered(root / "sys/class/thermal", "cooling_device"):
        kind, state = text_of(device / "type") or "", number_of(device / "cur_state")
        if state is not None and state > 0 and slows(kind):
            states[kind] = max(state, states.get(kind, 0))
    return states


def _over_current_events(root: Path) -> dict[str, int]:
    events: dict[str, int] = {}
    for sensor in numbered(root / "sys/class/hwmon", "hwmon"):
        if text_of(sensor / "name") == "soctherm_oc":
            counts = {name: number_of(sensor / f"oc{number}_event_cnt") for number, name in _OVER_CURRENT.items()}
            events.update({name: count for name, count in counts.items() if count is not None})
    return events


def _processor_events(root: Path) -> dict[str, int]:
    """Thermal events of x86 processors, summed over cores; packages are counted once for each of their cores."""
    names = {"core": "processor cores too hot", "package": "processor package too hot"}
    events: dict[str, int] = {}
    for cpu in numbered(root / "sys/devices/system/cpu", "cpu"):
        for part, name in names.items():
            count = number_of(cpu / f"thermal_throttle/{part}_throttle_count")
            if count is not None:
                events[name] = events.get(name, 0) + count
    return events
