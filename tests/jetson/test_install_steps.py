"""The steps of Dockerfile.jetson, outside docker, on this machine: installed from what the image copies, and compiled."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from interpreters import found_interpreter, interpreter
from jetson_files import REPOSITORY, copied_paths, in_context, tracked_files
from packaging.markers import Marker

from edgeexport.errors import BuildError
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.toolkit import find_toolkit

CONSTRAINTS = REPOSITORY / "jetson" / "constraints.txt"
PYTHONS = ("3.10", "3.12")  # of JetPack 6 and 7.2
NEEDS_NOTHING_ELSE = """
import importlib, sys
for name in ("torch", "onnx", "onnxscript", "timm", "mmengine", "onnxruntime"): sys.modules[name] = None
import edgeexport.cli, edgeexport.bundle, edgeexport.commands.run, edgeexport.commands.verify, edgeexport.comparison.compare
from edgeexport.plugin.sources import sources_folder
print(sys.version_info[:2], sources_folder())
"""


def pinned(version: str) -> dict[str, str]:
    """Package -> version that a Python installs."""
    found = {}
    for line in CONSTRAINTS.read_text().splitlines():
        requirement, _, marker = line.partition(";")
        if "==" in requirement and (not marker or Marker(marker).evaluate({"python_version": version})):
            name, _, number = requirement.strip().partition("==")
            assert name not in found, f"{name} is pinned twice for Python {version}"
            found[name.lower().replace("_", "-")] = number
    return found


@pytest.mark.parametrize("version", PYTHONS)
def test_every_package_of_the_runtime_is_pinned(version: str) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    (dependencies,) = re.findall(r"(?m)^dependencies = \[(.*)\]$", project)
    (with_onnxruntime,) = re.findall(r"(?m)^cpu = \[(.*)\]$", project)
    names = set(re.findall(r'"([\w-]+)>=', dependencies + with_onnxruntime)) | {"hatchling"}
    assert names <= set(pinned(version))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image copies, and nothing else."""
    folder = tmp_path_factory.mktemp("image") / "source"
    for name in tracked_files():
        if in_context(name) and any(name == path or name.startswith(f"{path}/") for path in copied_paths()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_installs_where_that_python_is(source: Path, tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    environment = tmp_path / "environment"
    variables = {**os.environ, "PYTHON": python, "PIP_CONSTRAINT": "/etc/pip/an-images-own.txt", "PYTHONPATH": ""}
    script = source / "jetson" / "install-runtime.sh"
    done = subprocess.run([str(script), str(environment)], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [str(environment / "bin/python"), "-m", "pip", "list", "--local", "--format=json"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {item["name"].lower().replace("_", "-"): item["version"] for item in json.loads(listed.stdout)}
    wanted = pinned(version)
    others = {name for name in installed if name not in wanted} - {"pip", "setuptools", "wheel", "edgeexport"}
    assert not others, f"not pinned: {others}"
    assert all(wanted[name] == number for name, number in installed.items() if name in wanted)
    done = subprocess.run(
        [str(environment / "bin/python"), "-c", NEEDS_NOTHING_ELSE],
        env={**variables, "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"({version.replace('.', ', ')})") and "plugins_src" in done.stdout


@pytest.mark.slow
def test_quickstart_installs_compiles_and_tells(source: Path, tmp_path: Path) -> None:
    """All of it, with the toolkit and headers that this machine has; a second run leaves what is there."""
    try:
        toolkit, headers = find_toolkit(), find_headers()
    except BuildError as error:
        pytest.skip(f"plugins cannot be compiled on this machine: {error}")
    environment = tmp_path / "environment"
    variables = {
        **os.environ,
        "PYTHON": found_interpreter("3.10") or sys.executable,
        "PYTHONPATH": "",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "CUDA_HOME": str(toolkit.nvcc.parents[1]),
        "TENSORRT_INCLUDE": str(headers.folder),
    }
    command = [str(source / "jetson" / "quickstart.sh"), "--any-machine", "--target", "orin", str(environment)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compiled token_match/token_match.cu" in done.stderr and "fits: sm_87" in done.stdout
    assert (environment / "lib" / "libedgeexport_plugins.so").is_file()
    assert f'"{source}/jetson/with-clocks.sh" --mode MAXN -- edgeexport profile BUNDLE' in done.stdout
    listed = subprocess.run(
        [str(environment / "bin" / "edgeexport"), "plugin", "list", "--json"],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    (library,) = json.loads(listed.stdout)["libraries"]
    assert library["current"] and library["architectures"] == [87]
    again = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "already" in again.stdout and "compiled token_match" not in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_every_pinned_version_has_a_wheel_for_the_jetson(tmp_path: Path, version: str) -> None:
    """Ubuntu 22.04 has glibc 2.35, 24.04 has 2.39: manylinux_2_28 and older run on both."""
    wanted = tmp_path / "wanted.txt"
    wanted.write_text("".join(f"{name}=={number}\n" for name, number in pinned(version).items()))
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 27, 28)] + ["manylinux2014_aarch64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    options = [part for name in platforms for part in ("--platform", name)]
    target = ["--python-version", version, "--implementation", "cp", "--dest", str(tmp_path)]
    done = subprocess.run([*command, *options, *target, "-r", str(wanted)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.whl"))) == len(pinned(version))
    assert [path for path in tmp_path.glob("numpy-*.whl") if "aarch64" in path.name]
