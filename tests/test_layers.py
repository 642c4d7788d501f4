"""Imports run one way, from row to row; and what a device runs needs no torch, present, absent or broken."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_packages import broken_site

PACKAGE = Path(__file__).resolve().parents[1] / "edgeexport"
# A folder imports only from rows above its own, never from its own row.
ROWS = (
    ("errors", "version"),
    ("documents",),
    ("device", "config", "inputs", "ops"),
    ("bundle", "cost", "tokens"),
    ("plugin", "comparison", "hosts", "reductions"),
    ("backends", "recipe"),
    ("profile", "pictures", "fixed"),
    ("report", "verify", "graph", "evaluation"),
    ("calibration",),
    ("commands",),
    ("remote", "terminal"),
    ("tune",),
    ("cli",),
)
ROW = {name: number for number, row in enumerate(ROWS) for name in row}
BLOCKED = (
    "torch",
    "torchvision",
    "timm",
    "tokenizers",
    "mmengine",
    "mmseg",
    "mmcv",
    "onnx",
    "onnxscript",
    "onnx_ir",
    "safetensors",
)
# Folders whose every module is for the device, and single modules of others that are.
DEVICE_FOLDERS = (
    "documents", "device", "config", "inputs", "bundle", "cost", "plugin", "comparison", "backends", "profile", "pictures",
    "report", "remote", "terminal", "cli",
)  # fmt: skip
DEVICE_MODULES = [
    "edgeexport",
    "edgeexport.errors",
    "edgeexport.version",
    *(
        f"edgeexport.{folder}.{path.stem}"
        for folder in DEVICE_FOLDERS
        for path in (PACKAGE / folder).glob("*.py")
        if path.stem not in {"__init__", "__main__"}
    ),
    *(f"edgeexport.commands.{name}" for name in ("run", "verify", "inspect", "doctor")),
    "edgeexport.evaluation.progress_file",
    "edgeexport.evaluation.annotation",
    "edgeexport.evaluation.dataset",
    "edgeexport.evaluation.folder_layout",
    "edgeexport.ops.match_tables",
    "edgeexport.verify.compare",
    "edgeexport.verify.decisions",
    "edgeexport.verify.golden_check",
]
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run_without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code, *arguments], capture_output=True, text=True, check=False
    )


def imports_of(source: str) -> Iterator[str]:
    """Rooms (folders of the package, or modules at its root) that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "edgeexport":
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("edgeexport."))


def upward(room: str, source: str) -> list[str]:
    """Rooms that a module of ``room`` imports and may not."""
    return [other for other in imports_of(source) if other != room and ROW[other] >= ROW[room]]


def test_every_room_has_a_row() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms <= set(ROW)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "errors", "version"}


@pytest.mark.parametrize("room", sorted(ROW))
def test_imports_run_down(room: str) -> None:
    found = {
        str(path.relative_to(PACKAGE)): wrong
        for path in (PACKAGE / room).rglob("*.py")
        if (wrong := upward(room, path.read_text(encoding="utf-8")))
    }
    assert not found


def test_an_import_that_runs_up_is_found() -> None:
    assert upward("hosts", "from edgeexport.reductions.cts import x") == ["reductions"]
    assert upward("cost", "def f():\n    import edgeexport.cli.app") == ["cli"]
    assert upward("fixed", "from edgeexport.hosts import HOSTS\nfrom edgeexport import errors") == []


def test_every_module_imports() -> None:
    """An import of a module that is gone is an error here, before somebody calls the command that needs it."""
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.stem not in {"__init__", "__main__"}
    ]
    done = subprocess.run(
        [sys.executable, "-c", f"import importlib\nfor name in {names!r}: importlib.import_module(name)"],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr


def test_device_modules_import_without_torch() -> None:
    done = run_without_torch(f"import importlib\nfor name in {DEVICE_MODULES!r}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr


def test_device_modules_import_beside_packages_that_do_not_load(tmp_path: Path) -> None:
    code = f"import importlib\nfor name in {DEVICE_MODULES!r}: importlib.import_module(name)"
    variables = broken_site(tmp_path, *BLOCKED)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False, env=variables)
    assert done.returncode != 0  # the packages do stand in the way


def test_device_runtime_is_python_3_10() -> None:
    """Of JetPack 6: every module that the device modules load parses by the grammar of that version."""
    code = (
        f"import importlib, sys\nfor name in {DEVICE_MODULES!r}: importlib.import_module(name)\n"
        "loaded = [module for name, module in sys.modules.items() if name.partition('.')[0] == 'edgeexport']\n"
        "print(*(module.__file__ for module in loaded if module.__file__), sep='\\n')"  # a folder of data has no file
    )
    files = run_without_torch(code).stdout.splitlines()
    assert str(PACKAGE / "backends" / "engine.py") in files and len(files) > len(DEVICE_MODULES)
    for file in files:
        ast.parse(Path(file).read_text(encoding="utf-8"), file, feature_version=(3, 10))
    with pytest.raises(SyntaxError):  # the check can fail
        ast.parse("try: pass\nexcept* ValueError: pass", feature_version=(3, 10))


def test_scenes_can_be_made_without_edgeexport() -> None:
    made = "import sys\nfrom examples.scenes import generate, ceiling\nassert 'edgeexport' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
