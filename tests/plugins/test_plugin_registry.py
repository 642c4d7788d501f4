"""The compiled library in a real plugin registry, TensorRT-RTX's, and plugins created by its ONNX parser from nodes as
model.trt.onnx has them."""

from __future__ import annotations

import signal
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from library_cases import SOURCES, the_library, toolkit_and_headers
from onnx import helper
from rtx_cases import Probe, probe, requires_tensorrt_rtx
from torch import Tensor, nn

from edgeexport.errors import BundleError, LintError
from edgeexport.graph.export import exported_model
from edgeexport.graph.plugin_graph import BARE_OPS, PLUGIN_OPS, plugin_model
from edgeexport.ops.match_tables import MatchLayout, tables_from_layout
from edgeexport.ops.token_match import token_match
from edgeexport.ops.token_merge import token_merge
from edgeexport.ops.token_partition import token_partition
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.ops.upsample_argmax import upsample_argmax
from edgeexport.plugin.build_record import check_unregistered, facts_from_library
from edgeexport.plugin.contract import check_nodes, contracts_from_sources
from edgeexport.plugin.sources import source_hash
from edgeexport.reductions.dtop_selection import confidence_and_label, prune_fixed

SOME_STAY = MatchLayout("alternate", 15, 1, 4)
NONE_STAYS = MatchLayout("alternate", 16, 0, 8)
IN_WINDOWS = MatchLayout("windows", 1 + 45, 1, 13, columns=7, window=3)


class _Call(nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> object:
        return self.function(*tensors)


def _exported(op: str, function: Callable[..., object], *examples: Tensor) -> onnx.ModelProto:
    """The op's node as the exporter and the pass for TensorRT make it, alone in a graph with all of its outputs.

    One that graphs are not left with is as the exporter makes it, with what that pass gave it before.
    """
    names = [f"input_{place}" for place in range(len(examples))]
    results = _Call(function)(*examples)
    outputs = [f"output_{place}" for place in range(len(results) if isinstance(results, tuple) else 1)]
    model = exported_model(_Call(function).eval(), examples, names, outputs, {})
    model = plugin_model(model) if op in BARE_OPS else model
    (node,) = (node for node in model.graph.node if node.op_type == op)
    if op not in BARE_OPS:
        more = {"plugin_version": "1", "plugin_namespace": "edgeexport"}
        node.attribute.extend(helper.make_attribute(name, value) for name, value in more.items())
    known = {value.name: value for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]}
    constants = {value.name: value for value in model.graph.initializer}
    graph = helper.make_graph(
        [node],
        op,
        [known[name] for name in node.input if name not in constants],
        [known[name] for name in node.output],
        initializer=[constants[name] for name in node.input if name in constants],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _match(layout: MatchLayout) -> onnx.ModelProto:
    tables = tables_from_layout(layout)
    return _exported("TokenMatch", lambda metric: token_match(metric, tables), torch.rand(2, layout.tokens, 4))


def _merge(layout: MatchLayout) -> onnx.ModelProto:
    tables = tables_from_layout(layout)
    x = torch.rand(2, layout.tokens, 8)
    size = torch.ones(2, layout.tokens, 1)
    indices = token_match(x, tables)
    return _exported("TokenMerge", lambda *inputs: token_merge(*inputs, tables), x, size, *indices)


def _match_merge(layout: MatchLayout) -> onnx.ModelProto:
    tables = tables_from_layout(layout)

    def step(metric: Tensor, x: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        decision = token_match(metric.mean(dim=1), tables)
        merged, merged_size = token_merge(x, size, *decision, tables)
        return merged, merged_size, merged_size.log().transpose(1, 2)[:, None], *decision

    metric, x = torch.rand(2, 3, layout.tokens, 4), torch.rand(2, layout.tokens, 8)
    return _exported("TokenMatchMerge", step, metric, x, torch.ones(2, layout.tokens, 1))


def _stage() -> onnx.ModelProto:
    def stage(scores: Tensor, x: Tensor, rows: Tensor, alive: Tensor) -> tuple[Tensor, ...]:
        kept, left, _ = prune_fixed(*confidence_and_label(scores), 5, 4, 2)
        gathers = ((x, kept), (rows, left), (alive, kept), (alive, left))
        return tuple(token_unmerge(values, index) for values, index in gathers)

    alive = torch.zeros(2, 12, 1, dtype=torch.int32)
    return _exported(
        "TokenProtectSelect", stage, torch.rand(2, 4, 12), torch.rand(2, 12, 8), torch.rand(2, 12, 3), alive
    )


GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "TokenMatch": lambda: _match(SOME_STAY),
    "TokenMatch, none stays": lambda: _match(NONE_STAYS),
    "TokenMatch, windows": lambda: _match(IN_WINDOWS),
    "TokenMatchMerge": lambda: _match_merge(SOME_STAY),
    "TokenMatchMerge, windows": lambda: _match_merge(IN_WINDOWS),
    "TokenMerge": lambda: _merge(SOME_STAY),
    "TokenUnmerge": lambda: _exported(
        "TokenUnmerge", token_unmerge, torch.rand(2, 5, 8), torch.zeros(2, 7, dtype=torch.int32)
    ),
    "TokenPartition": lambda: _exported("TokenPartition", lambda score: token_partition(score, 5), torch.rand(2, 12)),
    "TokenProtectSelect": _stage,
    "UpsampleArgmax": lambda: _exported(
        "UpsampleArgmax", lambda scores: upsample_argmax(scores, 12, 16, 2), torch.rand(2, 7, 3, 4)
    ),
}


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "node.onnx"
    onnx.save(model, path)
    return path


def _partition_with(folder: Path, **attributes: object) -> Path:
    """A TokenPartition node with other attributes than its own."""
    node = helper.make_node("TokenPartition", ["score"], ["kept", "taken"], domain="edgeexport")
    found: dict[str, object] = {"plugin_version": "1", "plugin_namespace": "edgeexport", **attributes}
    node.attribute.extend(helper.make_attribute(name, value) for name, value in found.items())
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("score", 1, [2, 12])],
        [helper.make_tensor_value_info("kept", 6, [2, 7]), helper.make_tensor_value_info("taken", 6, [2, 5])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("edgeexport", 1)]
    return _saved(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder)


def test_library_records_what_it_is_made_of(plugin_library: Path) -> None:
    facts = facts_from_library(plugin_library)
    assert facts.architectures == (87,)
    assert facts.tensorrt == toolkit_and_headers()[1].version
    assert facts.source_hash == source_hash(SOURCES)


def architectures_in(library: Path) -> Counter[int]:
    """How many parts with machine code a library has for each architecture, from the fat binaries in it.

    Each begins with a magic number, its header's length and the length of its parts; a part with its kind (2: machine
    code), the lengths of its header and content, and, 28 bytes in, the architecture.
    """
    content = library.read_bytes()
    magic = struct.pack("<I", 0xBA55ED50)
    found: Counter[int] = Counter()
    start = content.find(magic)
    while start >= 0:
        _, header, length = struct.unpack_from("<HHQ", content, start + 4)
        part, end = start + header, start + header + length
        while part < end:
            kind, _, part_header, part_length = struct.unpack_from("<HHIQ", content, part)
            if kind == 2:
                found[struct.unpack_from("<I", content, part + 28)[0]] += 1
            part += part_header + part_length
        start = content.find(magic, end)
    return found


@pytest.mark.parametrize("architectures", [(87,), pytest.param((86, 87, 89, 90), marks=pytest.mark.slow)], ids=str)
def test_machine_code_is_there_for_every_architecture(architectures: tuple[int, ...]) -> None:
    library = the_library(architectures)
    assert facts_from_library(library).architectures == architectures
    found = architectures_in(library)
    assert all(found[number] >= len(PLUGIN_OPS) for number in architectures), found  # a source of kernels per op
    assert set(found) == set(architectures)  # none by accident, which a record would not show


@requires_tensorrt_rtx
def test_loads_and_registers_every_creator(plugin_library: Path) -> None:
    found = probe(plugin_library)
    assert found.return_code == 0, found.stderr
    assert [item["loaded"] for item in found.all("load")] == [True]
    (listed,) = found.all("creators")
    ours = [tuple(item) for item in listed["creators"] if item[2] == "edgeexport"]
    assert sorted(ours) == sorted((name, "1", "edgeexport") for name in PLUGIN_OPS)
    assert listed["kinds"] == ["IPluginCreatorV3One"]
    assert not [item for item in found.all("log") if "edgeexport" in item["message"]]


@requires_tensorrt_rtx
def test_loading_twice_gives_none_and_our_message_names_the_plugins(plugin_library: Path) -> None:
    found = probe(plugin_library, "again")
    assert found.return_code == 0, found.stderr
    assert [item["loaded"] for item in found.all("load")] == [True, False]
    assert any("exists already" in message for message in found.messages)
    before, after = (item["creators"] for item in found.all("creators"))
    assert before == after  # the first ones stay
    creators = [tuple(item) for item in before]
    check_unregistered(plugin_library, [], PLUGIN_OPS)
    with pytest.raises(BundleError, match="already registered in this process: edgeexport::") as refusal:
        check_unregistered(plugin_library, creators, PLUGIN_OPS)
    assert all(name in refusal.value.problem for name in PLUGIN_OPS)


@requires_tensorrt_rtx
@pytest.mark.parametrize("name", GRAPHS)
def test_parser_creates_the_plugin(plugin_library: Path, tmp_path: Path, name: str) -> None:
    op = name.split(",")[0]
    model = GRAPHS[name]()
    assert check_nodes(model, contracts_from_sources(SOURCES)) == 1
    found = probe(plugin_library, _saved(model, tmp_path))
    assert found.verdict(op) == "created", (found.messages, found.stderr)
    assert "edgeexport plugins:" not in found.stderr


def test_every_op_is_parsed() -> None:
    assert {name.split(",")[0] for name in GRAPHS} == PLUGIN_OPS


@requires_tensorrt_rtx
@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, 'attribute "k" | missing, expected'),
        ({"k": 5.0}, 'attribute "k" | of type FLOAT32, expected'),
        ({"k": [5, 6]}, 'attribute "k" | 2 values, expected one'),
        ({"k": 0}, 'attribute "k" | 0, expected 1 to'),
    ],
    ids=["missing", "of another type", "a list", "out of range"],
)
def test_wrong_attributes_are_refused_with_our_message(
    plugin_library: Path, tmp_path: Path, attributes: dict[str, object], message: str
) -> None:
    found = probe(plugin_library, _partition_with(tmp_path, **attributes))
    assert found.verdict("TokenPartition") == "refused", (found.messages, found.stderr)
    assert f"TokenPartition: {message}" in found.stderr + "\n".join(found.messages)


@requires_tensorrt_rtx
@pytest.mark.parametrize("version", ["2", "1"])
def test_absent_plugin_is_refused(plugin_library: Path, tmp_path: Path, version: str) -> None:
    """Another version than the library's, and no library at all."""
    library: Path | str = plugin_library if version == "2" else "none"
    found = probe(library, _partition_with(tmp_path, k=5, plugin_version=version))
    assert found.verdict("TokenPartition") == "refused", (found.messages, found.stderr)
    (parsed,) = found.all("parsed")
    assert any("lugin not found" in error for error in parsed["errors"])


@requires_tensorrt_rtx
def test_unknown_attribute_is_found_before_the_parser_drops_it(plugin_library: Path, tmp_path: Path) -> None:
    """The parser hands over the attributes that the creator names, and no others: the plugin cannot see the surplus."""
    path = _partition_with(tmp_path, k=5, window=3)
    assert probe(plugin_library, path).verdict("TokenPartition") == "created"
    with pytest.raises(LintError, match="attribute 'window' is unknown to the plugin"):
        check_nodes(onnx.load(path), contracts_from_sources(SOURCES))


def test_verdict_tells_a_crash_from_a_plugin() -> None:
    said = {"event": "log", "severity": "INFO", "message": "Successfully created plugin: TokenMatch"}
    parsed = {"event": "parsed", "parsed": False, "errors": ["no"]}
    assert Probe((said,), "", -signal.SIGABRT).verdict("TokenMatch") == "created"
    assert Probe((said,), "", -signal.SIGABRT).verdict("TokenMerge") == "crashed"
    assert Probe((), "", -signal.SIGABRT).verdict("TokenMatch") == "crashed"
    assert Probe((said,), "", -signal.SIGSEGV).verdict("TokenMatch") == "crashed"
    assert Probe((parsed,), "", 0).verdict("TokenMatch") == "refused"
    assert Probe((parsed,), "", 1).verdict("TokenMatch") == "crashed"
    assert Probe((said, {**parsed, "parsed": True}), "", 0).verdict("TokenMatch") == "created"
