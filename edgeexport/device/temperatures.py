"""Temperatures of the kernel's thermal zones, and where the kernel begins to slow the device for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.sysfs import number_of, numbered, text_of

__all__ = ["Temperature", "read_temperatures"]

# Readings outside are those of sensors without power: -256 degrees of a Jetson's idle accelerators.
_PLAUSIBLE_C = (-50.0, 200.0)


@dataclass(frozen=True)
class Temperature:
    """A thermal zone: its type as name (with its folder's, where two share a type), in degrees Celsius.

    ``passive_c`` is the lowest of its passive trip points, from which on the kernel slows the device; None without one.
    """

    name: str
    celsius: float
    passive_c: float | None

    @property
    def throttles(self) -> bool:
        """Whether the passive trip point is reached."""
        return self.passive_c is not None and self.celsius >= self.passive_c


def read_temperatures(root: Path = Path("/")) -> tuple[Temperature, ...]:
    """Reads every zone that has a plausible temperature, in the kernel's order."""
    zones = list(numbered(root / "sys/class/thermal", "thermal_zone"))
    types = [text_of(zone / "type") or zone.name for zone in zones]
    found = []
    for zone, kind in zip(zones, types, strict=True):
        millidegrees = number_of(zone / "temp")
        if millidegrees is None or not _PLAUSIBLE_C[0] <= millidegrees / 1000 <= _PLAUSIBLE_C[1]:
            continue
        name = kind if types.count(kind) == 1 else f"{kind} ({zone.name})"
        found.append(Temperature(name, millidegrees / 1000, _passive_trip(zone)))
    return tuple(found)


def _passive_trip(zone: Path) -> float | None:
    trips = []
    number = 0
    while (kind := text_of(zone / f"trip_point_{number}_type")) is not None:
        degrees = number_of(zone / f"trip_point_{number}_temp")
        # Drivers give unset trip points a temperature of zero or below.
        if kind == "passive" and degrees is not None and degrees > 0:
            trips.append(degrees / 1000)
        number += 1
    return min(trips, default=None)
