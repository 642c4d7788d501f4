"""Child processes run nothing that lies in the folder that the user is in, in the Pythons of JetPack either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from interpreters import interpreter

from edgeexport.backends.tensorrt_rtx import check_tensorrt_rtx
from edgeexport.device import child
from edgeexport.device.child import output_of, python_command
from edgeexport.device.machine import Probe, _providers, _rtx_version
from edgeexport.device.packages import not_loading_in_a_child
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.search import Search

PACKAGE = Path(child.__file__).parents[1]
NAMES = ("json", "numpy", "onnxruntime", "tensorrt_rtx_bindings", "runpy", "pip", "edgeexport")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, on the search path in every way that there is, with modules that leave a file when they run."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / f'RAN_{name}')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(tmp_path)]))
    monkeypatch.setattr(sys, "path", ["", ".", str(tmp_path), *sys.path])
    return tmp_path


def ran(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("RAN_*"))


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12"])
def test_no_module_of_the_current_folder(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [interpreter(version), "-c", "import json"]
    subprocess.run(plain, check=True)
    assert ran(folder) == ["RAN_json"]  # they would run
    (folder / "RAN_json").unlink()
    monkeypatch.setattr(sys, "executable", plain[0])
    monkeypatch.setattr(sys, "path", sys.path[:3])  # the others are this Python's
    code = "import edgeexport, json, runpy, sys; print(json.dumps([sys.argv[1:], edgeexport.__file__]))"
    done = subprocess.run(python_command(code, "a b", ""), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["a b", ""], str(PACKAGE / "__init__.py")]
    assert not ran(folder)


def test_what_starts_a_python_runs_none_of_them(folder: Path) -> None:
    (folder / "x.onnx").write_bytes(b"no model")
    for look in (_providers, _rtx_version):
        look(Probe())
    assert not_loading_in_a_child(Probe().run, ["scipy"]) == {}
    assert check_tensorrt_rtx(Path("x.onnx")).status in ("failed", "not-run")
    asked: list[list[str]] = []
    with pytest.raises(Exception, match="pip could not download"):
        find_headers(
            search=Search(run=lambda command, _: asked.append([*command]), root=folder, environ={}, cache=folder / "c")  # type: ignore[arg-type]
        )
    version = [word for word in asked[0][:4]] + ["--version"]
    assert (output_of(version, 60) or "").startswith("pip ")
    assert not ran(folder)


def test_commands_start_in_an_empty_folder(folder: Path) -> None:
    place, *content = (output_of(["sh", "-c", "pwd; ls -A"], 30) or "").splitlines()
    assert content == [] and Path(place) != folder and not Path(place).exists()


def test_nothing_else_starts_a_python() -> None:
    places = {
        str(path.relative_to(PACKAGE)): text.count("sys.executable")
        for path in PACKAGE.rglob("*.py")
        if "sys.executable" in (text := path.read_text(encoding="utf-8"))
    }
    assert places == {"device/child.py": 1, "plugin/search.py": 1}  # the latter: programs beside this Python
