"""What bench.json says of the device, its conditions and the protocol, as lines of text: for a terminal and for report.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "circumstances_text",
    "conditions_text",
    "device_text",
    "differences_text",
    "launch_text",
    "mode_text",
    "warm_up_text",
]

Json = Mapping[str, Any]


def circumstances_text(bench: Json) -> str:
    """Device, power mode, runtime and its version: what stands beside every measured figure. A Jetson is named by its model,
    since CUDA calls the GPU of every Orin the same."""
    runtime = f"{bench['backend']} {bench['versions'].get(bench['backend'], '')}".strip()
    device = (bench["device"].get("jetson") or {}).get("model") or bench["device"]["name"]
    return ", ".join(filter(None, (str(device), mode_text(bench["conditions"]["before"]), runtime)))


def device_text(device: Json) -> str:
    """bench.json's ``device``: processor, machine, and of a Jetson its model and release."""
    jetson = device.get("jetson")
    text = f"{device['name']} ({device['machine']})"
    if not jetson:
        return text
    release = [f"{key} {jetson[name]}" for key, name in (("L4T", "l4t"), ("JetPack", "jetpack")) if jetson.get(name)]
    return "; ".join([text, ", ".join([str(jetson["model"]), *release])])


def mode_text(conditions: Json) -> str:
    """Power mode of a reading; empty on a machine that has none."""
    mode = conditions.get("power_mode")
    return f"power mode {mode['name'] or mode['id']}" if mode else ""


def conditions_text(reading: Json) -> str:
    """One of bench.json's readings: power mode, clocks, hottest zone. Empty where the machine tells nothing."""
    texts = [mode_text(reading)]
    clocks = [clock for clock in reading["clocks"] if clock["current_hz"] is not None]
    texts += [f"{clock['name']} {clock['current_hz'] / 1e6:.0f} MHz" for clock in clocks]
    if reading["temperatures"]:
        hottest = max(reading["temperatures"], key=lambda zone: zone["celsius"])
        texts.append(f"{hottest['name']} {hottest['celsius']:.1f} °C")
    return "; ".join(filter(None, texts))


def differences_text(baseline: Json) -> str:
    """In what the two of bench.json's ``baseline`` differ besides the model: 'precision: baseline fp32, here fp16; ...'."""
    entries = baseline.get("differences") or ()
    return "; ".join(f"{item['what']}: baseline {item['baseline']}, here {item['candidate']}" for item in entries)


def launch_text(protocol: Json) -> str:
    """Whether inferences are launched as a CUDA graph."""
    graph = protocol["cuda_graph"]
    return "no CUDA graph on a CPU" if graph is None else f"CUDA graph {'on' if graph else 'off'}"


def warm_up_text(protocol: Json) -> str:
    """How many inferences came before those that count."""
    runs = protocol["warmup_runs"]
    return f"{runs} run{'s' if runs > 1 else ''} of warm-up"
