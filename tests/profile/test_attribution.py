"""Times of a profile, divided between the parts of the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work_cases import NODES, WORK

from edgeexport.backends.executed_graph import GraphNode
from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.runner import NodeTime
from edgeexport.bundle import open_bundle
from edgeexport.cost.work import WORK_FILE
from edgeexport.profile.attribution import (
    LAYERS_SCHEMA,
    Attribution,
    attribution_from_engine,
    attribution_from_onnxruntime,
    engine_profile,
    layers_from_engine_profile,
)
from edgeexport.profile.layers import PROFILE_FILE, measure_layers, write_engine_profile
from edgeexport.profile.traces import EngineLayer, EngineLayers, node_times_from_trtexec

_GRAPH = [GraphNode(node.name, node.op_type, node.inputs, node.outputs) for node in NODES]


def _times(*ms: float) -> list[NodeTime]:
    return [NodeTime(node.name, node.op_type, value) for node, value in zip(_GRAPH, ms, strict=False)]


def _parts(attribution: Attribution) -> dict[str, float]:
    return {part: ns / 1e6 for part, ns in attribution.parts_ns.items()}


def test_parts_of_an_unfused_graph() -> None:
    found = attribution_from_onnxruntime(_times(*range(1, 15)), WORK, _GRAPH, runs=5)
    assert _parts(found) == {
        "embedding": 3.0,
        "block_1": 3.0 + 4 + 5 + 6 + 7,
        "prune_1": 8.0 + 9 + 10,
        "block_2": 11.0 + 12 + 13,
        "tail": 14.0,
    }
    assert found.share("graph") == 1.0 and found.share("none") == 0.0
    summary = found.summary()
    assert summary["schema"] == LAYERS_SCHEMA and summary["provenance"] == "measured"
    block = next(part for part in summary["parts"] if part["part"] == "block_1")
    assert (block["macs"], block["bytes"], block["layers"]) == (4000, 4 * 800 + 40 + 1200, 5)


def test_fused_time_is_divided_by_work_and_says_so() -> None:
    executed = [GraphNode("f", "Fused", ("kept", "m2"), ("class_map",))]
    found = attribution_from_onnxruntime([NodeTime("f", "Fused", 1.0)], WORK, executed, runs=1)
    # res2 moves 1200 bytes, map 800.
    assert _parts(found)["block_2"] == pytest.approx(0.6) and _parts(found)["tail"] == pytest.approx(0.4)
    assert found.divided_share == 1.0 and found.share("graph") == 1.0


def test_what_cannot_be_placed_is_other() -> None:
    times = [NodeTime("mm1", "Gemm", 3.0), NodeTime("odd", "Cast", 1.0), NodeTime("mm2", "Gemm", 4.0)]
    found = attribution_from_onnxruntime(times, WORK, runs=1, total_ms=10.0)
    assert _parts(found)["other"] == pytest.approx(1.0 + 2.0)  # the cast, and what no node took
    assert found.summary()["attributed_share"] == pytest.approx(0.7)
    assert found.summary()["attributed_by"] == {"graph": 0.0, "name": 0.7, "neighbours": 0.0, "none": 0.3}
    assert found.total_ns == 10_000_000


def test_equal_names_are_taken_in_order() -> None:
    executed = [GraphNode("", "Neg", ("n1",), ("m1",)), GraphNode("", "Neg", ("n2",), ("m2",))]
    times = [NodeTime("", "Neg", 1.0), NodeTime("", "Neg", 2.0)]
    found = attribution_from_onnxruntime(times, WORK, executed, runs=1)
    assert _parts(found)["block_1"] == 1.0 and _parts(found)["block_2"] == 2.0


def test_untimed_nodes_still_tell_who_reads_what() -> None:
    """A runtime need not report every node; here the product that reads the inserted view."""
    executed = [GraphNode("view", "Reshape", ("n1",), ("flat",)), GraphNode("g", "Gemm", ("flat",), ("m1",))]
    found = attribution_from_onnxruntime([NodeTime("view", "Reshape", 1.0)], WORK, executed, runs=1)
    assert _parts(found)["block_1"] == 1.0


@settings(deadline=None)
@given(
    ms=st.lists(st.floats(0, 1e3, allow_nan=False), min_size=1, max_size=14),
    fused=st.integers(1, 14),
    idle=st.floats(0, 10),
)
def test_parts_add_up_to_the_total_exactly(ms: list[float], fused: int, idle: float) -> None:
    """However the graph is cut into fused layers."""
    pieces = [_GRAPH[start : start + fused] for start in range(0, len(_GRAPH), fused)]
    executed = [
        GraphNode(f"f{index}", "Fused", piece[0].inputs, piece[-1].outputs) for index, piece in enumerate(pieces)
    ]
    times = [NodeTime(node.name, node.op_type, value) for node, value in zip(executed, ms, strict=False)]
    total_ms = sum(time.ms for time in times) + idle
    for found in (
        attribution_from_onnxruntime(times, WORK, executed, runs=3),
        attribution_from_onnxruntime(times, WORK, executed, runs=3, total_ms=total_ms),
        attribution_from_onnxruntime(times, WORK, runs=3),
    ):
        assert sum(found.parts_ns.values()) == found.total_ns
        assert all(sum(layer.part_ns.values()) == layer.ns for layer in found.layers)
        shares = found.summary()["attributed_by"]
        assert sum(shares.values()) == pytest.approx(1.0 if found.total_ns else 0.0, abs=1e-5)


def test_tensorrt_layers() -> None:
    engine = EngineLayers(
        (
            EngineLayer("__myl_Fc_0", "kgen", ("patches", "positions")),
            EngineLayer("gemm", "gemm", ("norm1", "mm1", "bias1", "act1", "res1")),
            EngineLayer("rows", "PluginV3", ("rows",)),
            EngineLayer("tail", "kgen", ("norm2", "mm2", "res2", "map")),
        ),
        ("image", "class_map"),
    )
    times = [NodeTime(name, "", ms) for name, ms in (("__myl_Fc_0", 1.0), ("gemm", 2.0), ("rows", 0.5), ("tail", 4.0))]
    found = attribution_from_engine(times, WORK, engine, plugins=True, runs=200)
    parts = _parts(found)
    assert (parts["embedding"], parts["block_1"], parts["prune_1"]) == (1.0, 2.0, 0.5)
    assert parts["block_2"] + parts["tail"] == pytest.approx(4.0) and parts["block_2"] > parts["tail"] > 0
    assert found.layers[2].op_type == "PluginV3"
    assert found.divided_share == pytest.approx(4 / 7.5)
    # Without the inspector's file, only names that are nodes' can be placed.
    bare = attribution_from_engine(times, WORK, plugins=True, runs=200)
    assert _parts(bare)["prune_1"] == 7.5 and bare.share("neighbours") > 0.9


def test_one_region_for_everything_is_an_estimate() -> None:
    """What an engine without detailed information gives: attributed in full, and none of it measured by part."""
    for name in (
        "{ForeignNode[patches...map]}",
        "{ForeignNode[patches + positions...res2 + map]}",
        "{ForeignNode[(Unnamed Layer* 3) [Shuffle]...map]}",
    ):
        found = attribution_from_engine([NodeTime(name, "", 12.0)], WORK, plugins=True, runs=10).summary()
        assert (found["attributed_share"], found["divided_share"]) == (1.0, 1.0)
        assert found["provenance"] == "estimate"
        assert "100% of it was divided between parts by their work, so that shares are an estimate" in found["method"]
        assert "trusted" not in found["method"]


def test_a_small_share_divided_is_measured_all_the_same() -> None:
    def provenance(divided_ms: float) -> str:
        times = [NodeTime("mm1", "", 10 - divided_ms), NodeTime("res2 + map", "", divided_ms)]
        return attribution_from_engine(times, WORK, plugins=True, runs=1).provenance

    assert (provenance(2.5), provenance(2.6)) == ("measured", "estimate")


def test_note_is_part_of_the_method() -> None:
    times = [NodeTime("mm1", "", 1.0)]
    found = attribution_from_engine(times, WORK, plugins=True, runs=1, note="another engine").summary()
    assert found["method"].endswith("the total is no latency; another engine")


def test_engine_profile_is_read_by_tools_and_by_us() -> None:
    found = attribution_from_onnxruntime(_times(*range(1, 15)), WORK, _GRAPH, runs=5)
    content = json.loads(json.dumps(engine_profile(found)))
    assert node_times_from_trtexec(json.dumps(content))[2].ms == 3.0
    assert content[0] == {"count": 5}
    layers = layers_from_engine_profile(content)
    assert layers is not None and layers["total_ms"] == 105.0 and len(layers["layers"]) == 14
    assert layers["layers"][3] == {
        "name": "mm1",
        "op": "MatMul",
        "ms": 4.0,
        "how": "graph",
        "parts": {"block_1": 4.0},
        "nodes": ["mm1"],
    }
    assert layers_from_engine_profile([{"count": 3}]) is None and layers_from_engine_profile({}) is None


@pytest.fixture(scope="module")
def profiled(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Attribution]:
    """The tiny bundle's model.onnx, profiled by ONNX Runtime on this machine."""
    folder = tmp_path_factory.mktemp("layers") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    bundle = open_bundle(folder)
    image = np.random.default_rng(0).integers(0, 256, bundle.manifest["input"]["shape"], np.uint8)
    runner = OnnxRuntimeRunner(folder / "model.onnx")
    found = measure_layers(bundle, runner, None, image, runs=3)
    assert found is not None
    return folder, found


def test_all_of_onnxruntimes_time_is_placed(profiled: tuple[Path, Attribution]) -> None:
    """ONNX Runtime fuses nodes and inlines functions: every one of its nodes has a part."""
    _, found = profiled
    assert found.total_ns > 0 and found.share("graph") == 1.0
    assert {layer.op_type for layer in found.layers} & {"FusedMatMul", "Gemm", "SkipLayerNormalization", "BiasGelu"}
    executed = {part for part, ns in found.parts_ns.items() if ns}
    assert executed == {node.part for node in found.nodes}
    # What multiplies is found again in what was executed, all of it.
    products = {node.name for node in found.nodes if node.product_macs}
    covered = {node.name for layer in found.layers for node in layer.origin.nodes}
    assert {name for name in products if "/" not in name} <= covered


def test_file_in_the_bundle(profiled: tuple[Path, Attribution]) -> None:
    folder, found = profiled
    path = write_engine_profile(folder, found)
    assert path == folder / PROFILE_FILE
    layers = layers_from_engine_profile(json.loads(path.read_text()))
    assert layers is not None and layers["parts"] == found.summary()["parts"]
    assert not list(folder.glob(".*partial*"))
    open_bundle(folder)  # still whole: the file is none of the build's


def test_bundle_without_work(profiled: tuple[Path, Attribution], tmp_path: Path) -> None:
    shutil.copytree(profiled[0], tmp_path / "b")
    (tmp_path / "b" / WORK_FILE).unlink()
    bundle = open_bundle(tmp_path / "b", check_hashes=False)
    image = np.zeros(bundle.manifest["input"]["shape"], np.uint8)
    assert measure_layers(bundle, OnnxRuntimeRunner(tmp_path / "b" / "model.onnx"), None, image, runs=1) is None
