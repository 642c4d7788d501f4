"""A bundle of two graphs becomes two engines of one record: in ONNX Runtime here, in TensorRT with a stand-in."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cudart_stub import StubCudart, requires_compiler
from engine_cases import IMAGE, MODEL, write_engine_bundle
from onnx import parser
from tensorrt_cases import BACKEND, install

from edgeexport.backends import engine as engine_module
from edgeexport.backends.contract import EngineOptions, EngineRecord
from edgeexport.backends.engine import build_engine, engine_record, remove_engine, runner_from_bundle
from edgeexport.backends.separate import SeparateRunner
from edgeexport.bundle import Bundle, hashes_of, open_bundle
from edgeexport.documents import ENGINE, read_document
from edgeexport.errors import BundleError, UsageError

POLICY = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
p (uint8[2,3,1,1] image) => (int32[2,1,1] choice) {
    wide = Cast <to = 1> (image)
    index = ArgMax <axis = 1, keepdims = 0> (wide)
    choice = Cast <to = 6> (index)
}""").SerializeToString()
SEPARATE_MODEL = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
m (uint8[2,3,1,1] image, int32[2,1,1] choice) => (float[2,3,1,1] scores, int32[2,1,1] best) {
    wide = Cast <to = 1> (image)
    scores = Neg (wide)
    best = Add (choice, choice)
}""").SerializeToString()
CHOICE = {"name": "choice", "dtype": "int32", "shape": [2, 1, 1]}


def separate_bundle(folder: Path, **changes: Any) -> Bundle:
    """`best` is twice the choice, which is the largest channel."""
    folder.mkdir()
    contents = {"policy.onnx": POLICY, "policy.trt.onnx": POLICY, "model.onnx": SEPARATE_MODEL}
    for name, content in {**contents, "model.trt.onnx": SEPARATE_MODEL}.items():
        (folder / name).write_bytes(content)
    files = hashes_of(folder, sorted(path.name for path in folder.iterdir()))
    own = {"extra_inputs": [CHOICE], "policy": {"output": CHOICE}, "files": files, "plugins": False}
    return write_engine_bundle(folder, SEPARATE_MODEL, **{**own, **changes})


def _works(runner: Any) -> None:
    assert isinstance(runner, SeparateRunner)
    found = runner.run(IMAGE)
    assert list(found) == ["scores", "best", "wide", "choice"]
    assert found["choice"].ravel().tolist() == [1, 0] and found["best"].ravel().tolist() == [2, 0]
    assert np.array_equal(found["scores"], -IMAGE.astype(np.float32))
    given = np.array([5, 6], np.int32).reshape(2, 1, 1)
    assert runner.run(IMAGE, {"choice": given})["best"].ravel().tolist() == [10, 12]


def test_two_engines_of_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = separate_bundle(tmp_path / "b")
    _works(runner_from_bundle(bundle, "none"))
    record = build_engine(bundle.path).record
    assert list(record.files) == ["engine.onnx", "engine.policy.onnx"]
    assert record.policy is not None and (record.graph, record.policy.graph) == ("model.onnx", "policy.onnx")
    assert list(record.policy.files) == ["engine.policy.onnx"]
    read = EngineRecord.from_dict(read_document(bundle.path / "engine.json", ENGINE))
    assert read == engine_record(bundle) == record
    runner = runner_from_bundle(bundle)
    assert runner.name == "onnxruntime engine"
    _works(runner)
    (bundle.path / "engine.policy.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"engine\.policy\.onnx \| was changed after the build"):
        runner_from_bundle(bundle)
    remove_engine(bundle)
    assert not list(bundle.path.glob("engine.*"))


def test_a_record_without_the_policys_engine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = separate_bundle(tmp_path / "b")
    record = build_engine(bundle.path).record.as_dict()
    del record["policy"]
    (bundle.path / "engine.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="lists no engine of the policy network"):
        runner_from_bundle(bundle)


def test_a_policy_whose_choice_is_no_input_is_damage(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"policy\.output \| is none of extra_inputs"):
        separate_bundle(tmp_path / "b", extra_inputs=[])
    with pytest.raises(BundleError, match=r"files \| lists no policy\.onnx"):
        separate_bundle(tmp_path / "c", files={"model.onnx": "12" * 32})


def test_an_accelerator_for_a_policy_that_is_not_apart(tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "b", MODEL)
    asked = EngineOptions(policy_dla_core=0)
    with pytest.raises(UsageError, match=r"policy_dla_core = 0 \| ONNX Runtime has no provider"):
        build_engine(bundle.path, options=asked)
    with pytest.raises(UsageError, match=r"policy_dla_core = 0 \| the bundle's policy network, if any, is inside"):
        engine_module._check_options(BACKEND, bundle, asked)
    with pytest.raises(UsageError, match=r"dla_core = 0 \| a deep-learning accelerator computes in half precision"):
        own = EngineOptions(target="orin", precision="fp32", policy_dla_core=0)
        engine_module._check_options(BACKEND, separate_bundle(tmp_path / "s"), own)


@requires_compiler
def test_the_policy_alone_goes_to_an_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the stand-in of TensorRT; two engines have not run on a device."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gc.collect()
    fake = install(monkeypatch, "10.3.0", StubCudart())
    assert sys.modules["tensorrt"] is fake
    monkeypatch.setattr(engine_module, "why_not_this_machine", lambda target: "")
    fake._state.dla_cores = 2
    bundle = separate_bundle(tmp_path / "b", target="orin", precision="fp16")
    record = build_engine(bundle.path, options=EngineOptions(policy_dla_core=1)).record
    assert record.policy is not None
    assert (record.graph, record.policy.graph) == ("model.trt.onnx", "policy.trt.onnx")
    assert (record.options["dla_core"], record.policy.options["dla_core"]) == (None, 1)
    assert next(iter(record.files)) == "engine.plan" and next(iter(record.policy.files)) == "engine.policy.plan"
    assert set(record.policy.files) < set(record.files)
    _works(runner_from_bundle(open_bundle(bundle.path)))
