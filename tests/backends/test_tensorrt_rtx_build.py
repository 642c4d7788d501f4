"""The backend's own build with a real TensorRT: TensorRT-RTX, which parses and builds without a GPU (for SM86)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import parser
from rtx_alias import requires_tensorrt_rtx
from tensorrt_cases import write_trt_bundle

from edgeexport.bundle import open_bundle, sha256_of

pytestmark = requires_tensorrt_rtx
ROOT = Path(__file__).resolve().parents[2]

UNKNOWN = parser.parse_model("""<ir_version: 9, opset_import: ["": 20, "edgeexport": 1]>
g (uint8[2,3] image) => (float[2,3] scores, int32[2] best) {
    wide = Cast <to = 1> (image)
    [block3] scores = edgeexport.NoSuchPlugin (wide)
    index = ArgMax <axis = 1, keepdims = 0> (wide)
    best = Cast <to = 6> (index)
}""").SerializeToString()


def probe(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("rtx_build_probe.py")), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_real_engine_of_a_small_bundle(tmp_path: Path) -> None:
    bundle = write_trt_bundle(tmp_path / "b")
    found = probe(bundle.path, tmp_path / "new")
    record = found["record"]
    plan = (tmp_path / "new" / "engine.plan").read_bytes()
    assert len(plan) > 1000
    assert record["files"] == {name: sha256_of(tmp_path / "new" / name) for name in record["files"]}
    log = (tmp_path / "new" / "engine.log").read_text()
    # TensorRT's own words: scores, best and the inner output wide; two engines.
    assert log.count("Detected 1 inputs and 3 output network tensors.") == 2
    assert log.count("Engine generation completed") == 2
    assert "The logger passed into" not in log  # it complains of a second one while a builder lives
    assert (record["options"]["tf32"], record["options"]["workspace_mib"]) == ("off", 256)
    description = tmp_path / "new" / "engine.graph.json"
    if description.is_file():  # a GPU: the inspector's real output
        assert json.loads(description.read_text())["Layers"]
    else:
        assert record["options"]["layer_information"].startswith("the second engine does not load: ")
        assert found["stages"][-1].startswith("no engine.graph.json: ")


def test_real_parser_names_the_node(tmp_path: Path) -> None:
    bundle = write_trt_bundle(tmp_path / "b", UNKNOWN)
    found = probe(bundle.path, tmp_path / "new")
    assert found["error"] == "BuildError"
    assert found["where"] == f"{bundle.path / 'model.trt.onnx'}: node 'block3' (NoSuchPlugin)"
    assert "refuses it: " in found["problem"] and "\n" not in found["problem"]


def test_real_parser_and_a_file_that_is_no_graph(tmp_path: Path) -> None:
    found = probe(write_trt_bundle(tmp_path / "b", b"no graph").path, tmp_path / "new")
    assert found["error"] == "BuildError" and "does not parse it" in found["problem"]


def test_real_library_in_real_registries(tiny_bundle: Path) -> None:
    """A builder and a runtime have a registry each; a second time in one of them is refused with the plugins' names."""
    bundle = open_bundle(tiny_bundle)
    if bundle.manifest["plugin_library"]["status"] != "built":
        pytest.skip(bundle.manifest["plugin_library"]["reason"])
    found = probe(tiny_bundle)
    # In a Jetson's bundle a PC's library has a name that nothing loads; here it comes from where it was compiled.
    assert found["place"] == "cache" and found["ops"] == ["TokenProtectSelect", "UpsampleArgmax"]
    for name in ("Builder", "Runtime"):
        assert "already registered in this process: edgeexport::TokenProtectSelect 1" in found[name]


def test_inner_outputs_are_values_of_the_graph_for_plugins(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    graph = onnx.load(tiny_bundle / "model.trt.onnx").graph
    assert {info.name for info in bundle.inner_outputs} <= {name for node in graph.node for name in node.output}
