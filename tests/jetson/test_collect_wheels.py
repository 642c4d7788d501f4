"""The folder of wheels for a Jetson without a network: what it has to hold, and that a gap is found."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from jetson_files import REPOSITORY

SCRIPT = REPOSITORY / "jetson" / "collect_wheels.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("collect_wheels", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(
    folder: Path, name: str, tag: str = "py3-none-any", requires: Sequence[str] = (), machine: int | None = None
) -> None:
    """A wheel of version 1.0; ``machine`` gives it native code for that processor (ELF's number)."""
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as archive:
        lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {text}" for text in requires)]
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines))
        if machine is not None:
            archive.writestr(f"{name}/_c.so", b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little"))


def test_a_complete_folder_has_no_problems(script: ModuleType, tmp_path: Path) -> None:
    only_old = 'old>=1; python_version < "3.11"'
    wheel(tmp_path, "edgeexport", requires=["native>=1", only_old, 'torch; extra == "export"', 'ort; extra == "cpu"'])
    wheel(tmp_path, "native", "cp312-cp312-manylinux_2_28_aarch64", machine=183)
    wheel(tmp_path, "ort")
    assert script.problems(tmp_path, "3.12") == []
    missing = "of which Python 3.10 on aarch64 has no wheel here"
    assert script.problems(tmp_path, "3.10") == [
        f"edgeexport-1.0-py3-none-any.whl requires {text}, {missing}"
        for text in ("native>=1", script.Requirement(only_old))
    ]


@pytest.mark.parametrize(
    ("tag", "machine", "requires", "says"),
    [
        ("cp312-cp312-manylinux_2_28_x86_64", 62, "native", "has no wheel here"),
        ("cp312-cp312-manylinux_2_39_aarch64", 183, "native", "has no wheel here"),
        ("cp312-cp312-manylinux_2_28_aarch64", 62, "native", "native/_c.so is for another processor"),
        ("cp312-cp312-manylinux_2_28_aarch64", 183, "native>=2", "here is 1.0"),
    ],
)
def test_what_does_not_fit_is_named(
    script: ModuleType, tmp_path: Path, tag: str, machine: int, requires: str, says: str
) -> None:
    wheel(tmp_path, "edgeexport", requires=[requires])
    wheel(tmp_path, "native", tag, machine=machine)
    (problem,) = script.problems(tmp_path, "3.12")
    assert says in problem


def test_an_empty_folder_and_a_full_one(script: ModuleType, tmp_path: Path) -> None:
    assert script.problems(tmp_path, "3.10") == ["no wheel of edgeexport that Python 3.10 on aarch64 takes"]
    (tmp_path / "x").write_text("")
    with pytest.raises(SystemExit, match="is not empty"):
        script.main([str(tmp_path)])


def test_a_damaged_folder_is_refused_on_the_device(tmp_path: Path) -> None:
    """Before anything is installed."""
    for name in ("install-runtime.sh", "constraints.txt"):
        (tmp_path / "jetson").mkdir(exist_ok=True)
        (tmp_path / "jetson" / name).write_bytes((REPOSITORY / "jetson" / name).read_bytes())
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "x.whl").write_bytes(b"cut")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  wheels/x.whl\n")
    command = ["bash", str(tmp_path / "jetson" / "install-runtime.sh"), str(tmp_path / "environment")]
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "wheels | is damaged | copy the folder again" in done.stderr
    assert not (tmp_path / "environment").exists()


@pytest.mark.slow
def test_pip_installs_from_the_folder_alone(script: ModuleType, tmp_path: Path) -> None:
    """Collected from the index; pip's own resolver, told of the device, needs nothing else."""
    script.main([str(tmp_path / "offline"), "--python", "3.12"])
    platforms = [part for name in ("manylinux_2_28_aarch64", "manylinux2014_aarch64") for part in ("--platform", name)]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--find-links",
        str(tmp_path / "offline" / "wheels"),
    ]
    command += [
        *platforms,
        "--python-version",
        "3.12",
        "--only-binary=:all:",
        "--target",
        str(tmp_path / "t"),
        "edgeexport",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "t" / "numpy").rglob("*aarch64*.so")) and (tmp_path / "t" / "edgeexport").is_dir()
    assert (tmp_path / "offline" / "jetson" / "quickstart.sh").stat().st_mode & 0o100
