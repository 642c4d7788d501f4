from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from edgeexport.backends.plan_log import rows_from_log
from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.errors import UsageError

_HEADER = '<ir_version: 9, opset_import: ["": 20]>'
_RELU = f"{_HEADER} g (float[4,8] x) => (float[4,8] y) {{ y = Relu(x) }}"

# A stand-in for the bindings: enough of the API for the child to reach the builder.
_STUB = """
import enum
class _Any:
    def __init__(self, *args): pass
    def __getattr__(self, name): return lambda *args: None
class ILogger:
    Severity = enum.IntEnum("Severity", {"ERROR": 1, "INFO": 3})
class ComputeCapability: SM86 = 86
class NetworkDefinitionCreationFlag: STRONGLY_TYPED = 0
class ProfilingVerbosity: DETAILED = 2
class OnnxParser(_Any):
    num_errors = 0
    def parse_from_file(self, path): return True
class Builder(_Any):
    def __init__(self, logger): self.logger = logger
    def create_network(self, flags): return _Any()
    def create_builder_config(self): return _Any()
    def build_serialized_network(self, network, config): {build}
__version__ = "0.0.stub"
"""

real_library = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="the wheel tensorrt-rtx-cu13-bindings is missing"
)


def _saved(folder: Path, text: str) -> Path:
    path = folder / "model.onnx"
    onnx.save(parser.parse_model(text), path)
    return path


@pytest.fixture
def stub_bindings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that puts a module of the given source before the real bindings."""

    def install(source: str) -> None:
        package = tmp_path / "stub" / "tensorrt_rtx_bindings"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(package.parent)

    return install


@real_library
def test_builds_an_attention_block(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = parser.parse_model(f"""{_HEADER}
        g (float[1,32,64] x) => (float[1,8,64] y, int32[1,8] picked)
        <int64[4] split = {{1, 32, 4, 16}}, int64[3] merge = {{1, 32, 64}}, int64[1] k = {{8}}, int64[1] last = {{-1}},
         int64[3] wide = {{1, 8, 64}}>
        {{
            n = LayerNormalization (x, scale, bias)
            q_ = MatMul (n, wq)
            q4 = Reshape (q_, split)
            q = Transpose <perm = [0, 2, 1, 3]> (q4)
            kt = Transpose <perm = [0, 2, 3, 1]> (q4)
            s = MatMul (q, kt)
            p = Softmax (s)
            o = MatMul (p, q)
            o4 = Transpose <perm = [0, 2, 1, 3]> (o)
            o3 = Reshape (o4, merge)
            r = Add (x, o3)
            m = ReduceMean <keepdims = 0> (r, last)
            _v, i = TopK (m, k)
            picked = Cast <to = 6> (i)
            i3 = Unsqueeze (i, last)
            ie = Expand (i3, wide)
            y = GatherElements <axis = 1> (r, ie)
        }}""")
    for name, shape in (("scale", (64,)), ("bias", (64,)), ("wq", (64, 64))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    path = tmp_path / "vit.onnx"
    onnx.save(model, path)
    check = check_tensorrt_rtx(path)
    assert (check.status, check.reason, check.compute_capability) == ("passed", "", "SM86")
    assert check.version
    assert check.engine_bytes is not None and check.engine_bytes > 1000
    assert check.parse_s is not None and check.build_s is not None and check.build_s > 0
    assert check.peak_rss_bytes is not None and 2**26 < check.peak_rss_bytes < 2**32
    assert rows_from_log(check.plan) == rows_from_log(check_tensorrt_rtx(path).plan), "the same plan from two builds"


@real_library
def test_reads_external_data_beside_the_model(tmp_path: Path) -> None:
    model = parser.parse_model(f"{_HEADER} g (float[4,64] x) => (float[4,64] y) {{ y = MatMul(x, w) }}")
    model.graph.initializer.append(numpy_helper.from_array(np.eye(64, dtype=np.float32), "w"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size == 64 * 64 * 4
    assert check_tensorrt_rtx(path).status == "passed"
    (tmp_path / "weights.bin").unlink()
    assert check_tensorrt_rtx(path).status == "failed"


@real_library
@pytest.mark.parametrize(
    ("signature", "body", "stage", "words"),
    [
        ("(float[4,8] x) => (int64[2,N] y)", "y = NonZero(x)", "parser", "NonZero"),
        (
            "(float[4,8] x, int32[4,3] i, float[4,3] u) => (float[4,8] y)",
            'y = ScatterElements<axis=1, reduction="add">(x, i, u)',
            "parser",
            "reduction",
        ),
        ("(float[4,8] x) => (float[4,8] y)", "y = Dropout(x, r, t)", "parser", "training mode"),
        ("(float[1,4000] x) => (float[1,3900] y)", "y, i = TopK(x, k)", "builder", "3840"),
        ("(float[N,8] x) => (float[N,8] y)", "y = Relu(x)", "builder", "dynamic"),
    ],
)
def test_refusals_say_stage_and_cause(tmp_path: Path, signature: str, body: str, stage: str, words: str) -> None:
    constants = "<float r = {0.5}, bool t = {1}, int64[1] k = {3900}>"
    check = check_tensorrt_rtx(_saved(tmp_path, f"{_HEADER} g {signature} {constants} {{ {body} }}"))
    assert check.status == "failed"
    assert check.reason.startswith(stage)
    assert words in check.reason
    assert check.engine_bytes is None and check.build_s is None


@real_library
def test_a_scatter_without_reduction_passes(tmp_path: Path) -> None:
    text = f"""{_HEADER} g (float[4,8] x, int32[4,3] i, float[4,3] u) => (float[4,8] y)
        {{ y = ScatterElements<axis=1, reduction="none">(x, i, u) }}"""
    assert check_tensorrt_rtx(_saved(tmp_path, text)).status == "passed"


@real_library
def test_a_file_that_is_no_model_fails(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    check = check_tensorrt_rtx(tmp_path / "model.onnx")
    assert check.status == "failed"
    assert "parse" in check.reason


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.onnx \| no such file"):
        check_tensorrt_rtx(tmp_path / "absent.onnx")


def test_not_run_without_the_wheel(tmp_path: Path, stub_bindings) -> None:
    stub_bindings("raise ModuleNotFoundError('No module', name='tensorrt_rtx_bindings')")
    check = check_tensorrt_rtx(_saved(tmp_path, _RELU))
    assert check.status == "not-run"
    assert "tensorrt_rtx_bindings is not installed" in check.reason
    assert check.version is None and check.engine_bytes is None


def test_not_run_when_its_libraries_do_not_load(tmp_path: Path, stub_bindings) -> None:
    stub_bindings("raise ImportError('libtensorrt_rtx.so.1: cannot open shared object file')")
    check = check_tensorrt_rtx(_saved(tmp_path, _RELU))
    assert check.status == "not-run"
    assert "cannot be loaded: libtensorrt_rtx.so.1" in check.reason


def test_not_run_when_the_builder_does_not_start(tmp_path: Path, stub_bindings) -> None:
    stub_bindings(
        _STUB.replace("{build}", "...") + "\ndef Builder(logger): raise TypeError('factory function returned nullptr')"
    )
    check = check_tensorrt_rtx(_saved(tmp_path, _RELU))
    assert (check.status, check.version) == ("not-run", "0.0.stub")
    assert "does not start: factory function returned nullptr" in check.reason


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ("self.logger.log(ILogger.Severity.ERROR, 'out of tactics')", "builder: out of tactics"),
        ("return None", "builder: gave no engine and no error"),
        ("return type('Memory', (), {'nbytes': 0})", "builder: gave no engine and no error"),
    ],
)
def test_never_passed_without_an_engine(tmp_path: Path, stub_bindings, build: str, reason: str) -> None:
    stub_bindings(_STUB.replace("{build}", build))
    check = check_tensorrt_rtx(_saved(tmp_path, _RELU))
    assert (check.status, check.reason) == ("failed", reason)


def test_passed_with_an_engine(tmp_path: Path, stub_bindings) -> None:
    stub_bindings(_STUB.replace("{build}", "return type('Memory', (), {'nbytes': 77})"))
    check = check_tensorrt_rtx(_saved(tmp_path, _RELU))
    assert (check.status, check.reason, check.version, check.engine_bytes) == ("passed", "", "0.0.stub", 77)


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os.abort()", "was ended by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL (out of memory?)"),
        ("os._exit(3)", "ended with exit code 3"),
        ("print('{}'); os._exit(0)", "ended without a verdict"),
        ("""print('{"status": "passed"}', flush=True); os._exit(0)""", "ended without a verdict"),
    ],
)
def test_a_crash_is_a_failure_with_the_end_of_the_log(tmp_path: Path, stub_bindings, death: str, words: str) -> None:
    stub_bindings(f"import os, signal, sys\nprint('INFO: fusing layers', file=sys.stderr, flush=True)\n{death}")
    check = check_tensorrt_rtx(_saved(tmp_path, _RELU))
    assert check.status == "failed"
    assert words in check.reason
    assert "fusing layers" in check.reason


def test_a_hang_is_a_failure(tmp_path: Path, stub_bindings) -> None:
    stub_bindings("import sys, time\nprint('INFO: tuning', file=sys.stderr, flush=True)\ntime.sleep(60)")
    check = check_tensorrt_rtx(_saved(tmp_path, _RELU), timeout_s=2)
    assert check == RtxCheck("failed", reason="no verdict after 2 s; last log: INFO: tuning")


def test_needs_neither_torch_nor_onnx() -> None:
    root = Path(__file__).resolve().parents[2]
    code = "import sys; import edgeexport.backends.tensorrt_rtx; print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
