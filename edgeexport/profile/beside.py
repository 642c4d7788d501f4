"""What stands in bench.json beside the latencies: the time of each part of the model, and what was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexport.backends.device_identity import gpu_multiprocessors
from edgeexport.cost.ceilings import ceilings_of, gpu_misfit, power_mode_named, power_modes
from edgeexport.cost.gpu_limits import gpu_limits
from edgeexport.cost.kernel_plan import read_plans
from edgeexport.cost.pays import plan_deployed
from edgeexport.cost.plan_time import plan_prediction
from edgeexport.cost.roofline import predict
from edgeexport.cost.work import read_work
from edgeexport.device.clocks import GPU, read_clocks
from edgeexport.device.fit import why_not_this_machine
from edgeexport.device.machine import find_jetson
from edgeexport.device.power_mode import PowerMode
from edgeexport.device.targets import target_named
from edgeexport.profile.layers import measure_layers, write_engine_profile
from edgeexport.profile.timed_bundle import TimedBundle

__all__ = ["measured_layers", "predicted_latency", "why_no_prediction"]


def measured_layers(timed: TimedBundle) -> dict[str, Any] | None:
    """Times the layers with the runtime's profiler and writes engine.profile.json; None where the bundle has no work.json.

    Raises:
        BundleError: work.json is damaged. BuildError: engine.profile.json cannot be written.
    """
    attribution = measure_layers(timed.bundle, timed.runner, timed.record, timed.feed.image, timed.feed.extra)
    if attribution is None:
        return None
    write_engine_profile(timed.bundle.path, attribution)
    return attribution.summary()


def predicted_latency(timed: TimedBundle, mode: PowerMode | None, root: Path = Path("/")) -> dict[str, Any] | None:
    """What is predicted of this device in the power mode of the measurement, to stand beside it: from the bundle's kernel
    plan where it has one, else by roofline.

    Args:
        timed: What was measured.
        mode: During the measurement.
        root: Where /proc is.

    Returns:
        None where `why_no_prediction` tells why.

    Raises:
        BundleError: work.json is damaged.
    """
    if timed.record is None or mode is None or why_no_prediction(timed, mode, root):
        return None
    work = read_work(timed.bundle.path, timed.bundle.part)
    known = power_mode_named(timed.record.target, mode.name)
    assert work is not None and known is not None
    plugins = timed.record.plugins_sha256 is not None
    plans = read_plans(timed.bundle.path)
    own = None
    if timed.backend == "tensorrt" and plans is not None:
        own = plans.of_graph(timed.bundle.part, timed.record.precision)
    if own is not None:
        limits = gpu_limits(timed.record.target, known)
        return plan_prediction(plan_deployed(own, plugins), limits).as_dict()
    ceilings = ceilings_of(timed.record.target, known)
    return predict(work, ceilings, backend=timed.backend, plugins=plugins).as_dict()


def why_no_prediction(timed: TimedBundle, mode: PowerMode | None, root: Path = Path("/")) -> str:
    """Why nothing can be predicted of what was measured; empty where `predicted_latency` predicts.

    Args:
        timed: What was measured.
        mode: During the measurement.
        root: Where /proc and /sys are; the CUDA driver is asked for the running system's GPU alone.

    Raises:
        BundleError: work.json is damaged.
    """
    if timed.record is None:
        return "no engine was measured: predictions are of engines"
    target = target_named(timed.record.target)
    if not power_modes(target.name):
        return f"the limits of a {target.title} are not known ahead"
    core = timed.record.options.get("dla_core")
    if core is not None:
        return f"the engine runs on deep-learning accelerator {core}: predictions are of the GPU"
    misfit = why_not_this_machine(target, root)
    if misfit:
        return misfit
    if mode is None:
        return "the machine does not tell its power mode"
    known = power_mode_named(target.name, mode.name)
    if known is None:
        return f"the limits of a {target.title} in power mode {mode} are not known"
    jetson = find_jetson(root)
    variant = gpu_misfit(
        target.name,
        known,
        "" if jetson is None else jetson.model,
        multiprocessors=_multiprocessors(root),
        hertz=next((clock.max_hz for clock in read_clocks(root) if clock.drives == GPU), None),
    )
    if variant:
        return variant
    return (
        ""
        if read_work(timed.bundle.path, timed.bundle.part) is not None
        else "the bundle has no work.json: build it again"
    )


def _multiprocessors(root: Path) -> int | None:
    return gpu_multiprocessors() if root == Path("/") else None
