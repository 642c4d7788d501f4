"""Which TensorRT is taken, and whether its names exist: held to TensorRT-RTX's bindings, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rtx_alias import requires_tensorrt_rtx

from edgeexport.backends import tensorrt_api
from edgeexport.backends.tensorrt_api import (
    EXPLICIT_BATCH,
    NOT_IN_TENSORRT_RTX,
    OPTIONAL,
    PLUGIN_NAMES,
    REQUIRED,
    STRONGLY_TYPED,
    TensorRt,
    installed_tensorrt,
    why_not_this_version,
)
from edgeexport.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def flags(**members: int) -> TensorRt:
    return TensorRt(SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(**members)), "10.3.0")


@requires_tensorrt_rtx
def test_names_exist_in_tensorrt_rtx() -> None:
    """Each name is looked up by the same code. What is listed as not there has to be absent, else the list is stale."""
    code = (
        "import json, tensorrt_rtx_bindings as module\n"
        "from edgeexport.backends import tensorrt_api as api\n"
        "found = api.TensorRt(module, module.__version__)\n"
        "paths = [*api.REQUIRED, *api.PLUGIN_NAMES, *api.OPTIONAL]\n"
        "lacking = [path for path in paths if found.optional(path) is None]\n"
        "strong = module.NetworkDefinitionCreationFlag.STRONGLY_TYPED\n"
        "print(json.dumps({'lacking': lacking, 'flags': found.network_flags, 'strong': 1 << int(strong)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert sorted(found["lacking"]) == sorted(NOT_IN_TENSORRT_RTX)
    assert found["flags"] == found["strong"]


def test_lists_name_everything_once() -> None:
    names = [*REQUIRED, *PLUGIN_NAMES, *OPTIONAL]
    assert len(set(names)) == len(names)
    constants = {value for name, value in vars(tensorrt_api).items() if name.isupper() and isinstance(value, str)}
    assert constants <= set(names) and len(constants) == 11


def test_strong_typing_is_found_by_name() -> None:
    assert flags(EXPLICIT_BATCH=0, STRONGLY_TYPED=1).network_flags == 2  # 10.x
    assert flags(STRONGLY_TYPED=0).network_flags == 1  # 11.x
    assert flags(EXPLICIT_BATCH=0).network_flags == 1  # 8.x
    assert flags().network_flags == 0
    assert (STRONGLY_TYPED.rpartition(".")[0], EXPLICIT_BATCH.rpartition(".")[2]) == (
        "NetworkDefinitionCreationFlag",
        "EXPLICIT_BATCH",
    )


@pytest.mark.parametrize("version", ["10.3.0", "10.3.0.26", "10.16.1", "11.0.0", "11.4.1", "8.6.1", "8.6.2"])
def test_versions_that_are_taken(version: str) -> None:
    assert why_not_this_version(version) == ""


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("10.2.0", "is too old; expected 10.3 to 11.x, or 8.6 to 8.x for a bundle without plugins"),
        ("9.3.0", "is too old"),
        ("8.5.2", "is too old"),
        ("12.0.0", "is newer than this edgeexport knows; expected 10.3 to 11.x"),
        ("", "tells no version ('')"),
    ],
)
def test_versions_that_are_not(version: str, reason: str) -> None:
    assert why_not_this_version(version).startswith(reason)


def test_plugins_and_strong_typing_by_version() -> None:
    for version, expected in (("8.6.2", False), ("10.3.0", True), ("11.4.1", True)):
        found = TensorRt(None, version)
        assert found.takes_plugins is found.strongly_typed is expected


# --- The installed one ---


def install(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", module)


def refusal() -> str:
    with pytest.raises(UsageError) as caught:
        installed_tensorrt()
    assert "JetPack" in caught.value.remedy or "10.3" in caught.value.remedy
    return f"{caught.value.where} {caught.value.problem}"


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert refusal().startswith("tensorrt is not installed") or "does not load" in refusal()


def test_installed_and_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open\\nshared object file')\n")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert refusal() == "tensorrt does not load: libnvinfer.so.10: cannot open shared object file"
    (tmp_path / "tensorrt.py").write_text("import no_such_library_of_tensorrt\n")
    assert "does not load: No module named 'no_such_library_of_tensorrt'" in refusal()


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tensorrt")
    module.__version__ = "12.1.0"  # type: ignore[attr-defined]
    install(monkeypatch, module)
    assert refusal() == "TensorRT 12.1.0 is newer than this edgeexport knows; expected 10.3 to 11.x"
    del module.__version__  # type: ignore[attr-defined]
    assert refusal() == "TensorRT  tells no version ('')"


def test_dropped_name_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_tensorrt import fake_tensorrt

    module = fake_tensorrt("11.4.1")
    install(monkeypatch, module)
    assert installed_tensorrt().version == "11.4.1"
    monkeypatch.delattr(module.BuilderFlag, "TF32")
    assert refusal() == "TensorRT 11.4.1 has no BuilderFlag.TF32, which edgeexport uses"
