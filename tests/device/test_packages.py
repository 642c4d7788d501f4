from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeexport.device.packages import error_of_package, failing_package, not_loading, packages_fault


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """`package(name, text)`: an importable package of that content, in place of an installed one."""
    monkeypatch.syspath_prepend(tmp_path)

    def loaded(name: str) -> list[str]:
        return [module for module in sys.modules if module.partition(".")[0] == name]

    made = []

    def make(name: str, text: str) -> None:
        for module in loaded(name):
            monkeypatch.delitem(sys.modules, module)
        made.append(name)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        importlib.invalidate_caches()

    yield make
    for name in made:
        for module in loaded(name):
            del sys.modules[module]  # the installed one comes back with the monkeypatch


def raised_by(module: str) -> Exception:
    with pytest.raises(Exception) as caught:
        importlib.import_module(module)
    return caught.value


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ImportError('libcudart.so.12: cannot open\\nmore')", "libcudart.so.12: cannot open"),
        ("OSError('libtorch.so: wrong ELF class')", "libtorch.so: wrong ELF class"),
        (
            "RuntimeError('operator torchvision::nms does not exist')",
            "RuntimeError: operator torchvision::nms does not",
        ),
        ("ImportError", "ImportError"),
    ],
)
def test_a_package_that_raises_as_it_is_imported(package, error: str, line: str) -> None:
    package("onnxscript", f"raise {error}")
    told = str(error_of_package(raised_by("onnxscript")))
    assert told.startswith("this needs onnxscript | onnxscript ")
    assert f"is installed but does not load: {line}" in told
    assert "python -c 'import onnxscript' shows all of it; pip install --force-reinstall onnxscript" in told
    assert "\n" not in told
    assert packages_fault(["onnxscript"]).partition(": ")[2].startswith(line)


def test_the_innermost_package_is_named(package) -> None:
    package("onnxscript", "import onnx_ir")
    package("onnx_ir", "def f():\n    raise OSError('x')\nf()")
    assert failing_package(raised_by("onnxscript")) == "onnx_ir"
    assert not_loading(["onnxscript", "onnx_ir"]) == {"onnx_ir": "x"}
    assert not_loading(["onnxscript"]) == {"onnxscript": "x"}


def test_missing_is_not_broken(package) -> None:
    package("onnxscript", "import safetensors")
    package("onnx_ir", "import onnx_ir._binary")
    package("safetensors", "import numpy_that_is_not_there")
    error = raised_by("onnxscript")
    assert "safetensors" in str(error_of_package(error)) and "does not load: No module" in str(error_of_package(error))
    told = str(error_of_package(raised_by("onnx_ir")))
    assert "onnx_ir" in told and "does not load: No module named 'onnx_ir._binary'" in told
    told = str(error_of_package(ModuleNotFoundError("No module named 'timm'", name="timm")))
    assert told == "this needs timm, which is not installed | pip install 'edgeexport[export]' (Python 3.11 or newer)"


def test_other_errors_are_none_of_a_package(package) -> None:
    package("onnxscript", "def load():\n    raise OSError('no such file')")
    import onnxscript

    with pytest.raises(OSError) as caught:
        onnxscript.load()  # as torch.load of a file that is not there
    assert error_of_package(caught.value) is None
    assert error_of_package(ModuleNotFoundError("No module named 'yapf'", name="yapf")) is None
    assert error_of_package(ImportError("x")) is None
