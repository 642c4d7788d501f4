"""The conditions under which a device is measured, and what must not change about them while it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeexport.device.clocks import GPU, MEMORY, Clock, read_clocks
from edgeexport.device.discrete_gpu import read_discrete_gpu
from edgeexport.device.power_mode import PowerMode, read_power_mode
from edgeexport.device.sysfs import text_of
from edgeexport.device.temperatures import Temperature, read_temperatures
from edgeexport.device.throttling import Throttling, read_throttling

__all__ = ["LARGEST_RISE_K", "Conditions", "changed", "instabilities", "read_conditions"]

LARGEST_RISE_K = 15.0
"""A rise beyond this says that the device was cold when the measurement began: leakage and fan were not those of work."""

# cpufreq drivers that measure the clock differ from the pinned value by some tenths of a per cent; a GPU of a PC moves by
# steps of one per cent while it works.
_PINNED_TOLERANCE, _LOOSE_TOLERANCE = 0.02, 0.05


@dataclass(frozen=True)
class Conditions:
    """One reading. What the machine does not tell is None or empty.

    Attributes:
        power_mode: A Jetson's nvpmodel mode.
        online_cpus: Such as '0-11'; power modes switch cores off.
        clocks, temperatures, throttling: See their classes.
        load_average: Runnable processes over the last minute, this one's threads included. Told, not judged.
    """

    power_mode: PowerMode | None
    online_cpus: str | None
    clocks: tuple[Clock, ...]
    temperatures: tuple[Temperature, ...]
    throttling: Throttling
    load_average: float | None

    @property
    def known(self) -> bool:
        """Whether the machine tells anything by which a slowed run could be noticed."""
        return bool(self.power_mode or self.clocks or self.temperatures or self.throttling.events)

    @property
    def loose_clocks(self) -> tuple[str, ...]:
        """Clocks of GPU and CPU that the system may move: those not pinned."""
        return tuple(clock.name for clock in self.clocks if clock.min_hz is not None and not clock.pinned)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        facts = asdict(self)
        for clock, entry in zip(self.clocks, facts["clocks"], strict=True):
            entry["pinned"] = clock.pinned
        return facts


def read_conditions(root: Path = Path("/"), *, discrete_gpu: bool = True) -> Conditions:
    """Reads the conditions from sysfs, procfs and nvpmodel's files, and of a PC's GPU from nvidia-smi.

    Takes some milliseconds, with nvidia-smi some tens.

    Args:
        root: Where /sys, /proc, /var and /etc are; nvidia-smi is asked only on the running system.
        discrete_gpu: Whether to ask it.
    """
    load = (text_of(root / "proc/loadavg") or "").split()
    clocks, temperatures, throttling = read_clocks(root), read_temperatures(root), read_throttling(root)
    integrated = any(clock.drives == GPU for clock in clocks)
    gpu = read_discrete_gpu() if discrete_gpu and not integrated and root == Path("/") else None
    if gpu is not None:
        clocks, temperatures = (*clocks, *gpu.clocks), (*temperatures, *gpu.temperatures)
        throttling = replace(throttling, active={**throttling.active, **dict.fromkeys(gpu.slowdowns, 1)})
    return Conditions(
        power_mode=read_power_mode(root),
        online_cpus=text_of(root / "sys/devices/system/cpu/online"),
        clocks=clocks,
        temperatures=temperatures,
        throttling=throttling,
        load_average=float(load[0]) if load and load[0].replace(".", "", 1).isdigit() else None,
    )


def changed(before: Conditions, after: Conditions, *, on_gpu: bool = True) -> list[str]:
    """What makes a measurement between two readings invalid; empty if nothing does. See `instabilities`."""
    return instabilities([before, after], on_gpu=on_gpu)


def instabilities(readings: Sequence[Conditions], *, on_gpu: bool = True) -> list[str]:
    """What makes a measurement invalid during which these readings were taken, each once; empty if nothing does.

    That is: another power mode, set of cores, clock limit or pinned clock; a clock of GPU or memory that moved, pinned or
    not, where the GPU does the work (a moving CPU clock that is not pinned is no finding: on PCs it never rests); a zone
    that warmed by more than `LARGEST_RISE_K` or reached its passive trip point; a cooling device at work; a throttling
    event.

    Args:
        readings: In the order of time, under load: the first after the warm-up.
        on_gpu: Whether the GPU is what is measured.
    """
    messages: dict[str, str] = {}
    for number, reading in enumerate(readings):
        messages.update(_throttled(reading))
        if number:
            messages.update(_differences(readings[0], reading, on_gpu))
    return list(messages.values())


def _throttled(now: Conditions) -> dict[str, str]:
    """Key -> message; a key stands for one cause, so that it is told once."""
    messages = {
        f"active {name}": f"throttled: {name} is at work (state {state})"
        for name, state in now.throttling.active.items()
    }
    for zone in now.temperatures:
        if zone.throttles:
            messages[f"trip {zone.name}"] = (
                f"throttled: {zone.name} at {zone.celsius:.1f} °C, its passive trip point is {zone.passive_c:.1f} °C"
            )
    return messages


def _differences(first: Conditions, now: Conditions, on_gpu: bool) -> dict[str, str]:
    messages = {}
    if first.power_mode != now.power_mode:
        messages["mode"] = f"power mode {first.power_mode} became {now.power_mode}"
    if first.online_cpus != now.online_cpus:
        messages["cpus"] = f"processors in use {first.online_cpus} became {now.online_cpus}"
    clocks = {clock.name: clock for clock in now.clocks}
    for before in first.clocks:
        after = clocks.get(before.name)
        text = "is gone" if after is None else _clock_difference(before, after, on_gpu)
        if text:
            messages[f"clock {before.name}"] = f"{before.drives} clock {before.name} {text}"
    zones = {zone.name: zone for zone in now.temperatures}
    for zone in first.temperatures:
        rise = zones[zone.name].celsius - zone.celsius if zone.name in zones else 0.0
        if rise > LARGEST_RISE_K:
            messages[f"zone {zone.name}"] = (
                f"{zone.name} warmed from {zone.celsius:.1f} to {zones[zone.name].celsius:.1f} °C, "
                f"more than {LARGEST_RISE_K:.0f} K"
            )
    for name, count in now.throttling.events.items():
        more = count - first.throttling.events.get(name, count)
        if more > 0:
            messages[f"event {name}"] = f"throttled: {name}, {more} event{'s' if more > 1 else ''}"
    return messages


def _clock_difference(before: Clock, after: Clock, on_gpu: bool) -> str:
    if (before.min_hz, before.max_hz) != (after.min_hz, after.max_hz):
        return f"limits {_range(before)} became {_range(after)}"
    judged = before.pinned or (before.drives in (GPU, MEMORY) and on_gpu)
    if not judged or before.current_hz is None or after.current_hz is None:
        return ""
    tolerance = _PINNED_TOLERANCE if before.pinned else _LOOSE_TOLERANCE
    if abs(after.current_hz - before.current_hz) <= tolerance * before.current_hz:
        return ""
    return f"{_mhz(before.current_hz)} became {_mhz(after.current_hz)} MHz"


def _range(clock: Clock) -> str:
    return f"{_mhz(clock.min_hz)}-{_mhz(clock.max_hz)} MHz"


def _mhz(hertz: int | None) -> str:
    return "?" if hertz is None else f"{hertz / 1e6:.0f}"
