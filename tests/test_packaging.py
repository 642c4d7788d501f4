"""What an installation contains: recipes, photographs and templates travel in the wheel, and constraints cover extras."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

REPOSITORY = Path(__file__).resolve().parents[1]


def test_wheel_carries_recipes_and_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for recipe in (REPOSITORY / "recipes").glob("*.py"):
        assert f"edgeexport/recipes/{recipe.name}" in names
    assert "edgeexport/recipes/scenes.safetensors" in names
    for photo in (REPOSITORY / "edgeexport" / "assets").iterdir():
        assert f"edgeexport/assets/{photo.name}" in names
    assert "edgeexport/report/report.html.j2" in names
    assert "edgeexport/plugins_src/token_match/token_match.cuh" in names
    assert "edgeexport/plugins_src/CMakeLists.txt" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "examples/"))]
    # The extracted wheel stands in for an installation: no source checkout beside it.
    code = "from edgeexport.recipe import load_recipe; print(load_recipe('segvit_ti_cts_dtop.py').path)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert Path(done.stdout.strip()) == tmp_path / "site" / "edgeexport" / "recipes" / "segvit_ti_cts_dtop.py"


def test_constraints_pin_every_requirement() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split(r"[<>=;\[ ]", requirement)[0].lower().replace("_", "-")
        for requirement in [*project["dependencies"], *extras["export"], *extras["dev"], *extras["cpu"]]
    }
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert wanted <= pinned, wanted - pinned


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.10", "3.12"])  # of JetPack 6 and JetPack 7
@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_device_runtime_resolves(python: str, machine: str, tmp_path: Path) -> None:
    """The light installation with ONNX Runtime has wheels for the Pythons of the Jetsons; needs a package index."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"):  # Ubuntu 22.04 takes up to 2_35
        command += ["--platform", f"{tag}_{machine}"]
    done = subprocess.run([*command, "--target", str(tmp_path), *wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    chosen = {item["metadata"]["name"].lower() for item in json.loads(done.stdout)["install"]}
    assert {"numpy", "pillow", "jinja2", "polygraphy", "rich", "typer", "onnxruntime"} <= chosen
    assert not {"torch", "onnx"} & chosen


def _interpreter(version: str) -> str:
    """A Python of that version: by its name, or among pyenv's (whose own stand-ins may find none)."""
    named = shutil.which(f"python{version}")
    others = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for candidate in [*([named] if named else []), *map(str, others)]:
        done = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.startswith(f"Python {version}."):
            return candidate
    pytest.skip(f"no Python {version} on this machine")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.12"])
def test_device_runtime_runs_in_the_pythons_of_jetsons(version: str, tiny_bundle: Path, tmp_path: Path) -> None:
    """Installed with ONNX Runtime alone: the engine of a bundle is built, verified and run. Needs a package index."""
    subprocess.run([_interpreter(version), "-m", "venv", str(tmp_path / "v")], check=True, capture_output=True)
    program = tmp_path / "v" / "bin" / "edgeexport"
    install = [str(program.with_name("pip")), "install", "--quiet", f"{REPOSITORY}[cpu]"]
    subprocess.run(install, check=True, capture_output=True)
    shutil.copytree(tiny_bundle, tmp_path / "b")
    photo = str(REPOSITORY / "edgeexport" / "assets" / "coffee.jpg")
    for arguments in (
        ["build", "b", "--target", "cpu"],
        ["verify", "b", "--json"],
        ["run", "b", photo],
        ["inspect", "b"],
        ["doctor"],
    ):
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    verified = json.loads((tmp_path / "b" / "verify.json").read_text())
    assert verified["runner"].startswith("onnxruntime engine ")
    assert {item["status"] for item in verified["comparisons"]} == {"passed"}
