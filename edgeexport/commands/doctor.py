"""What this machine can do for each target, what is missing, and how to get it.

'ready' is said only where everything that the step needs was found; it is no promise that a particular model passes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from edgeexport.backends.tensorrt_api import SMALLEST, why_not_this_version
from edgeexport.device.fit import module_here
from edgeexport.device.machine import Gpu, Machine, Package, Probe, examine_machine, version_tuple
from edgeexport.device.targets import TARGETS, Target, target_named
from edgeexport.plugin.search import Search
from edgeexport.plugin.status import PluginStatus, plugin_status

__all__ = ["EXPORT_REQUIREMENTS", "Capability", "Doctor", "TargetReport", "examine", "rows_from_doctor"]

READY = "ready"
MISSING = "missing"
UNAVAILABLE = "unavailable"
NOT_NEEDED = "not-needed"

EXPORT_PYTHON = (3, 11)
# (package, smallest version) of the extra [export]; a test holds this to pyproject.toml.
EXPORT_REQUIREMENTS: tuple[tuple[str, str], ...] = (
    ("torch", "2.13"),
    ("torchvision", "0"),
    ("timm", "1.0.12"),
    ("tokenizers", "0.22"),
    ("safetensors", "0.4"),
    ("matplotlib", "3.8"),
    ("scipy", "1.15"),
    ("onedl-mmengine", "0.10.9"),
    ("onedl-mmcv", "2.3"),
    ("onedl-mmsegmentation", "1.4"),
    ("onnx", "1.18"),
    ("onnxscript", "0.5"),
    ("onnxruntime", "1.20"),
)
_RTX_PACKAGES = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")


@dataclass(frozen=True)
class Capability:
    """One step on the way to a deployed bundle.

    ``status`` is 'ready', 'missing' (``remedy`` says how to get it), 'unavailable' (cannot be had on this machine;
    ``remedy`` says where) or 'not-needed' (for this target).
    """

    name: str
    status: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class TargetReport:
    """What works here for one target. ``is_this_machine``: the target's hardware was found here."""

    target: str
    title: str
    is_this_machine: bool
    capabilities: tuple[Capability, ...]


@dataclass(frozen=True)
class Doctor:
    """The machine, and its use for each target asked for."""

    machine: Machine
    targets: tuple[TargetReport, ...]

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return asdict(self)


def examine(target: str | None = None, probe: Probe | None = None) -> Doctor:
    """Examines this machine.

    Args:
        target: One target's name; None reports on all.
        probe: How to look; None looks at the real machine, which takes seconds.

    Raises:
        UsageError: There is no such target.
    """
    asked = tuple(TARGETS.values()) if target is None else (target_named(target),)
    machine = examine_machine(probe or Probe())
    plugins = plugin_status(_search(probe))
    root = (probe or Probe()).root
    return Doctor(machine, tuple(_report(machine, plugins, item, root) for item in asked))


def rows_from_doctor(doctor: Doctor) -> list[tuple[str, list[tuple[str, str]]]]:
    """For a terminal: titled groups of (name, text), plain text without markup."""
    machine = doctor.machine
    here = [("Python", machine.python), ("platform", machine.platform)]
    if machine.jetson is not None:
        jetpack = f", JetPack {machine.jetson.jetpack}" if machine.jetson.jetpack else ""
        here.append(("Jetson", f"{_device_text(machine)}{jetpack}"))
    here += [("GPU", _gpu_text(gpu)) for gpu in machine.gpus]
    if not machine.gpus:
        here.append(("GPU", machine.gpu_note or "no NVIDIA GPU found"))
    here += [
        (tool.name, f"{tool.version or 'version unknown'} ({tool.path})" if tool.path else "not found")
        for tool in machine.tools
    ]
    if machine.onnxruntime_providers is not None:
        here.append(("ONNX Runtime", f"built with {', '.join(machine.onnxruntime_providers)}"))
    groups = [
        ("This machine", here),
        ("Python packages", [(item.name, _package_text(machine, item)) for item in machine.packages]),
    ]
    for report in doctor.targets:
        title = f"Target {report.target}: {report.title}"
        groups.append((title, [(item.name, _capability_text(item)) for item in report.capabilities]))
    return groups


def _search(probe: Probe | None) -> Search:
    """Where to look for compilers: on the machine that the probe looks at."""
    if probe is None:
        return Search()
    cache = probe.root / "home/.cache/edgeexport"
    return Search(probe.which, probe.run, root=probe.root, environ={}, site_folders=(), cache=cache)


def _report(machine: Machine, plugins: PluginStatus, target: Target, root: Path) -> TargetReport:
    here = _is_target(machine, target, root)
    capabilities = (
        _export(machine),
        _onnxruntime(machine),
        _rtx_check(machine, target),
        _plugin_library(plugins, target),
        _engine_build(machine, target, here),
        _device_run(machine, target, here),
    )
    return TargetReport(target.name, target.title, here, capabilities)


def _is_target(machine: Machine, target: Target, root: Path) -> bool:
    if target.jetson_models:
        model = machine.jetson.model.lower() if machine.jetson else ""
        return any(part in model for part in target.jetson_models) and module_here(target, root) is target
    if target.needs_tensorrt:
        return bool(machine.gpus) and machine.jetson is None
    return True


def _export(machine: Machine) -> Capability:
    name = "build and export"
    missing = []
    for package, smallest in EXPORT_REQUIREMENTS:
        version = _onnxruntime_version(machine) if package == "onnxruntime" else machine.package_version(package)
        if version is None:
            missing.append(f"{package} is not installed")
        elif version_tuple(version) < version_tuple(smallest):
            missing.append(f"{package} {version} is older than {smallest}")
    needed = ".".join(str(part) for part in EXPORT_PYTHON)
    if version_tuple(machine.python) < EXPORT_PYTHON:
        remedy = f"make an environment with Python {needed} or newer, then pip install 'edgeexport[export]' there"
        return Capability(
            name, MISSING, "; ".join([f"Python {machine.python} is older than {needed}", *missing]), remedy
        )
    broken = [
        f"{package} {machine.package_version(package)} is installed but does not load: {line}"
        for package, line in machine.not_loading.items()
    ]
    if missing:
        return Capability(name, MISSING, "; ".join([*missing, *broken]), "pip install 'edgeexport[export]'")
    if broken:
        remedy = f"install the {' and '.join(machine.not_loading)} made for this machine; no other step needs it"
        return Capability(name, MISSING, "; ".join(broken), remedy)
    torch = machine.package_version("torch")
    return Capability(
        name, READY, f"Python {machine.python}, torch {torch} and everything else that it needs are installed"
    )


def _onnxruntime(machine: Machine) -> Capability:
    name = "ONNX Runtime"
    version = _onnxruntime_version(machine)
    if version is None:
        return Capability(name, MISSING, "onnxruntime is not installed", "pip install 'edgeexport[cpu]'")
    if machine.onnxruntime_providers is None:
        remedy = "python -c 'import onnxruntime' shows why; then pip install --force-reinstall onnxruntime"
        return Capability(name, MISSING, f"onnxruntime {version} is installed but does not load", remedy)
    if "CPUExecutionProvider" not in machine.onnxruntime_providers:
        offered = ", ".join(machine.onnxruntime_providers)
        remedy = "pip install 'edgeexport[cpu]'"
        return Capability(
            name, MISSING, f"onnxruntime {version} has no CPUExecutionProvider (it has {offered})", remedy
        )
    return Capability(name, READY, f"onnxruntime {version} loads")


def _rtx_check(machine: Machine, target: Target) -> Capability:
    name = "TensorRT-RTX check"
    if not target.needs_tensorrt:
        return Capability(name, NOT_NEEDED, "this target does not use TensorRT")
    if machine.tensorrt_rtx_version:
        return Capability(name, READY, f"TensorRT-RTX {machine.tensorrt_rtx_version} loads; the check needs no GPU")
    if (machine.system, machine.architecture) not in (("Linux", "x86_64"), ("Linux", "AMD64")):
        return Capability(
            name,
            UNAVAILABLE,
            f"its packages exist for x86-64 Linux, this is {machine.system} on {machine.architecture}",
            "build on x86-64 Linux; elsewhere the manifest says 'not-run'",
        )
    absent = [package for package in _RTX_PACKAGES if machine.package_version(package) is None]
    if absent:
        return Capability(
            name, MISSING, f"not installed: {', '.join(absent)}", f"pip install {' '.join(_RTX_PACKAGES)}"
        )
    remedy = f"pip install --force-reinstall {' '.join(_RTX_PACKAGES)}"
    return Capability(name, MISSING, "the packages are installed but do not load", remedy)


def _plugin_library(plugins: PluginStatus, target: Target) -> Capability:
    name = "plugin library"
    if not target.needs_tensorrt:
        return Capability(name, NOT_NEEDED, "this target does not use TensorRT")
    return Capability(name, READY if plugins.ready else MISSING, plugins.detail, plugins.remedy)


def _engine_build(machine: Machine, target: Target, here: bool) -> Capability:
    name = "engine build"
    if not target.needs_tensorrt:
        runtime = _onnxruntime(machine)
        return Capability(name, runtime.status, runtime.detail, runtime.remedy)
    if not here:
        where = f"an engine is built on the device that runs it, this machine is none ({_device_text(machine)})"
        return Capability(name, UNAVAILABLE, where, f"there: edgeexport build BUNDLE --target {target.name}")
    status, detail, remedy = _engine_runtime(machine, target)
    return Capability(name, status, detail, remedy)


def _device_run(machine: Machine, target: Target, here: bool) -> Capability:
    name = "run on the device"
    if not target.needs_tensorrt:
        runtime = _onnxruntime(machine)
        return Capability(name, runtime.status, runtime.detail, runtime.remedy)
    if not here:
        remedy = "edgeexport run and verify execute model.onnx here, in ONNX Runtime"
        return Capability(name, UNAVAILABLE, f"this machine is none ({_device_text(machine)})", remedy)
    status, detail, remedy = _engine_runtime(machine, target)
    return Capability(name, status, f"this machine is one ({_device_text(machine)}); {detail}", remedy)


def _engine_runtime(machine: Machine, target: Target) -> tuple[str, str, str]:
    """Status, detail and remedy of what builds and runs engines on the target's own hardware."""
    tensorrt = machine.package_version("tensorrt")
    reason = why_not_this_version(tensorrt) if tensorrt else ""
    if tensorrt and not reason:
        limit = "" if version_tuple(tensorrt) >= SMALLEST else ", for FP32 bundles built with --no-plugins alone"
        return READY, f"tensorrt {tensorrt} is installed{limit}", ""
    state = f"tensorrt {tensorrt} {reason}" if tensorrt else "no tensorrt for Python was found"
    if machine.jetson is not None:
        remedy = "use the tensorrt of JetPack (python3 -m venv --system-site-packages), not one from pip"
        return MISSING, state, "flash a JetPack from 6.1 to 7.2" if tensorrt else remedy
    providers = machine.onnxruntime_providers or ()
    if "CUDAExecutionProvider" in providers:
        return READY, f"{state}; onnxruntime {_onnxruntime_version(machine)} has CUDAExecutionProvider", ""
    return MISSING, f"{state}, and no ONNX Runtime with CUDA", "pip install 'edgeexport[gpu]'"


def _device_text(machine: Machine) -> str:
    if machine.jetson is not None:
        release = f", L4T {machine.jetson.l4t}" if machine.jetson.l4t else ""
        return f"{machine.jetson.model}{release}"
    if machine.gpus:
        return ", ".join(gpu.name for gpu in machine.gpus)
    return machine.gpu_note or "no NVIDIA GPU found"


def _gpu_text(gpu: Gpu) -> str:
    facts = [gpu.name]
    if gpu.compute_capability:
        facts.append(f"compute capability {gpu.compute_capability}")
    if gpu.memory_mib:
        facts.append(f"{gpu.memory_mib} MiB")
    if gpu.driver:
        facts.append(f"driver {gpu.driver}")
    return ", ".join(facts)


def _package_text(machine: Machine, package: Package) -> str:
    line = machine.not_loading.get(package.name)
    return f"{package.version or 'not installed'}{f', but does not load: {line}' if line else ''}"


def _capability_text(item: Capability) -> str:
    remedy = f" | {item.remedy}" if item.remedy else ""
    return f"{item.status.replace('-', ' ')}: {item.detail}{remedy}"


def _onnxruntime_version(machine: Machine) -> str | None:
    return machine.package_version("onnxruntime") or machine.package_version("onnxruntime-gpu")
