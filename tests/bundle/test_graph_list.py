"""A bundle's graphs as a list: of one graph, and of several, whose manifest has to hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeexport.bundle import json_bytes, open_bundle
from edgeexport.errors import BundleError, UsageError

TENSOR = {"name": "x", "dtype": "float32", "shape": [1, 4]}


def manifest(**changes: Any) -> dict[str, Any]:
    graphs = [
        {"name": name, "inputs": [TENSOR], "outputs": [TENSOR], "opset": 20, "macs": 1, "weight_bytes": 1}
        for name in ("embedding", "prefill", "decode")
    ]
    prompt = {
        "architecture": "qwen2", "length": 8, "new_tokens": 2, "slots": 4, "layers": 1, "query_heads": 1, "kv_heads": 1,
        "head_size": 4, "vocabulary": 300, "axes": 1, "image_token": None, "grids": [], "patch": 0, "frames": 0,
        "merge": 1, "end_tokens": [], "flow": [], "cache_update": "operators",
    }  # fmt: skip
    told = {"schema": "edgeexport.bundle/1", "name": "x", "graphs": graphs, "prompt": prompt, "files": {}}
    return {**told, **changes}


def written(folder: Path, content: dict[str, Any]) -> Path:
    (folder / "manifest.json").write_bytes(json_bytes(content))
    return folder


def test_a_bundle_of_one_graph_lists_it(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    (graph,) = bundle.graphs
    assert graph.name == "model" and graph.inputs[0].shape == bundle.input.shape
    assert [item.name for item in graph.outputs] == [item.name for item in bundle.outputs]
    assert bundle.prompt is None


def test_a_bundle_of_several_lists_them_and_says_so_to_commands_for_one(tmp_path: Path) -> None:
    bundle = open_bundle(written(tmp_path, manifest()))
    assert [graph.name for graph in bundle.graphs] == ["embedding", "prefill", "decode"]
    assert bundle.prompt is not None and bundle.prompt.capacity == 6
    with pytest.raises(UsageError, match="several graphs"):
        _ = bundle.input


def _without(name: str) -> list[dict[str, Any]]:
    return [graph for graph in manifest()["graphs"] if graph["name"] != name]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"graphs": _without("decode")}, "lack decode"),
        ({"graphs": [*manifest()["graphs"], manifest()["graphs"][0]]}, "twice"),
        ({"graphs": [{**manifest()["graphs"][0], "name": "../x"}]}, "graphs"),
        ({"prompt": {**manifest()["prompt"], "slots": 9}}, "slots"),
        ({"prompt": {**manifest()["prompt"], "grids": [[3, 2]], "merge": 2}}, "multiples"),
        ({"graphs": [{**g, "inputs": [{**TENSOR, "shape": [2**20, 2**20]}]} for g in manifest()["graphs"]]}, "MiB"),
    ],
)
def test_a_list_that_does_not_hold_together_is_damaged(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BundleError, match=told):
        open_bundle(written(tmp_path, manifest(**changes)))


def test_a_manifest_with_neither_input_nor_graphs_is_damaged(tmp_path: Path) -> None:
    content = manifest()
    del content["graphs"], content["prompt"]
    with pytest.raises(BundleError, match="input"):
        open_bundle(written(tmp_path, content))
