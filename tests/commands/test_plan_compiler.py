"""TensorRT-RTX beside the build: what it works on ends with a build that fails, and what children take is told."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

pytest.importorskip("torch", reason="exports models")

from edgeexport.backends.tensorrt_rtx import RtxCheck
from edgeexport.commands import plans
from edgeexport.commands.plans import Compiler, compiler
from edgeexport.device.child import finished, python_command

GRAPHS: Any = SimpleNamespace(with_functions=onnx.ModelProto())


def test_a_build_that_fails_ends_what_runs_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []

    def check(path: Path, on_start: Any) -> RtxCheck:
        begun.append(path)
        finished(python_command("import time; time.sleep(600)"), 600, on_start=on_start)
        return RtxCheck("failed", reason="ended")

    monkeypatch.setattr(plans, "check_tensorrt_rtx", check)
    files = [tmp_path / f"{number}.onnx" for number in range(4)]
    for file in files:
        file.touch()
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="parity"), compiler(GRAPHS) as compiling:
        waiting = [compiling.pool.submit(compiling.compiled, file) for file in files]
        while len(compiling.running) < compiling.at_once and time.monotonic() < start + 120:
            time.sleep(0.01)
        raise RuntimeError("parity")
    assert time.monotonic() < start + 300
    assert begun == files[: compiling.at_once], "what had not begun never does"
    assert [future.cancelled() for future in waiting] == [False, False, True, True]
    assert all(child.returncode for child in compiling.running)


@pytest.mark.parametrize(("elements", "at_once", "peak"), [(1 << 20, 2, 11), (1 << 26, 1, 7)])
def test_a_large_model_is_compiled_alone(elements: int, at_once: int, peak: int) -> None:
    """And memory is the most that so many children can have taken at once."""
    model = onnx.ModelProto()
    model.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[elements])
    made: Compiler
    with compiler(SimpleNamespace(with_functions=model)) as made:  # type: ignore[arg-type]
        made.peaks.extend([3, 7, 4, 1])
    assert (made.at_once, made.peak_bytes) == (at_once, peak)


def test_no_child_where_the_whole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph around plugins is not compiled where TensorRT-RTX is not there, or refuses the graph."""
    asked: list[str] = []

    def check(path: Path, on_start: Any) -> RtxCheck:
        asked.append(path.name)
        return RtxCheck("not-run", reason="not installed")

    monkeypatch.setattr(plans, "check_tensorrt_rtx", check)
    for name in ("whole.onnx", "around.onnx"):
        (tmp_path / name).touch()
    with compiler(GRAPHS) as made:
        whole = made.pool.submit(made.compiled, tmp_path / "whole.onnx", kept=True)
        around = made.pool.submit(made._compiled_if_passed, tmp_path / "around.onnx", whole)
        assert around.result().status == "not-run"
    assert asked == ["whole.onnx"] and [path.name for path in tmp_path.iterdir()] == ["whole.onnx"]
