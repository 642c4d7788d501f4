"""C++ and Python say the same of every plugin: the compiled creators, the sources' declarations, the ops, the graphs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from library_cases import SOURCES, driver_program, run_checked

from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.ops import (
    DOMAIN,
    DOMAIN_VERSION,
    token_match,
    token_match_merge,
    token_merge,
    token_partition,
    token_protect_select,
    token_unmerge,
    upsample_argmax,
)
from edgeexport.plugin.build_record import facts_from_library
from edgeexport.plugin.contract import contracts_from_sources
from edgeexport.plugin.sources import source_hash

OPS: tuple[ModuleType, ...] = (
    token_match,
    token_match_merge,
    token_merge,
    token_partition,
    token_protect_select,
    token_unmerge,
    upsample_argmax,
)
INT32 = 5  # nvinfer1::PluginFieldType::kINT32


def function_of(op: ModuleType) -> onnx.FunctionProto:
    if op is upsample_argmax:
        return upsample_argmax.onnx_function(7, 3, 4, 12, 16, 2)
    made_for: dict[ModuleType, tuple] = {token_protect_select: (7,), token_match_merge: ([1, 3],)}
    return op.onnx_function(*made_for.get(op, ()))


@pytest.fixture(scope="module")
def compiled(plugin_library: Path) -> Mapping[str, Any]:
    """What the creators of the compiled library say."""
    done = run_checked(driver_program(), plugin_library, "contract")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_versions_and_namespaces(compiled: Mapping[str, Any]) -> None:
    assert {item["name"] for item in compiled["plugins"]} == {op.NAME for op in OPS} == PLUGIN_OPS
    assert len(compiled["plugins"]) == len(OPS)
    assert {(item["version"], item["namespace"]) for item in compiled["plugins"]} == {(str(DOMAIN_VERSION), DOMAIN)}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.NAME)
def test_attributes_and_their_types(compiled: Mapping[str, Any], op: ModuleType) -> None:
    (plugin,) = (item for item in compiled["plugins"] if item["name"] == op.NAME)
    assert all(field["type"] == INT32 for field in plugin["attributes"])
    kinds = {field["name"]: "ints" if field["list"] else "int" for field in plugin["attributes"]}
    assert kinds == dict(op.ATTRIBUTES)
    assert [field["name"] for field in plugin["attributes"]] == list(op.ATTRIBUTES)  # in one order, for readers


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.NAME)
def test_tensors_are_those_of_the_function_body(op: ModuleType) -> None:
    (contract,) = (item for item in contracts_from_sources(SOURCES) if item.name == op.NAME)
    function = function_of(op)
    assert [tensor.name for tensor in contract.inputs] == list(function.input)
    assert [tensor.name for tensor in contract.outputs] == list(function.output)
    assert dict(contract.attributes) == dict(op.ATTRIBUTES)
    # A body made for given sizes, UpsampleArgmax's, has no use for some; it may not have more.
    assert set(function.attribute) <= set(op.ATTRIBUTES)


def test_build_record_is_the_one_read_without_loading(compiled: Mapping[str, Any], plugin_library: Path) -> None:
    facts = facts_from_library(plugin_library)
    record = compiled["build"]
    assert (tuple(record["architectures"]), record["tensorrt"]) == (facts.architectures, facts.tensorrt)
    assert record["source_hash"] == facts.source_hash == source_hash(SOURCES)
    assert f"{record['cuda'] // 1000}.{record['cuda'] % 1000 // 10}" == facts.cuda


def test_readme_names_every_plugin_attribute_and_tensor() -> None:
    text = (SOURCES / "README.md").read_text(encoding="utf-8")
    for contract in contracts_from_sources(SOURCES):
        section = re.search(rf"(?ms)^### {contract.name}$(.*?)(?=^##|\Z)", text)
        assert section is not None, contract.name
        named = set(re.findall(r"`(\w+)`", section[1]))
        tensors = {tensor.name for tensor in (*contract.inputs, *contract.outputs)}
        assert named >= tensors | set(contract.attributes), contract.name
