"""The commands of a device where a torch is installed that does not load: as without torch, and they say why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from broken_packages import WRONG_CUDA, broken_site
from shared_cases import REPOSITORY, CommandResult

LIBRARY_MISSING = "OSError('libcudart.so.12: cannot open shared object file')"
LINE = "2.8.0 is installed but does not load: libcudart.so.12: cannot open shared object file"
PHOTO = REPOSITORY / "edgeexport" / "assets" / "coffee.jpg"


def called(folder: Path, variables: dict[str, str], *arguments: object) -> CommandResult:
    command = [sys.executable, "-m", "edgeexport", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=variables)
    return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "b"))


@pytest.mark.parametrize(
    ("modules", "error"),
    [
        (("torch",), WRONG_CUDA),
        (("torch",), LIBRARY_MISSING),
        (("onnx",), WRONG_CUDA),
        (("mmengine",), LIBRARY_MISSING),
    ],
)
def test_verify_checks_the_golden_outputs(modules: tuple[str], error: str, bundle: Path, tmp_path: Path) -> None:
    done = called(tmp_path, broken_site(tmp_path, *modules, error=error), "verify", bundle, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found == json.loads((bundle / "verify.json").read_text())
    assert found["status"] == "incomplete" and f"{modules[0]} {LINE} (" in found["original_not_run"]
    assert "all that can be checked without torch" in found["explanation"]
    assert found["comparisons"] and {item["status"] for item in found["comparisons"]} == {"passed"}


def test_the_other_commands_of_a_device(bundle: Path, tmp_path: Path) -> None:
    variables = broken_site(tmp_path, "torch", "onnx", "timm", "mmengine")
    done = called(tmp_path, variables, "run", bundle, PHOTO, "--json")
    assert done.code == 0, done.err
    assert Path(tmp_path, json.loads(done.out)["images"][0]["overlay"]).is_file()
    done = called(tmp_path, variables, "inspect", bundle, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["operators"] is None
    done = called(tmp_path, variables, "doctor", "--target", "cpu", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    capabilities = {item["name"]: item for item in found["targets"][0]["capabilities"]}
    assert capabilities["run on the device"]["status"] == "ready"
    assert capabilities["build and export"]["status"] == "missing"
    assert f"torch {LINE}" in capabilities["build and export"]["detail"]
    assert set(found["machine"]["not_loading"]) >= {"torch", "onnx", "timm", "onedl-mmengine"}


@pytest.mark.parametrize("error", [WRONG_CUDA, LIBRARY_MISSING])
@pytest.mark.parametrize("module", ["torch", "timm", "onnx", "mmengine"])
def test_a_build_of_a_recipe_says_it_in_one_line(module: str, error: str, tiny_recipe: Path, tmp_path: Path) -> None:
    variables = broken_site(tmp_path, module, error=error)
    done = called(tmp_path, variables, "build", tiny_recipe, "--target", "cpu")
    assert (done.code, done.out) == (2, "")
    (line,) = [line for line in done.err.splitlines() if not line.startswith("... ")]
    assert line.startswith(
        f"error: this needs {module} | {module} {LINE} | python -c 'import {module}' shows all of it; "
    )


def test_what_needs_the_original_is_refused_with_the_reason(bundle: Path, tmp_path: Path) -> None:
    variables = broken_site(tmp_path, "torch")
    done = called(tmp_path, variables, "verify", bundle, "--data", PHOTO.parent)
    assert done.code == 2 and f"comparing on new images needs the original model: torch {LINE}" in done.err
    assert called(tmp_path, variables, "inspect", bundle / "model.onnx").code == 0  # needs onnx alone
