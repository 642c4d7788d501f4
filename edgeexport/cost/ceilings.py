"""What a device can do at most: products per second by dtype, memory rate, time to launch a kernel; each with its source.

Rates of Jetson modules: peaks from NVIDIA's documents (streaming multiprocessors x clock x operations), times the share of
the peak that was reported as measured on a Jetson AGX Orin in its fastest mode. Where nobody measured, the figure says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeexport.device.targets import target_named
from edgeexport.errors import UsageError, nearest_hint

__all__ = [
    "ASSUMED",
    "DERIVED",
    "MEASURED",
    "PUBLISHED",
    "Ceiling",
    "Ceilings",
    "ceilings_of",
    "gpu_misfit",
    "multiprocessors_and_mhz",
    "power_mode_named",
    "power_modes",
]

MEASURED, PUBLISHED, DERIVED, ASSUMED = "measured", "published", "derived", "assumed"


@dataclass(frozen=True)
class Ceiling:
    """One limit: its value, and where that comes from.

    ``kind`` is 'measured' (here), 'published' (measured by others on such a device in such a mode), 'derived' (from a peak,
    by the share that was measured elsewhere) or 'assumed'.
    """

    value: float
    kind: str
    source: str


@dataclass(frozen=True)
class Ceilings:
    """The limits of a device in one power mode.

    Attributes:
        target: As in `edgeexport.device.targets.TARGETS`.
        power_mode: NVIDIA's name of the mode; empty where there are none.
        giga_macs_per_s: dtype of a product's operands -> 1e9 multiply-accumulates per second. 'tfloat32' is float32
            rounded to ten bits of mantissa on its way into the matrix units.
        gigabytes_per_s: Memory rate in 1e9 bytes per second.
        launch_us: From one kernel to the next at least, in microseconds.
        value_ns: Operator -> nanoseconds per value, for operators that the runtime computes value by value, far below
            the memory rate (ONNX Runtime's ArgMax and Resize on a CPU); empty where none is known.
    """

    target: str
    power_mode: str
    giga_macs_per_s: Mapping[str, Ceiling]
    gigabytes_per_s: Ceiling
    launch_us: Ceiling
    value_ns: Mapping[str, Ceiling] = field(default_factory=dict)

    def product_rate(self, dtype: str) -> float:
        """Multiply-accumulates per second of products in ``dtype``.

        Raises:
            UsageError: Nothing is known of that dtype here.
        """
        rate = self.giga_macs_per_s.get({"bfloat16": "float16", "uint8": "int8"}.get(dtype, dtype))
        if rate is None:
            known = ", ".join(self.giga_macs_per_s)
            raise UsageError(f"--target {self.target}", f"no rate of {dtype} products is known, only of {known}")
        return rate.value * 1e9

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass(frozen=True)
class _Mode:
    """Streaming multiprocessors, their clock in MHz, and the memory's peak rate in GB/s."""

    multiprocessors: int
    mhz: int
    gigabytes_per_s: float


_AMPERE = {"float32": 256, "tfloat32": 1024, "float16": 2048, "int8": 4096}
"""Floating-point or integer operations per multiprocessor and clock, dense; a multiply-accumulate is two."""

# Thor's float16 rate is published (258 TFLOPS dense); that float32 is what Ampere does per clock is assumed.
_THOR = {"float32": 256, "float16": 8192}
_OPERATIONS = {"orin": _AMPERE, "orin-32gb": _AMPERE, "orin-nx": _AMPERE, "orin-nano": _AMPERE, "thor": _THOR}

_MODES: dict[str, dict[str, _Mode]] = {
    "orin": {
        "MAXN": _Mode(16, 1301, 204.8),
        "50W": _Mode(16, 816, 204.8),
        "30W": _Mode(8, 612, 204.8),
        "15W": _Mode(6, 408, 136.5),
    },
    # Of its other modes no clocks are known to us; they are not those of 64 GB.
    "orin-32gb": {"MAXN": _Mode(14, 930, 204.8)},
    "orin-nx": {"MAXN_SUPER": _Mode(8, 1173, 102.4), "MAXN": _Mode(8, 918, 102.4)},
    "orin-nano": {"MAXN_SUPER": _Mode(8, 1020, 102.4), "15W": _Mode(8, 625, 68.0)},
    "thor": {"MAXN": _Mode(20, 1575, 273.0)},
}

# The GPU's clock moves in steps, which differ from NVIDIA's tables by up to 3 per cent: an AGX Orin has 420.75 for 408 MHz.
_CLOCK_TOLERANCE = 0.04

_REPORTED = "reported measurements on Jetson AGX Orin 64GB, MAXN"
# What was reported there, in TFLOPS and GB/s, of the peak in that mode; the middle of a reported range.
_PUBLISHED_TFLOPS = {"float32": (5.0, "4.8 to 5.2 TFLOPS"), "float16": (33.5, "33 to 34 TFLOPS in bfloat16")}
_PUBLISHED_GIGABYTES = 152.8
_LAUNCH_US = 5.0


def power_modes(target: str) -> tuple[str, ...]:
    """Names of the power modes whose limits are known, the fastest first; none for a device without fixed rates.

    For a PC's GPU or CPU nothing is known ahead: `edgeexport.profile.measured_ceilings` measures.
    """
    return tuple(_MODES.get(target, ()))


def multiprocessors_and_mhz(target: str, power_mode: str) -> tuple[int, int]:
    """Streaming multiprocessors that are switched on, and their clock, in one of `power_modes`."""
    mode = _MODES[target][power_mode]
    return mode.multiprocessors, mode.mhz


def power_mode_named(target: str, name: str | None) -> str | None:
    """The mode of `power_modes` that nvpmodel calls ``name`` ('MODE_30W' is 30W); None where its limits are not known."""
    wanted = (name or "").upper().removeprefix("MODE_")
    return wanted if wanted in _MODES.get(target, ()) else None


def gpu_misfit(target: str, power_mode: str, model: str, *, multiprocessors: int | None, hertz: int | None) -> str:
    """Why the limits of a mode are not those of the GPU at hand; empty if they are.

    Modules of one name come in variants, with modes of one name: in MAXN a Jetson AGX Orin 32GB has 14 multiprocessors at
    930 MHz, one of 64 GB, for which the limits here hold, 16 at 1301 MHz. Their models do not always tell.

    Args:
        target, power_mode: Among `power_modes`.
        model: What the machine calls itself.
        multiprocessors: Of its GPU, those that are switched on; None if unknown.
        hertz: The highest clock that is set for the GPU; None if unknown.
    """
    mode, known = _MODES[target][power_mode], target_named(target)
    title, size = known.title, f"{known.memory_gb}gb"
    if multiprocessors is not None and multiprocessors != mode.multiprocessors:
        expected = f"a {title} in {power_mode} has {mode.multiprocessors}"
        other = _as_built(target, multiprocessors)
        return f"the GPU has {multiprocessors} multiprocessors switched on, {expected}{other}"
    if hertz is not None and abs(hertz / 1e6 - mode.mhz) > _CLOCK_TOLERANCE * mode.mhz:
        expected = f"{mode.mhz} MHz of a {title} in {power_mode}"
        return f"the GPU's clock is limited to {hertz / 1e6:.0f} MHz, not to the {expected}"
    if multiprocessors is None and hertz is None and size not in model.lower().replace(" ", ""):
        return (
            f"nothing tells whether this {model} is a {title}: neither multiprocessors nor clock of its GPU are known"
        )
    return ""


def _as_built(target: str, multiprocessors: int) -> str:
    """Which other module of the same model, in its fastest mode, has so many; empty where none has."""
    models = target_named(target).jetson_models
    for name, modes in _MODES.items():
        other = target_named(name)
        count = next(iter(modes.values())).multiprocessors
        if name != target and other.jetson_models == models and count == multiprocessors:
            return f"; so many has a {other.title}: --target {name}"
    return ""


def ceilings_of(target: str, power_mode: str = "") -> Ceilings:
    """The limits of a Jetson.

    Args:
        target: 'orin', 'orin-32gb', 'orin-nx', 'orin-nano' or 'thor'.
        power_mode: One of `power_modes`; empty takes the fastest.

    Raises:
        UsageError: Nothing is known of that target or mode.
    """
    modes = _MODES.get(target)
    if modes is None:
        raise UsageError(
            f"--target {target}", "has no published rates to predict from", f"known for {', '.join(_MODES)}"
        )
    name = power_mode or next(iter(modes))
    if name not in modes:
        raise UsageError(f"power mode {name}", f"unknown for {target}", nearest_hint(name, modes))
    mode = modes[name]
    published = (target, name) == ("orin", "MAXN")
    return Ceilings(
        target=target,
        power_mode=name,
        giga_macs_per_s={dtype: _product_ceiling(target, dtype, mode, published) for dtype in _OPERATIONS[target]},
        gigabytes_per_s=_memory_ceiling(mode, published),
        launch_us=Ceiling(_LAUNCH_US, ASSUMED, "not measured on a Jetson; a CUDA graph lowers it"),
    )


def _product_ceiling(target: str, dtype: str, mode: _Mode, published: bool) -> Ceiling:
    operations = _OPERATIONS[target][dtype]
    peak = mode.multiprocessors * mode.mhz * 1e6 * operations / 1e12
    if published and dtype in _PUBLISHED_TFLOPS:
        value, text = _PUBLISHED_TFLOPS[dtype]
        return Ceiling(value / 2 * 1e3, PUBLISHED, f"{_REPORTED}: {text} of {peak:.1f}")
    like = "float32" if dtype == "float32" else "float16"
    orin = _MODES["orin"]["MAXN"]
    share = _PUBLISHED_TFLOPS[like][0] / (orin.multiprocessors * orin.mhz * 1e6 * _AMPERE[like] / 1e12)
    unit = "TOPS" if dtype == "int8" else "TFLOPS"
    peak_text = (
        f"peak {peak:.2f} {unit} ({mode.multiprocessors} multiprocessors x {mode.mhz} MHz x {operations} operations)"
    )
    guess = ", operations per clock assumed to be Ampere's" if (target, dtype) == ("thor", "float32") else ""
    kind = ASSUMED if guess else DERIVED
    return Ceiling(peak * share / 2 * 1e3, kind, f"{peak_text}{guess} x {share:.2f}, the {like} share of {_REPORTED}")


def _memory_ceiling(mode: _Mode, published: bool) -> Ceiling:
    peak = _MODES["orin"]["MAXN"].gigabytes_per_s
    if published:
        return Ceiling(_PUBLISHED_GIGABYTES, PUBLISHED, f"{_REPORTED}: {_PUBLISHED_GIGABYTES} GB/s read, of {peak}")
    share = _PUBLISHED_GIGABYTES / peak
    text = f"peak {mode.gigabytes_per_s} GB/s x {share:.2f}, the share of {_REPORTED}"
    return Ceiling(mode.gigabytes_per_s * share, DERIVED, text)
