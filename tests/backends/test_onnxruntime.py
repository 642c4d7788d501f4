"""The ONNX Runtime runner: from a file or from bytes, with inner values, and its errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, parser

from edgeexport.backends import onnxruntime as runner_module
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError, UsageError

MODEL = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
g (uint8[2,3] image) => (float[2,3] scores, int32[2] best) {
    wide = Cast <to = 1> (image)
    scores = Neg (wide)
    index = ArgMax <axis = 1, keepdims = 0> (wide)
    best = Cast <to = 6> (index)
}""").SerializeToString()
IMAGE = np.array([[3, 9, 1], [7, 2, 5]], dtype=np.uint8)
WIDE = TensorInfo("wide", "float32", (2, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(MODEL)
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("form", ["file", "bytes"])
@pytest.mark.parametrize("extra", [(), (WIDE,)])
def test_outputs_by_name(path: Path, form: str, extra: tuple[TensorInfo, ...]) -> None:
    runner = OnnxRuntimeRunner(path if form == "file" else MODEL, extra_outputs=extra, threads=1)
    assert runner.input_name == "image"
    assert runner.output_names == ["scores", "best", *(info.name for info in extra)]
    found = runner.run(IMAGE)
    assert list(found) == runner.output_names
    np.testing.assert_array_equal(found["scores"], -IMAGE.astype(np.float32))
    np.testing.assert_array_equal(found["best"], [1, 0])
    if extra:
        np.testing.assert_array_equal(found["wide"], IMAGE)
    assert path.read_bytes() == MODEL  # the file itself never changes


def test_says_what_it_is(path: Path) -> None:
    import onnxruntime

    runner = OnnxRuntimeRunner(path)
    assert (runner.name, runner.version) == ("onnxruntime", onnxruntime.__version__)


def test_threads_reach_the_session(path: Path) -> None:
    runner = OnnxRuntimeRunner(path, threads=1)
    assert runner.session.get_session_options().intra_op_num_threads == 1
    assert runner.session.get_session_options().use_per_session_threads


@pytest.mark.parametrize("location", ["../secret", "{folder}/secret", "link"])
def test_weights_that_lie_elsewhere_are_not_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "b").mkdir()
    (tmp_path / "b/link").symlink_to(tmp_path / "secret")
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location.format(folder=tmp_path))
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[4] x) => (float[4] y) {y = Add (x, w)}'
    )
    model.graph.initializer.append(weight)
    (tmp_path / "b/model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BuildError, match="External data path"):
        OnnxRuntimeRunner(tmp_path / "b/model.onnx")


@pytest.mark.parametrize("content", [b"", b"not a graph", MODEL[: len(MODEL) // 2]])
@pytest.mark.parametrize("extra", [(), (WIDE,)])
def test_refused_graph(tmp_path: Path, content: bytes, extra: tuple[TensorInfo, ...]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BuildError, match=r"ONNX Runtime [0-9.]+ refuses the graph") as caught:
        OnnxRuntimeRunner(path, extra_outputs=extra)
    assert caught.value.exit_code == 5
    assert caught.value.where == str(path)


@pytest.mark.parametrize("extra", [(), (WIDE,)])
def test_missing_file(tmp_path: Path, extra: tuple[TensorInfo, ...]) -> None:
    with pytest.raises(BuildError) as caught:
        OnnxRuntimeRunner(tmp_path / "absent.onnx", extra_outputs=extra)
    assert caught.value.where == str(tmp_path / "absent.onnx")


def test_extra_output_that_does_not_exist(path: Path) -> None:
    with pytest.raises(BuildError, match="refuses the graph"):
        OnnxRuntimeRunner(path, extra_outputs=[TensorInfo("nowhere", "float32", (1,))])


# --- Further inputs ---


TWO_INPUTS = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
g (float[2,3] image, float[2,1] context) => (float[2,3] out) { out = Sub (image, context) }""").SerializeToString()
CONTEXT = np.array([[1], [2]], dtype=np.float32)


def test_further_inputs_are_fed_by_name() -> None:
    runner = OnnxRuntimeRunner(TWO_INPUTS)
    assert (runner.input_name, runner.extra_input_names) == ("image", ("context",))
    found = runner.run(IMAGE.astype(np.float32), {"context": CONTEXT})
    np.testing.assert_array_equal(found["out"], IMAGE - CONTEXT)


@pytest.mark.parametrize("extra", [None, {}])
def test_graph_of_one_input_needs_nothing_else(extra: dict[str, np.ndarray] | None) -> None:
    runner = OnnxRuntimeRunner(MODEL)
    assert runner.extra_input_names == ()
    np.testing.assert_array_equal(runner.run(IMAGE, extra)["best"], [1, 0])


@pytest.mark.parametrize(
    ("model", "extra", "problem"),
    [
        (TWO_INPUTS, None, "given nothing beside 'image', expected 'context'"),
        (TWO_INPUTS, {}, "given nothing beside 'image', expected 'context'"),
        (TWO_INPUTS, {"text": CONTEXT}, "given 'text' beside 'image', expected 'context'"),
        (TWO_INPUTS, {"context": CONTEXT, "text": CONTEXT}, "given 'context', 'text' beside 'image'"),
        (TWO_INPUTS, {"context": CONTEXT, "image": CONTEXT}, "given 'context', 'image' beside 'image'"),
        (MODEL, {"context": CONTEXT}, "given 'context' beside 'image', expected nothing"),
    ],
)
def test_missing_or_unknown_inputs(model: bytes, extra: dict[str, np.ndarray] | None, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        OnnxRuntimeRunner(model).run(IMAGE, extra)
    assert problem in caught.value.problem and caught.value.remedy


def test_without_onnxruntime(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'edgeexport\[cpu\]'") as caught:
        OnnxRuntimeRunner(path)
    assert caught.value.exit_code == 2


def test_shared_pool_in_a_process_of_its_own(path: Path) -> None:
    """The pool is the process's, and has to be made before any session."""
    code = (
        "import sys, onnxruntime; onnxruntime.set_global_thread_pool_sizes(1, 1)\n"
        "import numpy as np, pathlib\n"
        "from edgeexport.backends.onnxruntime import OnnxRuntimeRunner\n"
        "runners = [OnnxRuntimeRunner(pathlib.Path(sys.argv[1]), shared_pool=True) for _ in range(2)]\n"
        "assert not runners[0].session.get_session_options().use_per_session_threads\n"
        "print([runner.run(np.ones((2, 3), np.uint8))['best'].tolist() for runner in runners])\n"
    )
    root = Path(runner_module.__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[0, 0], [0, 0]]"


def test_imports_without_torch_and_onnx() -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; import edgeexport.backends.onnxruntime"
    root = Path(runner_module.__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=root)
