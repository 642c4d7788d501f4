"""The targets that `edgeexport build --target` knows. Memory figures are NVIDIA's published ones, not measured."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.errors import UsageError, nearest_hint

__all__ = ["ONNXRUNTIME", "TARGETS", "TENSORRT", "Target", "target_named"]

TENSORRT = "tensorrt"
ONNXRUNTIME = "onnxruntime"


@dataclass(frozen=True)
class Target:
    """A device, or class of devices, that bundles are built for.

    Attributes:
        name: As given to ``--target``.
        title: For people.
        kind: What executes there: 'tensorrt' (an engine built on the device) or 'onnxruntime' (the graph itself).
        compute_capability: Of the GPU, (major, minor); None without one, or where ``--target`` leaves it open.
        memory_gb: Memory that CPU and GPU share, in 1e9 bytes; None where it is not fixed or not published to us.
        memory_gb_per_s: Its peak rate in the fastest power mode; None likewise.
        jetson_models: What /proc/device-tree/model contains on such a device, in lower case; empty for no Jetson.
    """

    name: str
    title: str
    kind: str
    compute_capability: tuple[int, int] | None = None
    memory_gb: int | None = None
    memory_gb_per_s: float | None = None
    jetson_models: tuple[str, ...] = ()

    @property
    def machine(self) -> str | None:
        """Its processor as ``platform.machine()`` gives it; None where ``--target`` leaves it open."""
        return "aarch64" if self.jetson_models else None

    @property
    def needs_tensorrt(self) -> bool:
        """Whether the build has to satisfy TensorRT: its operator rules and the TensorRT-RTX check."""
        return self.kind == TENSORRT


TARGETS: dict[str, Target] = {
    "orin": Target("orin", "Jetson AGX Orin 64GB", TENSORRT, (8, 7), 64, 204.8, ("agx orin",)),
    "orin-32gb": Target("orin-32gb", "Jetson AGX Orin 32GB", TENSORRT, (8, 7), 32, 204.8, ("agx orin",)),
    "orin-nx": Target("orin-nx", "Jetson Orin NX 16GB", TENSORRT, (8, 7), 16, 102.4, ("orin nx",)),
    "orin-nano": Target("orin-nano", "Jetson Orin Nano 8GB", TENSORRT, (8, 7), 8, 102.4, ("orin nano",)),
    "thor": Target("thor", "Jetson Thor", TENSORRT, (11, 0), None, 273.0, ("thor",)),
    "gpu": Target("gpu", "NVIDIA GPU of a PC or server", TENSORRT),
    "cpu": Target("cpu", "CPU, with ONNX Runtime", ONNXRUNTIME),
}


def target_named(name: str) -> Target:
    """Looks a target up.

    Raises:
        UsageError: There is no such target; the message names the nearest.
    """
    if name not in TARGETS:
        hint = nearest_hint(name, TARGETS)
        known = "" if hint.startswith("known") else f"; known: {', '.join(TARGETS)}"
        raise UsageError(f"--target {name}", f"no such target, expected one of {len(TARGETS)}", hint + known)
    return TARGETS[name]
