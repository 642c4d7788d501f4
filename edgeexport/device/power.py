"""Power rails of a Jetson: which there are, what they draw now, and which of them add up to the whole.

Read from hwmon sysfs: INA3221 sensors (in1_label, in1_input in mV, curr1_input in mA; Linux Documentation/hwmon/ina3221)
and Thor's INA238 (power1_input in µW). Power is voltage times current, as tegrastats computes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.sysfs import number_of, numbered, text_of
from edgeexport.errors import MeasurementError

__all__ = ["TOTALS", "Rail", "Rails", "find_rails"]

TOTALS: dict[str, tuple[str, ...]] = {
    # VDDQ_VDD2_1V8AO is drawn from VIN_SYS_5V0, so that adding it would count it twice.
    "Jetson AGX Orin module": ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    # VDD_CPU_GPU_CV and VDD_SOC are drawn from VDD_IN.
    "Jetson Orin NX or Nano module": ("VDD_IN",),
    # The INA238 before everything else; VDD_GPU, VDD_CPU_SOC_MSS and VIN_SYS_5V0 are drawn from it.
    "Jetson Thor developer kit, carrier board included": ("VIN",),
}
"""What a total covers -> the rails that add up to it (Jetson Linux Developer Guide, system power measurement)."""

_CHANNELS = (1, 2, 3)
_UNCONNECTED = ("", "NC")


@dataclass(frozen=True)
class Rail:
    """One rail of a power sensor.

    Attributes:
        name: Its label, such as 'VDD_GPU_SOC'.
        files: The sensor's files whose product is the power in microwatts: millivolts and milliamperes, or itself.
        samples: Conversions that the sensor averages; None where it does not tell.
        update_interval_ms: Time of one such average; None likewise.
    """

    name: str
    files: tuple[Path, ...]
    samples: int | None
    update_interval_ms: int | None

    def watts(self) -> float:
        """Power now, in watts. Takes about 0.5 ms for each file on a Jetson: the sensor is on an I2C bus.

        Raises:
            MeasurementError: The sensor cannot be read.
        """
        product = 1e-6
        for file in self.files:
            try:
                product *= int(file.read_text())
            except PermissionError:
                remedy = f"run as a user who may read it (ls -l {file.parent}), or with sudo"
                raise MeasurementError(str(file), "may not be read by this user", remedy) from None
            except (OSError, ValueError) as error:
                raise MeasurementError(
                    str(file), f"the sensor of rail {self.name} gives no number ({error})", "leave out --power"
                ) from None
        return product


@dataclass(frozen=True)
class Rails:
    """The rails of a device, and those of them that add up to ``covers``."""

    rails: tuple[Rail, ...]
    total: tuple[str, ...]
    covers: str

    @property
    def update_interval_ms(self) -> int | None:
        """The longest averaging time of the sensors; None if none tells."""
        return max(
            (rail.update_interval_ms for rail in self.rails if rail.update_interval_ms is not None), default=None
        )

    def watts(self) -> dict[str, float]:
        """Rail name -> power in watts, in the order of the rails.

        Raises:
            MeasurementError: A sensor cannot be read.
        """
        return {rail.name: rail.watts() for rail in self.rails}

    def total_watts(self, watts: dict[str, float]) -> float:
        """Power of the whole, from what `watts` gave."""
        return sum(watts[name] for name in self.total)


def find_rails(root: Path = Path("/")) -> Rails:
    """Finds the rails, and reads each once.

    Args:
        root: Where /sys is.

    Raises:
        MeasurementError: There are none, none may be read, or it is not known which of them add up to the whole.
    """
    rails = tuple(_rails(root))
    where = str(root / "sys/class/hwmon")
    if not rails:
        raise MeasurementError(
            where,
            "holds no power sensor with labelled rails (ina3221, ina238), expected those of a Jetson",
            "leave out --power on this machine; in a container mount /sys",
        )
    names = {rail.name for rail in rails}
    for covers, total in TOTALS.items():
        if names.issuperset(total):
            whole = Rails(rails, total, covers)
            whole.watts()
            return whole
    known = "; ".join(" + ".join(total) for total in TOTALS.values())
    raise MeasurementError(
        where,
        f"holds the rails {', '.join(sorted(names))}, of which it is not known what adds up to the whole "
        f"(known: {known})",
        "leave out --power on this device",
    )


def _rails(root: Path) -> list[Rail]:
    rails: list[Rail] = []
    for sensor in numbered(root / "sys/class/hwmon", "hwmon"):
        kind = text_of(sensor / "name")
        if kind not in ("ina3221", "ina238"):
            continue
        averaging = number_of(sensor / "samples"), number_of(sensor / "update_interval")
        for channel in _CHANNELS if kind == "ina3221" else (1,):
            # in7_label, 'sum of shunt voltages', is no rail.
            name = text_of(sensor / f"in{channel}_label") or ""
            if name in _UNCONNECTED or number_of(sensor / f"in{channel}_enable") == 0:
                continue
            inputs = (f"in{channel}_input", f"curr{channel}_input") if kind == "ina3221" else ("power1_input",)
            rails.append(Rail(name, tuple(sensor / file for file in inputs), *averaging))
    return rails
