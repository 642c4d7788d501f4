"""What the C++ side declares of each plugin (name, attributes, tensors, launches), read from its sources; graphs held to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexport.errors import BuildError, LintError, nearest_hint
from edgeexport.plugin.sources import name_in

if TYPE_CHECKING:
    import onnx

__all__ = ["NAMESPACE", "VERSION", "PluginContract", "TensorContract", "check_nodes", "contracts_from_sources"]

NAMESPACE = "edgeexport"
VERSION = "1"

_KINDS = {"kInteger": "int", "kIntegers": "ints"}
_ELEMENTS = {"kData": "data", "kFloat32": "float32", "kInt32": "int32"}
_ONNX_KINDS = {1: "float", 2: "int", 3: "string", 4: "tensor", 6: "floats", 7: "ints", 8: "strings"}
_OF_PARSER = ("plugin_version", "plugin_namespace")
_REMEDY = "build the bundle and the plugin library with the same version of edgeexport"


@dataclass(frozen=True)
class TensorContract:
    """A tensor of a plugin; ``element`` is 'data' (FP32 or FP16), 'float32' or 'int32'."""

    name: str
    element: str
    rank: int


@dataclass(frozen=True)
class PluginContract:
    """A plugin as its ``<op>_plugin.h`` declares it.

    Attributes:
        name: Of the op and the plugin.
        attributes: Name to 'int' or 'ints', as ATTRIBUTES of the Python op has them.
        inputs: In the node's order.
        outputs: In the node's order.
        launches: Kernels that one execution launches, in order.
        file: Of the declaration, relative to the sources.
    """

    name: str
    attributes: Mapping[str, str]
    inputs: tuple[TensorContract, ...]
    outputs: tuple[TensorContract, ...]
    launches: tuple[str, ...]
    file: str


def contracts_from_sources(folder: Path) -> list[PluginContract]:
    """The plugins that the sources declare, by name.

    Raises:
        BuildError: A declaration is not in the form that common/plugin_base.h describes, or namespace or version are
            not those that the graphs carry.
    """
    base = folder / "common/plugin_base.h"
    for constant, expected in (("kPluginNamespace", NAMESPACE), ("kPluginVersion", VERSION)):
        declared = _string(_code(base), constant)
        if declared != expected:
            raise BuildError(str(base), f"{constant} is {declared!r}, the graphs carry {expected!r}", _REMEDY)
    contracts = [_contract(folder, path) for path in sorted(folder.glob("*/*_plugin.h"))]
    return sorted(contracts, key=lambda item: item.name)


def check_nodes(model: onnx.ModelProto, contracts: Iterable[PluginContract]) -> int:
    """Holds the custom nodes of a graph for TensorRT to the plugins.

    Returns:
        How many nodes were checked.

    Raises:
        LintError: A node has no plugin, or other attributes than its plugin takes (exit code 3).
    """
    known = {contract.name: contract for contract in contracts}
    nodes = [node for node in model.graph.node if node.domain == NAMESPACE]
    for node in nodes:
        where = f"node '{node.name or node.output[0]}' ({NAMESPACE}::{node.op_type})"
        if node.op_type not in known:
            raise LintError(where, f"has no plugin, expected one of {', '.join(sorted(known))}", _REMEDY)
        contract = known[node.op_type]
        kinds = {item.name: _ONNX_KINDS.get(item.type, f"type {item.type}") for item in node.attribute}
        values = {item.name: item.s.decode(errors="replace") for item in node.attribute if item.name in _OF_PARSER}
        if values != {"plugin_version": VERSION, "plugin_namespace": NAMESPACE}:
            raise LintError(where, f"names the plugin by {values}, expected version {VERSION} in {NAMESPACE}", _REMEDY)
        _check_attributes(where, {name: kind for name, kind in kinds.items() if name not in _OF_PARSER}, contract)
        counts = (len(node.input), len(node.output))
        expected = (len(contract.inputs), len(contract.outputs))
        if counts[0] != expected[0] or counts[1] > expected[1]:
            raise LintError(
                where,
                f"has {counts[0]} inputs and {counts[1]} outputs, the plugin {expected[0]} and {expected[1]}",
                _REMEDY,
            )
    return len(nodes)


def _check_attributes(where: str, kinds: Mapping[str, str], contract: PluginContract) -> None:
    expected = contract.attributes
    for name, kind in kinds.items():
        if name not in expected:
            hint = nearest_hint(name, expected) if expected else "it takes none"
            raise LintError(where, f"attribute '{name}' is unknown to the plugin ({hint})", _REMEDY)
        if kind != expected[name]:
            raise LintError(where, f"attribute '{name}' is {kind}, the plugin expects {expected[name]}", _REMEDY)
    missing = [name for name in expected if name not in kinds]
    if missing:
        raise LintError(
            where, f"attribute '{missing[0]}' is missing, the plugin expects {expected[missing[0]]}", _REMEDY
        )


def _contract(folder: Path, path: Path) -> PluginContract:
    text = _code(path)
    name = _string(text, "kName")
    if name is None:
        raise BuildError(str(path), 'declares no kName = "..."', "follow the form in common/plugin_base.h")
    attributes = [
        (entry[0], _KINDS[entry[1]]) for entry in _entries(path, text, "kAttributes", "AttributeSpec", _KINDS)
    ]
    inputs, outputs = (
        tuple(
            TensorContract(entry[0], _ELEMENTS[entry[1]], int(entry[2]))
            for entry in _entries(path, text, table, "TensorSpec", _ELEMENTS)
        )
        for table in ("kInputs", "kOutputs")
    )
    return PluginContract(name, dict(attributes), inputs, outputs, _launches(path, text), name_in(folder, path))


def _launches(path: Path, text: str) -> tuple[str, ...]:
    match = re.search(r"std::array<char const\*,\s*(\d+)>\s*kLaunches\s*\{(.*?)\}\s*;", text, re.DOTALL)
    names = tuple(re.findall(r'"(\w+)"', match[2])) if match else ()
    if match is None or len(names) != int(match[1]):
        raise BuildError(
            str(path), "declares no kLaunches with a name per kernel", "follow the form in common/plugin_base.h"
        )
    return names


def _entries(path: Path, text: str, table: str, spec: str, kinds: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(name, kind, the number behind it or '') of every entry of a ``std::array<spec, count> table{...};``."""
    match = re.search(rf"std::array<{spec},\s*(\d+)>\s*{table}\s*=?\s*\{{(.*?)\}}\s*;", text, re.DOTALL)
    pattern = rf'\{{\s*"(\w+)"\s*,\s*(?:\w+::)*({"|".join(kinds)})\b\s*(?:,\s*(\d+))?'
    entries = re.findall(pattern, match[2]) if match else []
    if match is None or len(entries) != int(match[1]):
        problem = (
            f"has no table {table}" if match is None else f"{table} has {match[1]} entries, {len(entries)} readable"
        )
        raise BuildError(str(path), problem, "follow the form in common/plugin_base.h")
    return entries


def _string(text: str, constant: str) -> str | None:
    match = re.search(rf'\b{constant}(?:\[\])?\s*=\s*"([^"]*)"', text)
    return match[1] if match else None


def _code(path: Path) -> str:
    """The file without comments."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", text), flags=re.DOTALL)
