"""The light installation: every command for a bundle, without torch and all else that only the export needs."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import tomllib
from interpreters import interpreter
from packaging.requirements import Requirement

import edgeexport
from edgeexport.recipe import shipped_recipes

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgeexport"
PHOTO = PACKAGE / "assets" / "coffee.jpg"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIGHT = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"]]
PYTHONS = {"3.10": "jetson/constraints.txt", "3.11": "constraints.txt", "3.12": "jetson/constraints.txt"}

# Import names of what [export] installs and [cpu] does not.
BLOCKED = ("torch", "torchvision", "timm", "mmengine", "mmcv", "mmseg", "onnx", "onnxscript", "onnx_ir")
BLOCKED += ("tokenizers", "safetensors", "matplotlib", "scipy")
BLOCKED += ("tensorrt_rtx", "tensorrt_rtx_bindings")
# Reads a list of commands from standard input, and prints for each its exit code, standard output and standard error;
# at the end what was loaded.
IN_TURN = f"""
import contextlib, io, json, sys, traceback
BLOCKED = set({BLOCKED!r})
def loaded():
    return sorted({{name.partition(".")[0] for name in sys.modules}} & BLOCKED)
assert not loaded(), loaded()  # before the block stands
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
from edgeexport.cli import main
results = []
for command in json.load(sys.stdin):
    sys.argv = ["edgeexport", *command]
    out, err, code = io.StringIO(), io.StringIO(), 1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
    results.append((code, out.getvalue(), err.getvalue()))
files = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "edgeexport"]
print(json.dumps(dict(results=results, loaded=loaded(), files=[file for file in files if file])))
"""

# In this order, on one bundle. Every one also without --json.
COMMANDS: dict[str, list[str]] = {
    "version": ["version"],
    "recipes": ["recipes"],
    "doctor": ["doctor"],
    "plugin list": ["plugin", "list"],
    "build": ["build", "b", "--target", "cpu"],
    "verify": ["verify", "b"],
    "profile": ["profile", "b", "--duration", "0.05", "--warmUp", "1", "--allow-unstable"],
    "run": ["run", "b", str(PHOTO)],
    "inspect": ["inspect", "b"],
    "compare": ["compare", "b", "b", "--fail-if", "latency_p50_ms > 1.03*A", "--allow-unstable"],
}
REFUSED: dict[str, list[str]] = {
    "lint": ["lint", "b/model.onnx"],
    "inspect": ["inspect", "b/model.onnx"],
    "build": ["build", "segvit_ti", "--target", "cpu"],
    "dry run": ["build", "segvit_ti", "--target", "cpu", "--dry-run"],
    "evaluate": ["evaluate", "b", "--data", "images"],
    "calibrate": ["calibrate", "segvit_ti", "--data", "images"],
}


class Device:
    """What the commands gave where the packages are blocked."""

    def __init__(self, folder: Path) -> None:
        plain = list(COMMANDS.values())
        asked = [[*command, "--json"] for command in plain] + plain + list(REFUSED.values())
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", IN_TURN],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=variables,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        self.folder = folder
        self.loaded: list[str] = found["loaded"]
        self.files: list[str] = found["files"]
        self._results = {tuple(command): result for command, result in zip(asked, found["results"], strict=True)}

    def of(self, *command: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        code, out, err = self._results[command]
        return code, out, err

    def document(self, name: str) -> dict[str, Any]:
        """What ``--json`` printed."""
        code, out, err = self.of(*COMMANDS[name], "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture(scope="module")
def device(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Device:
    folder = tmp_path_factory.mktemp("device")
    shutil.copytree(tiny_bundle, folder / "b")
    return Device(folder)


def test_block_covers_the_export_extra() -> None:
    def names(requirements: list[str]) -> set[str]:
        return {Requirement(text).name.lower().replace("_", "-") for text in requirements}

    export_only = names(PROJECT["optional-dependencies"]["export"]) - names(LIGHT)
    packages: dict[str, set[str]] = {}
    for package, distributions in packages_distributions().items():
        for distribution in distributions:
            packages.setdefault(distribution.lower().replace("_", "-"), set()).add(package)
    missing = {name for name in export_only if packages.get(name) and not packages[name] & set(BLOCKED)}
    assert {"torch", "onedl-mmsegmentation", "onnxscript"} <= export_only
    assert missing <= {"tensorrt-rtx-cu13-libs"}, missing  # shared libraries behind tensorrt_rtx_bindings


def test_nothing_of_the_export_is_loaded(device: Device) -> None:
    assert device.loaded == []


@pytest.mark.parametrize("name", COMMANDS)
def test_command_without_the_export(name: str, device: Device) -> None:
    code, out, err = device.of(*COMMANDS[name])
    assert code == 0, err
    assert out.strip()
    assert not [line for line in err.splitlines() if not line.startswith("... ")], err


@pytest.mark.parametrize("name", REFUSED)
def test_command_that_needs_the_export_says_so(name: str, device: Device) -> None:
    code, out, err = device.of(*REFUSED[name])
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if not line.startswith("... ")]
    remedy = r"pip install 'edgeexport\[export\]' \(Python 3.11 or newer\)"
    assert re.fullmatch(rf"error: this needs \w+, which is not installed \| {remedy}", line), line


def test_what_the_machine_is_and_has(device: Device) -> None:
    assert device.of("version")[1].strip() == edgeexport.__version__
    (cpu,) = [item for item in device.document("doctor")["targets"] if item["target"] == "cpu"]
    status = {item["name"]: item["status"] for item in cpu["capabilities"]}
    assert status["ONNX Runtime"] == status["engine build"] == status["run on the device"] == "ready"
    assert {item["name"] for item in device.document("recipes")["recipes"]} == {name for name, _ in shipped_recipes()}
    assert "TokenMatch" in {item["name"] for item in device.document("plugin list")["plugins"]}


def test_engine_is_built_and_verified(device: Device) -> None:
    built = device.document("build")["engine"]
    assert (built["target"], built["backend"]) == ("cpu", "onnxruntime")
    assert built["backend_version"] == onnxruntime.__version__
    verified = device.document("verify")
    assert verified["runner"] == f"onnxruntime engine {onnxruntime.__version__}"
    assert verified["status"] == "incomplete" and "torch" in verified["original_not_run"]
    assert "original not run: torch" in device.of(*COMMANDS["verify"])[1]
    assert verified["comparisons"] and {item["status"] for item in verified["comparisons"]} == {"passed"}
    inspected = device.document("inspect")
    assert (inspected["name"], inspected["operators"]) == ("tiny", None)
    assert inspected["engine"]["files"] == built["files"]  # built twice: with --json and without


def test_engine_is_measured_compared_and_run(device: Device) -> None:
    measured = device.document("profile")
    assert (measured["provenance"], measured["engine"]) == ("measured", "engine.onnx")
    assert (device.folder / "b" / "bench.json").is_file()
    compared = device.document("compare")
    assert compared["status"] == "passed"
    assert [item["failed"] for item in compared["conditions"]] == [False]
    (picture,) = device.document("run")["images"]
    assert (device.folder / picture["overlay"]).is_file() and picture["classes"]


def test_every_module_that_ran_is_python_3_10(device: Device) -> None:
    """JetPack 6 has it: the grammar; `mypy` holds what is called to the standard library of that version."""
    assert {str(PACKAGE / name) for name in ("cli/app.py", "backends/engine.py", "profile/bench.py")} <= set(
        device.files
    )
    for file in device.files:
        ast.parse(Path(file).read_text(encoding="utf-8"), file, feature_version=(3, 10))


# --- Installed for real; needs a package index ---


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.10", "3.12"])  # of JetPack 6 and JetPack 7
@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_pinned_versions_resolve(python: str, machine: str, tmp_path: Path) -> None:
    """The light installation with ONNX Runtime has wheels for the Pythons of the Jetsons, at the pinned versions."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"):  # Ubuntu 22.04 takes up to 2_35
        command += ["--platform", f"{tag}_{machine}"]
    # pip would hold the markers to the Python that runs it.
    lines = (ROOT / "jetson" / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    environment = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    wanted = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
    (tmp_path / "constraints.txt").write_text("".join(f"{pin.name}{pin.specifier}\n" for pin in wanted))
    command += ["--constraint", str(tmp_path / "constraints.txt"), "--target", str(tmp_path / "target")]
    done = subprocess.run([*command, *LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {item["metadata"]["name"].lower(): item for item in json.loads(done.stdout)["install"]}
    assert {"numpy", "pillow", "jinja2", "rich", "typer", "onnxruntime"} <= set(found)
    assert not {"torch", "onnx", "scipy"} & set(found)
    assert f"_{machine}.whl" in found["onnxruntime"]["download_info"]["url"]


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_installed_runtime(python: str, tiny_bundle: Path, tmp_path: Path) -> None:
    """In a new environment with nothing but `.[cpu]`: a bundle's engine is built, verified, measured and run."""
    subprocess.run([interpreter(python), "-m", "venv", str(tmp_path / "v")], check=True, capture_output=True)
    binaries = tmp_path / "v" / "bin"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["XDG_CACHE_HOME"] = str(tmp_path / "cache")

    def call(program: str, *arguments: str) -> str:
        command = [str(binaries / program), *arguments]
        done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    empty = folder_bytes(tmp_path / "v")
    call("pip", "install", "--quiet", "--constraint", str(ROOT / PYTHONS[python]), f"{ROOT}[cpu]")
    assert folder_bytes(tmp_path / "v") - empty < 300e6  # light: torch alone is larger
    installed = {item["name"].lower() for item in json.loads(call("pip", "list", "--format=json"))}
    assert "onnxruntime" in installed and not {"torch", "onnx", "scipy", "timm"} & installed
    shutil.copytree(tiny_bundle, tmp_path / "b")
    documents = {}
    for name, command in {**COMMANDS, "profile": ["profile", "b", "--duration", "1", "--allow-unstable"]}.items():
        assert call("edgeexport", *command).strip()
        documents[name] = json.loads(call("edgeexport", *command, "--json"))
    (cpu,) = [item for item in documents["doctor"]["targets"] if item["target"] == "cpu"]
    status = {item["name"]: item["status"] for item in cpu["capabilities"]}
    assert (status["build and export"], status["engine build"]) == ("missing", "ready")
    assert {item["status"] for item in documents["verify"]["comparisons"]} == {"passed"}
    assert documents["verify"]["runner"].startswith("onnxruntime engine ")
    assert documents["profile"]["versions"]["python"].startswith(f"{python}.")
    assert documents["recipes"]["recipes"]  # which travel in the wheel


def folder_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
