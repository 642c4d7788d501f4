"""Temperatures of the kernel's thermal zones, and where the kernel begins to slow the device for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.sysfs import number_of, numbered, text_of
from edgeexport.device.throttling import costs_no_speed, slows

__all__ = ["Temperature", "read_temperatures"]

# Readings outside are those of sensors without power: -256 degrees of a Jetson's idle accelerators.
_PLAUSIBLE_C = (-50.0, 200.0)


@dataclass(frozen=True)
class Temperature:
    """A thermal zone: its type as name (with its folder's, where two share a type), in degrees Celsius.

    ``passive_c`` is the passive trip point from which on the kernel slows the device; None without one.
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
    temperatures = []
    for zone, kind in zip(zones, types, strict=True):
        millidegrees = number_of(zone / "temp")
        if millidegrees is None or not _PLAUSIBLE_C[0] <= millidegrees / 1000 <= _PLAUSIBLE_C[1]:
            continue
        name = kind if types.count(kind) == 1 else f"{kind} ({zone.name})"
        temperatures.append(Temperature(name, millidegrees / 1000, _passive_trip(zone)))
    return tuple(temperatures)


def _passive_trip(zone: Path) -> float | None:
    """The lowest passive trip point that a slowing cooling device is bound to.

    A passive trip point alone tells nothing: at that of 70 degrees a Jetson Orin only warns of its hot surface, and slows
    down at that of 99. Where no slowing device is bound the highest counts, leaving out those that do nothing but warn.
    """
    trips = _passive_trips(zone)
    devices = _bound_devices(zone)
    slowing = [degrees for number, degrees in trips.items() if any(map(slows, devices.get(number, ())))]
    if slowing:
        return min(slowing)
    harmless = {number for number, kinds in devices.items() if all(map(costs_no_speed, kinds))}
    return max((degrees for number, degrees in trips.items() if number not in harmless), default=None)


def _passive_trips(zone: Path) -> dict[int, float]:
    """Number of a passive trip point -> degrees Celsius."""
    trips = {}
    number = 0
    while (kind := text_of(zone / f"trip_point_{number}_type")) is not None:
        degrees = number_of(zone / f"trip_point_{number}_temp")
        # Drivers give unset trip points a temperature of zero or below.
        if kind == "passive" and degrees is not None and degrees > 0:
            trips[number] = degrees / 1000
        number += 1
    return trips


def _bound_devices(zone: Path) -> dict[int, list[str]]:
    """Number of a trip point -> types of the cooling devices that come to work there: ``cdev0``, a link to the device,
    and ``cdev0_trip_point``, and so on. A device that is bound to several trip points is listed once for each."""
    kinds_of_trip: dict[int, list[str]] = {}
    for device in numbered(zone, "cdev"):
        trip, kind = number_of(zone / f"{device.name}_trip_point"), text_of(device / "type")
        if trip is not None and kind:
            kinds_of_trip.setdefault(trip, []).append(kind)
    return kinds_of_trip
