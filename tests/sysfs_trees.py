"""Writes the trees of tests/device/trees as files below a folder, and changes single values."""

from __future__ import annotations

from pathlib import Path

TREES = Path(__file__).resolve().parent / "device" / "trees"
NAMES = ("agx_orin", "orin_nx", "none")

GPU_CLOCK = "sys/class/devfreq/17000000.gpu"


def write_tree(root: Path, name: str) -> Path:
    """Writes a tree; returns ``root``."""
    files: dict[str, list[str]] = {}
    for line in (TREES / f"{name}.txt").read_text().splitlines():
        path, _, content = line.partition(":")
        files.setdefault(path, []).append(content)
    for path, lines in files.items():
        put(root, path, "\n".join(lines))
    return root


def put(root: Path, path: str, content: object) -> None:
    """Sets one file."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{content}\n")


def zone(root: Path, kind: str) -> str:
    """Path of the thermal zone of a type, below ``root``."""
    return _called(root, "sys/class/thermal/thermal_zone*/type", kind)


def cooling(root: Path, kind: str) -> str:
    """Path of the cooling device of a type, below ``root``."""
    return _called(root, "sys/class/thermal/cooling_device*/type", kind)


def sensor(root: Path, kind: str) -> str:
    """Path of the hwmon device of a name, below ``root``."""
    return _called(root, "sys/class/hwmon/hwmon*/name", kind)


def _called(root: Path, pattern: str, kind: str) -> str:
    found = next(file for file in sorted(root.glob(pattern)) if file.read_text().strip() == kind)
    return str(found.parent.relative_to(root))
