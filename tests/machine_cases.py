"""Machines that do not exist: fakes for `Probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeexport.device.machine import Probe

EXPORT_PACKAGES = {
    "onnxruntime": "1.31.1",
    "onnx": "1.23.2",
    "onnxscript": "0.7.2",
    "torch": "2.15.0+cpu",
    "torchvision": "0.29.2",
    "timm": "1.0.31",
    "tokenizers": "0.23.3",
    "safetensors": "0.8.0",
    "matplotlib": "3.11.2",
    "scipy": "1.18.1",
    "onedl-mmengine": "0.10.12",
    "onedl-mmcv": "2.3.6",
    "onedl-mmsegmentation": "1.4.2",
    "tensorrt-rtx-cu13-bindings": "1.7.1",
    "tensorrt-rtx-cu13-libs": "1.7.1",
}
PROVIDERS = '["CPUExecutionProvider"]'
AGX_ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
}


def fake_probe(
    root: Path,
    *,
    packages: Mapping[str, str] | None = None,
    programs: Sequence[str] = (),
    answers: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    python: str = "3.11.7",
    architecture: str = "x86_64",
) -> Probe:
    """A machine with ``packages``, which load; a command answers with the first text whose key it contains, else it fails."""
    for name, content in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)

    def run(command: Sequence[str], timeout_s: float) -> str | None:
        assert timeout_s > 0
        return next(
            (text for key, text in {"not_loading": "{}", **(answers or {})}.items() if key in " ".join(command)), None
        )

    return Probe(
        which=lambda name: f"/usr/bin/{name}" if name in programs else None,
        run=run,
        version_of=(packages or {}).get,
        root=root,
        python=python,
        system="Linux",
        architecture=architecture,
        platform=f"Linux-{architecture}",
    )
