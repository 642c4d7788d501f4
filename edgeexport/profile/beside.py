"""What stands in bench.json beside the latencies: the time of each part of the model, and what was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexport.device.fit import why_not_this_machine
from edgeexport.device.power_mode import PowerMode
from edgeexport.device.targets import target_named
from edgeexport.profile.ceilings import ceilings_of, power_mode_named
from edgeexport.profile.layers import measure_layers, write_engine_profile
from edgeexport.profile.roofline import predict
from edgeexport.profile.subject import Subject
from edgeexport.profile.work import read_work

__all__ = ["measured_layers", "predicted_latency"]


def measured_layers(subject: Subject) -> dict[str, Any] | None:
    """Times the layers with the runtime's profiler and writes engine.profile.json; None where the bundle has no work.json.

    Raises:
        BundleError: work.json is damaged. BuildError: engine.profile.json cannot be written.
    """
    found = measure_layers(subject.bundle, subject.runner, subject.record, subject.feed.image, subject.feed.extra)
    if found is None:
        return None
    write_engine_profile(subject.bundle.path, found)
    return found.summary()


def predicted_latency(subject: Subject, mode: PowerMode | None, root: Path = Path("/")) -> dict[str, Any] | None:
    """The roofline of this device in the power mode of the measurement, to stand beside it.

    Args:
        subject: What was measured.
        mode: During the measurement.
        root: Where /proc is.

    Returns:
        None where the limits of the device or mode are not known, the engine is not for this device's target, or the
        bundle has no work.json.

    Raises:
        BundleError: work.json is damaged.
    """
    if subject.record is None or mode is None:
        return None
    target = subject.record.target
    known = power_mode_named(target, mode.name)
    if known is None or why_not_this_machine(target_named(target), root):
        return None
    work = read_work(subject.bundle.path)
    if work is None:
        return None
    plugins = subject.record.plugins_sha256 is not None
    return predict(work, ceilings_of(target, known), backend=subject.backend, plugins=plugins).as_dict()
