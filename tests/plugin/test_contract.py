"""C++ and Python declare the same plugins; graphs that do not match are refused with a message."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgeexport.errors import BuildError, LintError
from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.ops import DOMAIN, DOMAIN_VERSION
from edgeexport.plugin.contract import NAMESPACE, VERSION, PluginContract, check_nodes, contracts_from_sources
from edgeexport.plugin.sources import copy_sources, sources_folder

MODULES = {
    name: importlib.import_module(f"edgeexport.ops.{re.sub('(?<!^)(?=[A-Z])', '_', name).lower()}")
    for name in sorted(PLUGIN_OPS)
}
SIZES = {"UpsampleArgmax": (6, 8, 8, 32, 32, 3), "TokenProtectSelect": (6,), "TokenMatchMerge": ([1, 3],)}
"""What the body of an op depends on, where it does: classes, and grid, output, candidates; destinations."""
BARE = {"plugin_version": "1", "plugin_namespace": "edgeexport"}


def _model(op: str = "TokenPartition", inputs: int = 1, outputs: int = 2, **attributes: object) -> onnx.ModelProto:
    """One custom node; tensors' shapes are of no matter here."""
    names_in, names_out = [f"in{i}" for i in range(inputs)], [f"out{i}" for i in range(outputs)]
    node = helper.make_node(op, names_in, names_out, name="node_1", domain=DOMAIN, **attributes)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["in0"], ["copy"]), node],
        "one",
        *(
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in names]
            for names in (names_in, names_out)
        ),
    )
    return helper.make_model(graph)


def test_every_op_with_a_plugin_is_declared_in_both_languages() -> None:
    contracts = {contract.name: contract for contract in contracts_from_sources(sources_folder())}
    assert set(contracts) == PLUGIN_OPS
    assert (DOMAIN, str(DOMAIN_VERSION)) == (NAMESPACE, VERSION)


@pytest.mark.parametrize("name", sorted(PLUGIN_OPS))
def test_name_attributes_and_tensors_agree(name: str) -> None:
    module = MODULES[name]
    (contract,) = [item for item in contracts_from_sources(sources_folder()) if item.name == name]
    assert name == module.NAME
    assert dict(contract.attributes) == module.ATTRIBUTES
    assert list(contract.attributes) == list(module.ATTRIBUTES)  # in one order, for readers
    function = module.onnx_function(*SIZES.get(name, ()))
    assert [tensor.name for tensor in contract.inputs] == list(function.input)
    assert [tensor.name for tensor in contract.outputs][: len(function.output)] == list(function.output)


@pytest.mark.parametrize("contract", contracts_from_sources(sources_folder()), ids=lambda contract: contract.name)
def test_declared_launches_are_those_of_the_launcher(contract: PluginContract) -> None:
    """Predictions count them; a kernel that is launched for several types or sizes is one."""
    (launcher,) = (sources_folder() / contract.file).parent.glob("*.cu")
    launched = re.findall(r"(\w+Kernel)(?:<[^;()]*>)?\s*<<<", launcher.read_text())
    assert list(dict.fromkeys(launched)) == list(contract.launches)


def test_graph_of_a_bundle_fits(tiny_bundle: Path) -> None:
    model = onnx.load(tiny_bundle / "model.trt.onnx")
    custom = [node for node in model.graph.node if node.domain == DOMAIN]
    assert check_nodes(model, contracts_from_sources(sources_folder())) == len(custom) > 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_model(k=3, **BARE, inputs=1, outputs=2), None),
        (_model(k=3, **BARE, outputs=1), None),
        (_model(K=3, **BARE), r"attribute 'K' is unknown to the plugin .did you mean 'k'"),
        (_model(k=[3, 4], **BARE), "attribute 'k' is ints, the plugin expects int"),
        (_model(k=3.0, **BARE), "attribute 'k' is float, the plugin expects int"),
        (_model(**BARE), "attribute 'k' is missing, the plugin expects int"),
        (_model("TokenUnmerge", 2, 1, k=3, **BARE), "attribute 'k' is unknown to the plugin .it takes none"),
        (_model("TokenProtect", **BARE), "has no plugin, expected one of TokenMatch, TokenMatchMerge"),
        (_model(k=3), "names the plugin by {}, expected version 1 in edgeexport"),
        (_model(k=3, plugin_version="2", plugin_namespace="edgeexport"), "'plugin_version': '2'"),
        (_model(k=3, **BARE, inputs=2), "has 2 inputs and 2 outputs, the plugin 1 and 2"),
        (_model(k=3, **BARE, outputs=3), "has 1 inputs and 3 outputs, the plugin 1 and 2"),
    ],
)
def test_nodes_that_do_not_match(model: onnx.ModelProto, message: str | None) -> None:
    contracts = contracts_from_sources(sources_folder())
    if message is None:
        assert check_nodes(model, contracts) == 1
        return
    with pytest.raises(LintError, match=message) as caught:
        check_nodes(model, contracts)
    assert caught.value.exit_code == 3
    assert "node 'node_1' (edgeexport::Token" in caught.value.where and caught.value.remedy


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("token_partition/token_partition_plugin.h", "kAttributes", "kFields", "has no table kAttributes"),
        ("token_partition/token_partition_plugin.h", '{"k",', "{K_NAME,", "kAttributes has 1 entries, 0 readable"),
        ("token_partition/token_partition_plugin.h", "kName", "kTitle", "declares no kName"),
        (
            "common/plugin_base.h",
            'kPluginVersion = "1"',
            'kPluginVersion = "2"',
            "kPluginVersion is '2', the graphs carry '1'",
        ),
    ],
)
def test_declarations_in_another_form(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    copy_sources(sources_folder(), tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(BuildError, match=message):
        contracts_from_sources(tmp_path)


def test_comments_are_not_declarations(tmp_path: Path) -> None:
    copy_sources(sources_folder(), tmp_path)
    expected = contracts_from_sources(tmp_path)
    path = tmp_path / "token_partition/token_partition_plugin.h"
    path.write_text('// kName = "Other";\n/* std::array<AttributeSpec, 0> kAttributes{}; */\n' + path.read_text())
    assert contracts_from_sources(tmp_path) == expected
