"""What must work without torch works without torch, and nothing imports upwards."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "edgeexport"
BLOCKED = ("torch", "torchvision", "timm", "mmengine", "mmseg", "mmcv", "onnx", "onnxscript", "onnx_ir", "safetensors")
EXPORT_ONLY = {"pipeline"}
# Where every module is for the device.
DEVICE_FOLDERS = ("backends", "comparison", "device", "plugin", "profile", "report")
DEVICE_MODULES = [
    "edgeexport",
    *(f"edgeexport.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem not in {"__init__", *EXPORT_ONLY}),
    *(
        f"edgeexport.{folder}.{path.stem}"
        for folder in DEVICE_FOLDERS
        for path in (PACKAGE / folder).glob("*.py")
        if path.stem != "__init__"
    ),
    "edgeexport.evaluation.progress_file",
    "edgeexport.evaluation.annotation",
    "edgeexport.evaluation.dataset",
    "edgeexport.ops.match_tables",
    "edgeexport.recipe.schema",
    "edgeexport.verify.batches",
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


def test_device_modules_import_without_torch() -> None:
    done = run_without_torch(f"import importlib\nfor name in {DEVICE_MODULES!r}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr


def test_device_runtime_is_python_3_10() -> None:
    """Of JetPack 6: every module that the device modules load parses by the grammar of that version."""
    code = (
        f"import importlib, sys\nfor name in {DEVICE_MODULES!r}: importlib.import_module(name)\n"
        "loaded = [module for name, module in sys.modules.items() if name.partition('.')[0] == 'edgeexport']\n"
        "print(*(module.__file__ for module in loaded if module.__file__), sep='\\n')"  # a folder of data has no file
    )
    files = run_without_torch(code).stdout.splitlines()
    assert str(PACKAGE / "engine.py") in files and len(files) > len(DEVICE_MODULES)
    for file in files:
        ast.parse(Path(file).read_text(encoding="utf-8"), file, feature_version=(3, 10))
    with pytest.raises(SyntaxError):  # the check can fail
        ast.parse("try: pass\nexcept* ValueError: pass", feature_version=(3, 10))


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("ops", ("models", "reduction", "freeze", "graph", "verify", "calibration", "backends", "report", "device")),
        ("models", ("reduction", "graph", "verify", "calibration", "backends", "report", "device")),
        ("reduction", ("freeze", "graph", "verify", "calibration", "backends", "report", "device")),
        ("freeze", ("graph", "verify", "calibration", "backends", "report", "device")),
        ("graph", ("verify", "calibration", "report", "device")),
        ("verify", ("evaluation", "calibration", "report", "device")),
        ("evaluation", ("calibration", "graph", "backends", "device")),
        ("calibration", ("graph", "backends", "device")),
        ("backends", ("models", "reduction", "freeze", "graph", "verify", "report")),
        ("plugin", ("models", "reduction", "freeze", "graph", "verify", "report", "calibration", "backends")),
        ("profile", ("models", "reduction", "freeze", "calibration", "evaluation", "report")),
        ("report", ("models", "reduction", "freeze", "graph")),
        ("comparison", ("models", "reduction", "freeze", "graph", "verify", "report", "calibration", "plugin")),
        ("device", ("models", "reduction", "freeze", "graph", "verify", "report")),
    ],
)
def test_imports_go_one_way(package: str, never: tuple[str, ...]) -> None:
    for path in (PACKAGE / package).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                part = module.split(".")[1] if module.startswith("edgeexport.") else ""
                assert part not in never, f"{path.name} imports {module}"


def test_scenes_can_be_made_without_edgeexport() -> None:
    made = "import sys\nfrom examples.scenes import generate, ceiling\nassert 'edgeexport' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr


def test_only_the_pipeline_sees_every_stage() -> None:
    stages = {"recipe", "models", "freeze", "graph", "verify", "backends", "report", "device"}
    for path in PACKAGE.rglob("*.py"):
        parts = {
            node.module.split(".")[1]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgeexport.")
        }
        if stages <= parts:
            assert path.name == "pipeline.py"
