"""What this machine has: Python packages, compilers, GPU, Jetson release. Looks, and starts short child processes;
imports none of the packages in this process, so that it works beside a broken one.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeexport.device.child import output_of, python_command
from edgeexport.device.packages import not_loading_in_a_child
from edgeexport.device.sysfs import text_of
from edgeexport.documents import parsed
from edgeexport.documents.answers import NAMES
from edgeexport.errors import BundleError

__all__ = [
    "PACKAGES",
    "UNKNOWN_MODEL",
    "Gpu",
    "Jetson",
    "Machine",
    "Package",
    "Probe",
    "Tool",
    "examine_machine",
    "find_jetson",
    "version_tuple",
]

# Names as the package index knows them.
PACKAGES = (
    "numpy",
    "pillow",
    "jinja2",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "onnxscript",
    "torch",
    "torchvision",
    "timm",
    "tokenizers",
    "safetensors",
    "matplotlib",
    "scipy",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmsegmentation",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "tensorrt-rtx-cu13-libs",
)

UNKNOWN_MODEL = "Jetson"

_TOOL_TIMEOUT_S = 20.0
_IMPORT_TIMEOUT_S = 60.0
_PROVIDERS_CODE = "import json, onnxruntime; print(json.dumps(onnxruntime.get_available_providers()))"
_RTX_CODE = "import tensorrt_rtx_bindings; print(tensorrt_rtx_bindings.__version__)"
_GPU_FIELDS = "name,driver_version,memory.total,compute_cap"
# Where a Jetson's model stands. Docker hides the device tree, so the first two (`--security-opt systempaths=unconfined` shows
# them); the firmware's table and the kernel's SoC device it leaves. NVIDIA's own scripts read the third; the fourth is the
# kernel's copy of the first, in Linux 6.8 (JetPack 7). Documented; not seen in a container on a Jetson.
_DEVICE_TREE = ("proc/device-tree/model", "sys/firmware/devicetree/base/model")
_MODEL_FILES = (*_DEVICE_TREE, "sys/devices/virtual/dmi/id/product_name", "sys/devices/soc0/machine")
# (first L4T release, JetPack), descending; NVIDIA's release notes.
_JETPACKS = (((39, 2), "7.2"), ((36, 4), "6.1 - 6.2"), ((36, 3), "6.0"), ((35, 0), "5.x"))


@dataclass(frozen=True)
class Package:
    """A Python package: ``version`` from its metadata, None if it is not installed."""

    name: str
    version: str | None


@dataclass(frozen=True)
class Tool:
    """A program: None where it was not found, or did not tell its version."""

    name: str
    path: str | None
    version: str | None


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as the driver reports it; ``memory_mib`` in 2**20 bytes; None where it does not tell."""

    name: str
    driver: str | None
    memory_mib: int | None
    compute_capability: str | None


@dataclass(frozen=True)
class Jetson:
    """A Jetson module: its model (`UNKNOWN_MODEL` where that is hidden), Linux for Tegra release such as '36.4.3', JetPack
    it belongs to."""

    model: str
    l4t: str | None
    jetpack: str | None


@dataclass(frozen=True)
class Machine:
    """Everything found.

    ``onnxruntime_providers`` are those that ONNX Runtime was built with, None if it does not load;
    ``tensorrt_rtx_version`` is what the loaded library says, None if it does not load. ``gpu_note`` tells why there is
    no GPU where something hints at one. ``not_loading`` has the packages of the extra [export] that are installed but do
    not load, with the first line of their error.
    """

    python: str
    platform: str
    system: str
    architecture: str
    packages: tuple[Package, ...]
    tools: tuple[Tool, ...]
    gpus: tuple[Gpu, ...]
    gpu_note: str
    jetson: Jetson | None
    onnxruntime_providers: tuple[str, ...] | None
    tensorrt_rtx_version: str | None
    not_loading: Mapping[str, str]

    def package_version(self, name: str) -> str | None:
        """Version of an installed package of `PACKAGES`."""
        return next(package.version for package in self.packages if package.name == name)


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Probe:
    """How to look at a machine; tests put fakes here.

    ``run(command, timeout_s)`` gives a command's standard output, or None if it failed. ``root`` is where /proc,
    /sys and /etc are.
    """

    which: Callable[[str], str | None] = shutil.which
    run: Callable[[Sequence[str], float], str | None] = output_of
    version_of: Callable[[str], str | None] = _installed_version
    root: Path = Path("/")
    python: str = field(default_factory=platform.python_version)
    system: str = field(default_factory=platform.system)
    architecture: str = field(default_factory=platform.machine)
    platform: str = field(default_factory=platform.platform)


def examine_machine(probe: Probe) -> Machine:
    """Looks at packages, tools, GPU and Jetson release; takes seconds where torch is installed, which a child imports."""
    packages = tuple(Package(name, probe.version_of(name)) for name in PACKAGES)
    versions = {package.name: package.version for package in packages}
    jetson = _jetson(probe)
    gpus, note = _gpus(probe)
    return Machine(
        python=probe.python,
        platform=probe.platform,
        system=probe.system,
        architecture=probe.architecture,
        packages=packages,
        tools=_tools(probe),
        gpus=gpus,
        gpu_note=note,
        jetson=jetson,
        onnxruntime_providers=_providers(probe) if versions["onnxruntime"] or versions["onnxruntime-gpu"] else None,
        tensorrt_rtx_version=_rtx_version(probe) if versions["tensorrt-rtx-cu13-bindings"] else None,
        not_loading=not_loading_in_a_child(probe.run, [name for name, version in versions.items() if version]),
    )


def find_jetson(root: Path = Path("/")) -> Jetson | None:
    """Module and release of the Jetson whose /proc, /sys and /etc are below ``root``; None for another machine."""
    return _jetson(Probe(root=root))


def version_tuple(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: '2.15.0+cpu' -> (2, 15, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _providers(probe: Probe) -> tuple[str, ...] | None:
    printed = probe.run(python_command(_PROVIDERS_CODE), _IMPORT_TIMEOUT_S)
    try:
        names = parsed(_last_line(printed), NAMES, "providers")
        return tuple(names)
    except BundleError:
        return None


def _rtx_version(probe: Probe) -> str | None:
    # The metadata alone would not tell that the libraries of the second wheel are missing.
    return _last_line(probe.run(python_command(_RTX_CODE), _IMPORT_TIMEOUT_S)) or None


def _last_line(printed: str | None) -> str:
    lines = (printed or "").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _tools(probe: Probe) -> tuple[Tool, ...]:
    compiler = next((name for name in ("g++", "c++", "clang++") if probe.which(name)), "g++")
    # JetPack installs nvcc without putting it on the search path.
    nvcc = probe.which("nvcc") or _existing(probe.root / "usr/local/cuda/bin/nvcc")
    return (
        _tool(probe, "C++ compiler", probe.which(compiler), r"(\d+\.\d+(?:\.\d+)?)\s*$|version (\d+\.\d+(?:\.\d+)?)"),
        _tool(probe, "make", probe.which("make"), r"(\d+\.\d+(?:\.\d+)?)"),
        _tool(probe, "cmake", probe.which("cmake"), r"version (\d+\.\d+(?:\.\d+)?)"),
        _tool(probe, "nvcc", nvcc, r"release (\d+\.\d+)"),
    )


def _tool(probe: Probe, name: str, path: str | None, pattern: str) -> Tool:
    printed = probe.run([path, "--version"], _TOOL_TIMEOUT_S) if path else None
    for line in (printed or "").splitlines():
        match = re.search(pattern, line)
        if match:
            return Tool(name, path, next(group for group in match.groups() if group))
    return Tool(name, path, None)


def _existing(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def _gpus(probe: Probe) -> tuple[tuple[Gpu, ...], str]:
    """GPUs, and why there are none where something hints at one."""
    program = probe.which("nvidia-smi")
    if program:
        for fields in (_GPU_FIELDS, _GPU_FIELDS.removesuffix(",compute_cap")):  # older drivers do not know the last
            printed = probe.run([program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"], _TOOL_TIMEOUT_S)
            gpus = tuple(gpu for line in (printed or "").splitlines() if (gpu := _gpu_from_line(line)))
            if gpus:
                return gpus, ""
    models = sorted(_gpu_models(probe.root / "proc/driver/nvidia/gpus"))
    if models:
        version = text_of(probe.root / "proc/driver/nvidia/version") or ""
        driver = re.search(r"Module\s+(?:for\s+\S+\s+)?(\d+(?:\.\d+)+)", version)
        return tuple(Gpu(model, driver.group(1) if driver else None, None, None) for model in models), ""
    return (), f"{program} is there but reports no GPU" if program else ""


def _gpu_from_line(line: str) -> Gpu | None:
    fields = [part.strip() for part in line.split(",")]
    if len(fields) < 3 or not fields[0]:
        return None
    memory = int(fields[2]) if fields[2].isdecimal() else None  # '[N/A]' where the memory is the system's
    capability = fields[3] if len(fields) > 3 and re.fullmatch(r"\d+\.\d+", fields[3]) else None
    driver = fields[1] if version_tuple(fields[1]) else None
    return Gpu(fields[0], driver, memory, capability)


def _gpu_models(folder: Path) -> list[str]:
    matches = [
        re.search(r"^Model:\s*(.+)$", text_of(file) or "", re.MULTILINE) for file in folder.glob("*/information")
    ]
    return [match.group(1).strip() for match in matches if match]


def _jetson(probe: Probe) -> Jetson | None:
    models = {name: text_of(probe.root / name) or "" for name in _MODEL_FILES}
    # A board of another maker may not call itself a Jetson: then its device tree counts, where there is a release.
    named = [model for model in models.values() if "jetson" in model.lower()]
    model = next((model for model in (*named, *(models[name] for name in _DEVICE_TREE)) if model), "")
    release = re.search(r"# R(\d+).*?REVISION: (\d+(?:\.\d+)*)", text_of(probe.root / "etc/nv_tegra_release") or "")
    if "jetson" not in model.lower() and not release:
        return None
    if release is None:
        return Jetson(model, None, None)
    l4t = f"{release.group(1)}.{release.group(2)}"
    # Of the same major release only: of an unknown one nothing is claimed.
    same = [name for first, name in _JETPACKS if version_tuple(l4t) >= first and version_tuple(l4t)[0] == first[0]]
    return Jetson(model or UNKNOWN_MODEL, l4t, same[0] if same else None)
