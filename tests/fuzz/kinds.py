"""The kinds of input that come from elsewhere: what is laid out, what can be wrong with it, and who reads it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from damage import apply_bytes, apply_document, byte_edits, document_edits, rehash, values
from evaluation_cases import write_pairs
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from recipe_cases import TINY, TINY_ATM, TINY_CLIP, TINY_DIFFUSION, TINY_TIMM, changed
from safetensors.torch import save_file
from sysfs_trees import write_tree

from edgeexport.cli import main

__all__ = ["KINDS", "Kind", "lay_out_base"]


@dataclass(frozen=True)
class Kind:
    """``damages(base)`` says what can be wrong, ``read(damage, folder)`` makes the input in a copy of base and reads it."""

    name: str
    damages: Callable[[Path], st.SearchStrategy[Any]]
    read: Callable[[Any, Path], None]
    quick: int
    """Inputs of a run of the test suite."""
    needs: tuple[str, ...] = ()
    """Files and folders of the base."""


def command(*words: str) -> None:
    """The command line in this process; ends as it does, by `SystemExit` where all is well."""
    given = sys.argv
    sys.argv = ["edgeexport", *words]
    try:
        main()
    finally:
        sys.argv = given


def _replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # the base has the same file
    path.write_bytes(content)


# --- What inputs are made of


def lay_out_base(base: Path, bundle: Path, recipe: Path) -> None:
    """A bundle with everything that commands add to it, and small files of every other kind."""
    base.mkdir()
    shutil.copytree(bundle, base / "b", ignore=shutil.ignore_patterns("plugins"))
    manifest = json.loads((base / "b/manifest.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if not name.startswith("plugins/")}
    # Of weights that are not here, so that nothing is spent on the original model.
    manifest["weights"] |= {"origin": "checkpoint", "file": "x.pth", "sha256": "0" * 64}
    (base / "b/manifest.json").write_text(json.dumps(manifest))
    shutil.copy(recipe, base / "tiny.py")
    write_pairs(base / "data", 2)
    with contextlib.chdir(base):
        for words in (
            "build b --target cpu",
            "verify b --engine none",
            "profile b --engine none --duration 0.001 --warmUp 0 --iterations 2 --allow-unstable",
            "evaluate b --data data --form onnxruntime --out-dir e",
        ):
            with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
                command(*words.split())
    (base / "b/engine.graph.json").write_text(json.dumps(_ENGINE_GRAPH))
    (base / "table.json").write_text(json.dumps(_LATENCIES))
    onnx.save(_model(), base / "m.onnx")
    generator = np.random.default_rng(0)
    for mode, suffixes in (("RGB", ("png", "jpg", "webp", "gif", "tiff")), ("L", ("png", "bmp", "tiff"))):
        pixels = generator.integers(0, 6, (16, 24, 3) if mode == "RGB" else (16, 24), dtype=np.uint8)
        for suffix in suffixes:
            Image.fromarray(pixels).save(base / f"{mode}.{suffix}")
    (base / "RGB.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    layer = torch.nn.Linear(3, 2)
    save_file(layer.state_dict(), base / "w.safetensors")
    torch.save({"state_dict": layer.state_dict(), "meta": {"epoch": 1}}, base / "w.pth")
    torch.save(layer.state_dict(), base / "old.pth", _use_new_zipfile_serialization=False)
    write_tree(base / "orin", "agx_orin")
    record = {
        "schema": "edgeexport.plugins/1", "architectures": [87], "tensorrt": "10.3.0", "cuda": 12060, "source_hash": "0" * 64,
    }  # fmt: skip
    header = b"\x7fELF" + bytes(14) + struct.pack("<H", 183) + bytes(64)
    (base / "lib.so").write_bytes(header + b"EDGEEXPORT_PLUGINS_BUILD_INFO=" + json.dumps(record).encode() + b"\0")


_ENGINE_GRAPH = {
    "Layers": [
        {"Name": "a", "LayerType": "Convolution", "Metadata": "[ONNX Layer: node_1 | f (F)]\x1e[ONNX Layer: node_2]"},
        {"Name": "b", "LayerType": "kgen", "Metadata": ""},
    ],
    "Bindings": ["image", "scores"],
}
_LATENCIES = {
    "schema": "edgeexport.latency_table/1",
    "provenance": "measured",
    "device": "Orin",
    "model": None,
    "block_ms": {"16": 1.0, "64": 2.0},
    "head_ms": {"16": 0.5, "64": 0.75},
    "policy_ms": 0.25,
    "fixed_ms": 0.1,
}


def _model() -> onnx.ModelProto:
    """A graph with the things that lint looks at."""
    tensor, weights = helper.make_tensor_value_info, helper.make_tensor
    branch = helper.make_graph(
        [helper.make_node("Identity", ["r"], ["t"])], "branch", [], [tensor("t", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "scales"], ["r"], mode="linear"),
        helper.make_node("If", ["yes"], ["i"], then_branch=branch, else_branch=branch),
        helper.make_node("Shape", ["i"], ["s"]),
        helper.make_node("Reshape", ["i", "s"], ["h"]),
        helper.make_node("TopK", ["h", "k"], ["v", "n"], axis=1),
        helper.make_node("Gelu", ["v"], ["y"]),
    ]
    initializers = [
        weights("w", TensorProto.FLOAT, [3, 3, 3, 3], [0.5] * 81),
        weights("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0]),
        weights("yes", TensorProto.BOOL, [], [True]),
        weights("k", TensorProto.INT64, [1], [2]),
    ]
    outputs = [tensor("y", TensorProto.FLOAT, None), tensor("n", TensorProto.INT64, None)]
    graph = helper.make_graph(nodes, "g", [tensor("x", TensorProto.FLOAT, [1, 3, 8, "h"])], outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


# --- Documents of a bundle


_FAST = ("inspect b", "inspect b --json", "compare a b", "compare b a --json", "compare b b --markdown m.md --fail-if x>1")
_BUNDLE_COMMANDS = (
    *_FAST * 3,
    "report",
    "lint b",
    "run b RGB.png --out-dir o --json",
    "verify b --json",
    "verify b --engine none",
    "profile b --duration 0.001 --warmUp 0 --iterations 1 --allow-unstable",
    "profile b --engine none --baseline a --duration 0.001 --warmUp 0 --iterations 1 --allow-unstable --json",
    "build b --target cpu --json",
    "evaluate b --data data --form onnxruntime --out-dir o",
)


def _documents(base: Path) -> st.SearchStrategy[Any]:
    names = sorted(path.name for path in (base / "b").glob("*.json"))
    loaded = {name: json.loads((base / "b" / name).read_bytes()) for name in names}
    return st.sampled_from(names + ["manifest.json"] * 4).flatmap(
        lambda name: st.fixed_dictionaries(
            {
                "file": st.just(name),
                "damage": document_edits(loaded[name]),
                "command": st.sampled_from(_BUNDLE_COMMANDS),
            }
        )
    )


def _read_document(damage: Any, folder: Path) -> None:
    file = folder / "b" / damage["file"]
    _replace(file, apply_document(file.read_bytes() if file.exists() else b"{}", damage["damage"]))
    if file.name != "manifest.json":
        rehash(folder / "b")
    _run_on_bundle(damage["command"], folder)


def _run_on_bundle(words: str, folder: Path) -> None:
    if " a" in words:
        shutil.copytree(folder / "b", folder / "a", copy_function=os.link)
    if words == "report":
        from edgeexport.report.html import write_report

        write_report(folder / "b")
        return
    command(*words.split())


def _lines(base: Path) -> st.SearchStrategy[Any]:
    files = sorted(str(path.relative_to(base)) for path in (base / "e").rglob("*.jsonl"))
    assert files
    documents = {name: [json.loads(line) for line in (base / name).read_text().splitlines()] for name in files}
    return st.sampled_from(files).flatmap(
        lambda name: st.fixed_dictionaries({"file": st.just(name), "damage": document_edits(documents[name])})
    )


def _read_lines(damage: Any, folder: Path) -> None:
    file = folder / damage["file"]
    if "bytes" in damage["damage"]:
        content = apply_bytes(file.read_bytes(), damage["damage"]["bytes"])
    else:
        listed = json.dumps([json.loads(line) for line in file.read_text().splitlines()]).encode()
        edited = apply_document(listed, damage["damage"])
        try:
            entries = json.loads(edited)
        except (ValueError, RecursionError):
            entries = None
        whole = not isinstance(entries, list)
        content = edited if whole else b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    _replace(file, content)
    command("evaluate", "b", "--data", "data", "--form", "onnxruntime", "--out-dir", "e")


def _read_table(damage: Any, folder: Path) -> None:
    from edgeexport.calibration.latency_table import read_latency_table

    file = folder / "table.json"
    _replace(file, apply_document(file.read_bytes(), damage))
    read_latency_table(file)


def _read_traces(damage: Any, folder: Path) -> None:
    from edgeexport.profile.traces import engine_layers_from_json, node_times_from_onnxruntime, node_times_from_trtexec

    text = apply_document(json.dumps(_TRACES[damage["of"]]).encode(), damage["damage"]).decode(errors="replace")
    {"engine": engine_layers_from_json, "trtexec": node_times_from_trtexec, "ort": node_times_from_onnxruntime}[
        damage["of"]
    ](text)


_TRACES: dict[str, Any] = {
    "engine": _ENGINE_GRAPH,
    "trtexec": [{"count": 4}, {"name": "a", "timeMs": 1.0, "averageMs": 0.25, "percentage": 100.0}],
    "ort": [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 9},
        {"cat": "Node", "name": "a_kernel_time", "ts": 1, "dur": 5, "args": {"op_name": "Conv", "node_index": "0"}},
    ],
}


# --- golden.npz, and what else is a zip file


def _golden(base: Path) -> st.SearchStrategy[Any]:
    with zipfile.ZipFile(base / "b/golden.npz") as stored:
        names = stored.namelist()
    member = st.fixed_dictionaries(
        {
            "name": st.sampled_from(names),
            "how": st.sampled_from(["remove", "rename", "header", "object", "bytes", "many", "text"]),
            "dtype": st.sampled_from(["<f4", "<i4", "<i8", "|u1", "|O", "<U9", "<f2", "|b1", ">f8", "<c16", "V8", "?!"]),
            "shape": st.lists(st.sampled_from([0, 1, 2, 3, 128, 2**31, 2**62, -1]), max_size=4),
            "order": st.booleans(),
            "bytes": byte_edits,
        }
    )
    return st.fixed_dictionaries(
        {
            "members": st.lists(member, max_size=2),
            "bytes": st.none() | byte_edits,
            "command": st.sampled_from(["verify b --engine none", "verify b --json", _BUNDLE_COMMANDS[-4], "report"]),
        }
    )


def _read_golden(damage: Any, folder: Path) -> None:
    file = folder / "b/golden.npz"
    content = file.read_bytes()
    for member in damage["members"]:
        content = _with_member(content, member)
    if damage["bytes"]:
        content = apply_bytes(content, damage["bytes"])
    _replace(file, content)
    rehash(folder / "b")
    _run_on_bundle(damage["command"], folder)


class _Executed:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/executed by a pickle",)


def _with_member(content: bytes, change: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as stored, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
        for name in stored.namelist():
            data, how = stored.read(name), change["how"]
            if name != change["name"]:
                written.writestr(name, data)
                continue
            shape = tuple(change["shape"]) if len(change["shape"]) != 1 else change["shape"][0]
            header = repr({"descr": change["dtype"], "fortran_order": change["order"], "shape": shape}).encode()
            start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
            if how == "rename":
                written.writestr("../" + name, data)
            elif how == "header":
                written.writestr(name, start + data[128:])
            elif how == "object":
                written.writestr(name, start + pickle.dumps(_Executed()))
            elif how == "bytes":
                written.writestr(name, apply_bytes(data, change["bytes"]))
            elif how == "many":
                written.writestr(name, start + bytes(1 << 22))
            elif how == "text":
                written.writestr(name, b"text")
    return out.getvalue()


# --- ONNX files


def _onnx_files(base: Path) -> st.SearchStrategy[Any]:
    edit = st.fixed_dictionaries(
        {
            "what": st.sampled_from(
                ["node", "input", "output", "op", "domain", "attribute", "dims", "type", "external", "opset", "names",
                 "drop", "swap", "nest", "value_info", "data"]
            ),
            "at": st.integers(0, 20),
            "number": st.sampled_from([0, 1, -1, 2, 3, 7, 2**31, 2**40, 2**62, -(2**62), 999]),
            "text": st.sampled_from(
                ["", "x", "w", "y", "../../etc/passwd", "/etc/passwd", "\x1b[31m", "a\nb", "[red]", "Loop", "Scan", "Cast",
                 "Concat", "If", "LSTM", "Einsum", "QuantizeLinear", "ai.onnx.ml", "k" * 300]
            ),
        }
    )  # fmt: skip
    return st.fixed_dictionaries(
        {
            "edits": st.lists(edit, max_size=4),
            "bytes": st.none() | byte_edits,
            "command": st.sampled_from(
                ["lint m.onnx", "lint m.onnx --json", "inspect m.onnx", "inspect m.onnx --json",
                 "lint m.onnx --fix f.onnx --input-shape x=1,3,8,8"]
            ),
        }
    )  # fmt: skip


def _read_onnx(damage: Any, folder: Path) -> None:
    model = onnx.load(folder / "m.onnx")
    for edit in damage["edits"]:
        with contextlib.suppress(IndexError, ValueError, TypeError):
            _edit_model(model, **edit)
    content = model.SerializeToString()
    if damage["bytes"]:
        content = apply_bytes(content, damage["bytes"])
    _replace(folder / "m.onnx", content)
    command(*damage["command"].split())


def _edit_model(model: onnx.ModelProto, what: str, at: int, number: int, text: str) -> None:
    graph = model.graph
    node = graph.node[at % len(graph.node)]
    tensor = graph.initializer[at % len(graph.initializer)]
    value = [*graph.input, *graph.output, *graph.value_info][at % (len(graph.input) + len(graph.output))]
    match what:
        case "node":
            graph.node.append(node)
        case "input":
            node.input[at % len(node.input)] = text
        case "output":
            node.output[at % len(node.output)] = text
        case "op":
            node.op_type = text
        case "domain":
            node.domain = text
        case "attribute":
            node.attribute.append(helper.make_attribute(("axis", "pads", "mode", "to")[at % 4], [number, number]))
        case "dims":
            tensor.dims[:] = [number] * (at % 6)
        case "type":
            tensor.data_type = value.type.tensor_type.elem_type = number % (1 << 31)
        case "external":
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=text)
            tensor.external_data.add(key="length", value=str(number))
        case "opset":
            model.opset_import[0].version = number
        case "names":
            node.name = value.name = tensor.name = text
        case "drop":
            del graph.node[at % len(graph.node)]
        case "swap":
            graph.node.insert(0, graph.node.pop())
        case "nest":
            body = graph
            for _ in range(min(abs(number), 60)):
                branch = helper.make_graph([], "deep", [], [])
                body.node.append(helper.make_node("If", ["yes"], [f"o{len(body.node)}"], then_branch=branch))
                body = body.node[-1].attribute[0].g
        case "value_info":
            graph.value_info.append(helper.make_tensor_value_info(text, TensorProto.FLOAT, [number] * (at % 5)))
        case "data":
            tensor.ClearField("raw_data")
            tensor.raw_data = b"\x01" * (at * 7)


# --- Pictures, label maps, checkpoints


_PICTURES = ("RGB.png", "RGB.jpg", "RGB.webp", "RGB.gif", "RGB.tiff", "RGB.eps")
_LABELS = ("L.png", "L.bmp", "L.tiff", "RGB.png")


def _files(*names: str) -> Callable[[Path], st.SearchStrategy[Any]]:
    return lambda base: st.fixed_dictionaries(
        {"file": st.sampled_from(names), "bytes": byte_edits, "suffix": st.sampled_from(["", "", "", ".png", ".jpg"])}
    )


def _damaged(damage: Any, folder: Path) -> Path:
    """The file, perhaps with the name of another format."""
    file = folder / damage["file"]
    content = apply_bytes(file.read_bytes(), damage["bytes"])
    file = folder / f"damaged{damage.get('suffix') or file.suffix}"
    file.write_bytes(content)
    return file


def _read_photo(damage: Any, folder: Path) -> None:
    from edgeexport.inputs.photos import input_from_photo, open_photo
    from edgeexport.inputs.spec import InputSpec

    input_from_photo(open_photo(_damaged(damage, folder)), InputSpec(1, 64, 64, None))


def _read_label(damage: Any, folder: Path) -> None:
    from edgeexport.evaluation.annotation import label_from_annotation

    label_from_annotation(_damaged(damage, folder), 6, (24, 16))


def _checkpoints(base: Path) -> st.SearchStrategy[Any]:
    with (base / "w.safetensors").open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    return st.one_of(
        st.fixed_dictionaries({"file": st.sampled_from(["w.pth", "w.safetensors", "old.pth"]), "bytes": byte_edits}),
        st.fixed_dictionaries({"header": document_edits(header), "length": st.sampled_from([0, 0, 0, 1, -1, 2**40])}),
        st.fixed_dictionaries({"pickle": st.binary(max_size=60).map(bytes.hex), "executed": st.booleans()}),
        st.fixed_dictionaries({"content": values}),
    )


def _read_checkpoint(damage: Any, folder: Path) -> None:
    from edgeexport.hosts.checkpoint import load_weights, state_dict_from_file

    if "file" in damage:
        file = _damaged(damage, folder)
    elif "header" in damage:
        file = folder / "made.safetensors"
        content = (folder / "w.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = apply_document(content[8 : 8 + length], damage["header"])
        size = min(max(len(header) + damage["length"], 0), 2**63)
        file.write_bytes(struct.pack("<Q", size) + header + content[8 + length :])
    else:
        file = folder / "made.pth"
        if "content" in damage:
            torch.save(damage["content"], file)
        else:
            end = pickle.dumps(_Executed(), protocol=2)[2:] if damage["executed"] else b"."
            with zipfile.ZipFile(folder / "w.pth") as stored, zipfile.ZipFile(file, "w") as written:
                for name in stored.namelist():
                    made = b"\x80\x02" + bytes.fromhex(damage["pickle"]) + end
                    written.writestr(name, made if name.endswith("data.pkl") else stored.read(name))
    load_weights(torch.nn.Linear(3, 2), state_dict_from_file(file), str(file))


# --- Recipes and options


_RECIPES = {"segvit": TINY, "atm": TINY_ATM, "timm": TINY_TIMM, "clip": TINY_CLIP, "diffusion": TINY_DIFFUSION}
_REDUCTIONS: dict[str, Any] = {
    "dtop": {"prune": {2: 16, 3: 8}},
    "cts": {"num_shared": 4},
    "tome": {"r": 4},
    "dsm": {"r": 4, "delay": 1},
    "random": {"r": 2},
}


def _recipes(base: Path) -> st.SearchStrategy[Any]:
    pairs = [(name, key) for name in _RECIPES for key in [None, *_REDUCTIONS]]
    words = st.sampled_from(
        ["model.depth", "model.backbone.num_layers", "input.shape", "reduction.tome.r", "reduction", "output", "classes",
         "palette", "checkpoint", "seed", "extra_outputs", "tail.form", "model.decode_head.num_classes", "x", "a.b.c", "",
         "input.preprocess.mean", "model.img_size", "model.backbone.img_size", "reduction.dtop.prune"]
    )  # fmt: skip
    texts = values.map(repr) | st.sampled_from(
        ["(" * 300, "[" * 3000, "9" * 5000, "{1: 2}", "1e400", "()", "(1, 3, 64)", "__import__('os')", "\0", "a=b"]
    )
    return st.sampled_from(pairs).flatmap(
        lambda pair: st.fixed_dictionaries(
            {
                "recipe": st.just(pair[0]),
                "reduction": st.just(pair[1]),
                "edits": st.lists(_config_edit(_config(*pair)), max_size=2),
                "options": st.lists(st.tuples(words, texts).map("=".join), max_size=2),
            }
        )
    )


def _config(recipe: str, reduction: str | None) -> dict[str, Any]:
    extra = {} if reduction is None else {("reduction", reduction): _REDUCTIONS[reduction]}
    return changed(_RECIPES[recipe], extra)


def _config_edit(config: Any) -> st.SearchStrategy[Any]:
    """As `document_edits` does, in a configuration whose keys may be integers."""
    plain = json.loads(json.dumps(config))
    return document_edits(plain).filter(lambda damage: "edits" in damage).map(lambda damage: damage["edits"][0])


def _read_recipe(damage: Any, folder: Path) -> None:
    from edgeexport.config.options import config_with_options
    from edgeexport.fixed.tokens import tokens_json
    from edgeexport.recipe.validation import recipe_from_config

    config = _config(damage["recipe"], damage["reduction"])
    for edit in damage["edits"]:
        level: Any = config
        path = [int(key) if key in ("2", "3") else key for key in edit["path"]]
        with contextlib.suppress(KeyError, IndexError, TypeError):
            for step in path[:-1]:
                level = level[step]
            if path:
                level[path[-1]] = edit["value"]
    recipe = recipe_from_config(config_with_options(config, damage["options"]), folder / "tiny.py")
    tokens_json(recipe)


def _recipe_texts(base: Path) -> st.SearchStrategy[Any]:
    lines = st.sampled_from(
        ["_base_ = 'tiny.py'", "_base_ = ['tiny.py', '../x.py']", "_base_ = __file__", "_base_ = 'made.py'", "_base_ = 'e'",
         "with read_base(): pass", "reduction = dict(dtop=dict(prune={8: 4}))", "reduction = dict(dtop=dict(prune={**x}))",
         "x = " + "(" * 250, "x = " + "-" * 5000 + "1", "x = " + "9" * 5000, "'" * 3, "\ufeff", "\0", "\tx = 1\r\n y = 2",
         "_base_ = 'x\0.py'", "_base_ = 'a" + "b" * 300 + ".py'", "# coding: utf-7"]
    )  # fmt: skip
    return st.fixed_dictionaries({"lines": st.lists(lines | st.text(max_size=20), max_size=4), "bytes": byte_edits})


def _read_recipe_text(damage: Any, folder: Path) -> None:
    """Its syntax alone: what follows executes it."""
    from edgeexport.config.inheritance import prune_keys_in_force, recipe_file

    text = "\n".join(damage["lines"]).encode(errors="surrogatepass")
    (folder / "made.py").write_bytes(text if damage["lines"] else apply_bytes((folder / "tiny.py").read_bytes(), damage["bytes"]))
    prune_keys_in_force(recipe_file(folder / "made.py"))


_COMMANDS = {
    "build": ["tiny.py --dry-run", "b --target cpu"], "inspect": ["b"], "lint": ["m.onnx"], "verify": ["b"],
    "run": ["b RGB.png"], "evaluate": ["b --data data --form onnxruntime"], "calibrate": ["tiny.py --data data"],
    "compare": ["b b"], "plugin list": ["lib.so"], "plugin test": ["lib.so"], "recipes": [""], "version": [""],
    "profile": ["b --duration 0.001 --warmUp 0 --iterations 1 --allow-unstable"],
}  # fmt: skip
# Longer than anybody waits for, if that is what is asked: --duration 1e9.
_TAKE_TIME = ("--duration", "--warmUp", "--iterations", "--percentile")


def _options(base: Path) -> st.SearchStrategy[Any]:
    import typer.main

    from edgeexport.cli import app

    tree: Any = typer.main.get_command(app)
    leaves: dict[str, list[str]] = {}
    for name in _COMMANDS:
        leaf = tree
        for word in name.split():
            leaf = leaf.commands[word]
        named = [parameter.opts[-1] for parameter in leaf.params if parameter.opts[0].startswith("-")]
        leaves[name] = [option for option in named if option != "--help"] or ["--json"]
    numbers = st.sampled_from(["0", "-1", "nan", "-inf", "1e-320", "x", "", "0x10", "1_0", "٣", "-0.0", "1e", " 1"])
    large = st.sampled_from(["1", "2", "99999999999999999999", "1e308", "inf", "100000", "2147483648"])
    texts = st.sampled_from(
        ["", ".", "..", "b", "data", "m.onnx", "/dev/null", "x" * 300, "a\nb", "[red]", "\udcff", "orin", "cpu", "gpu", "none",
         "auto", "fp16", "fixed", "ssh://", "ssh://a@b:0", "ssh://-oProxyCommand=x", "ssh://x:y@z", "a=1", "model.depth=2",
         "x=1,3,8,8", "x=0", "x=1,3,99999999999,8", "latency_p50_ms > 1.03*A", "1 > ", "a" * 50 + ">(", "parity.cosine<0.9",
         "e", "table.json", "tiny.py", "w.pth", "w.safetensors", "../out", "sha256", "0" * 64]
    )  # fmt: skip
    return st.sampled_from(list(_COMMANDS)).flatmap(
        lambda name: st.fixed_dictionaries(
            {
                "command": st.just(name),
                "words": st.sampled_from(_COMMANDS[name]),
                "options": st.lists(
                    st.sampled_from(leaves[name]).flatmap(
                        lambda option: st.tuples(
                            st.just(option), numbers if option in _TAKE_TIME else numbers | large | texts | texts
                        )
                    ),
                    min_size=1,
                    max_size=3,
                ),
            }
        )
    )


def _read_options(damage: Any, folder: Path) -> None:
    flags = [f"{name}={value}" if value else name for name, value in damage["options"]]
    command(*damage["command"].split(), *damage["words"].split(), *flags)


# --- File names


_NAMES = st.one_of(
    st.sampled_from(
        ["x" * 255, "x" * 256, "é" * 130, "-x", "--json", "a b", "a\nb", "a\tb", "[red]x[/]", "\x1b[2J", "\udcff", "\u202ex", "%s",
         "$(x)", "'", '"', "`x`", "{x}", "~", ".", "..", "a/../b", "con", "*", "x=1", "ssh:", " ", "\\", ":", "|", "<b>", "\udcc3\udc28"]
    ),  # fmt: skip
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), min_size=1, max_size=9),
)


def _names(base: Path) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {
            "name": _NAMES,
            "missing": st.booleans(),
            "command": st.sampled_from(
                ["run b N.png --out-dir o", "run b N.png --out-dir N", "lint N.onnx", "inspect N.onnx", "inspect N",
                 "compare N b", "compare b b --markdown N.md", "evaluate b --data N --form onnxruntime --out-dir o",
                 "evaluate b --data data --form onnxruntime --out-dir N", "build N.py --target cpu --dry-run",
                 "build N --target cpu", "build tiny.py --target cpu --dry-run --work-dir N", "verify b --data N",
                 "lint m.onnx --fix N --input-shape x=1,3,8,8", "plugin list N.so", "verify b --checkpoint N.pth",
                 "build tiny.py --target cpu --dry-run --checkpoint N.pth", "evaluate b --data data --split N --form onnxruntime"]
            ),
        }
    )  # fmt: skip


def _read_names(damage: Any, folder: Path) -> None:
    words = [word.replace("N", damage["name"]) for word in damage["command"].split()]
    sources = {".png": "RGB.png", ".onnx": "m.onnx", ".py": "tiny.py", ".so": "lib.so", ".pth": "w.pth", "": "b"}
    written = {"--out-dir", "--markdown", "--fix", "--work-dir"}
    for before, plain, word in zip(["", *words], damage["command"].split(), words, strict=False):
        if "N" in plain and not damage["missing"] and before not in written:
            source = folder / sources[Path(plain).suffix]
            if before == "--data":
                source = folder / "data"
            # A name that the system refuses stays a name of nothing.
            with contextlib.suppress(OSError, ValueError):
                if (folder / word).resolve().parent == folder and not (folder / word).exists():
                    (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / word)
    command(*(word if word.startswith("--") and word in damage["command"] else f"./{word}" if word.startswith("-") else word for word in words))


# --- What devices and their tools print


def _trees(base: Path) -> st.SearchStrategy[Any]:
    files = sorted(str(path.relative_to(base / "orin")) for path in (base / "orin").rglob("*") if path.is_file())
    texts = st.sampled_from(["", "0", "-1", "9" * 30, "nan", "x", "\0", "1 2", "0x10", "٣", "²", "N/A", "9" * 5000]) | st.text(max_size=8)
    return st.fixed_dictionaries(
        {
            "files": st.lists(st.tuples(st.sampled_from(files), texts | byte_edits), min_size=1, max_size=4),
            "smi": st.sampled_from(["", "1,2,3,0x8", "1,2,3", "inf,nan,1e400,zz", "²,٣,-1,0x"]) | st.text("0123456789,.-xN/A \nef", max_size=20),
        }
    )


def _read_tree(damage: Any, folder: Path) -> None:
    from edgeexport.device.conditions import instabilities, read_conditions
    from edgeexport.device.discrete_gpu import read_discrete_gpu
    from edgeexport.device.fit import why_not_this_machine
    from edgeexport.device.machine import find_jetson
    from edgeexport.device.power import find_rails
    from edgeexport.device.targets import TARGETS

    root = folder / "orin"
    for name, change in damage["files"]:
        content = change.encode(errors="replace") if isinstance(change, str) else apply_bytes((root / name).read_bytes(), change)
        _replace(root / name, content)
    conditions = read_conditions(root, discrete_gpu=False)
    instabilities([conditions, replace(conditions)])
    json.dumps(conditions.as_dict(), allow_nan=False)
    find_jetson(root)
    find_rails(root).read()
    why_not_this_machine(next(iter(TARGETS.values() if isinstance(TARGETS, dict) else TARGETS)), root)
    read_discrete_gpu(lambda: damage["smi"])


def _printed(base: Path) -> st.SearchStrategy[Any]:
    line = st.sampled_from(
        ['["CPUExecutionProvider"]', "null", "{}", "[" * 3000, '{"torch": 1}', "NVIDIA Orin, 8.7, 540.4.0, 8192 MiB", "0, x, y",
         "cmake version 9999999999999999999999.1", "release 12.6, V12.6.85", "g++ (x) 12.2.0", "nan", "[N/A], [N/A]", "9" * 5000,
         "GPU 0: Orin (UUID: x)", "²"]
    ) | st.text(max_size=20)  # fmt: skip
    return st.fixed_dictionaries({"answers": st.lists(st.none() | st.lists(line, max_size=3).map("\n".join), min_size=1, max_size=8)})


def _read_printed(damage: Any, folder: Path) -> None:
    """Of every program that doctor asks, one answer after the other."""
    from edgeexport.backends.tensorrt_log import EngineLog
    from edgeexport.device.machine import Probe, examine_machine

    answers = iter(damage["answers"] * 20)
    machine = examine_machine(
        Probe(
            which=lambda name: f"/usr/bin/{name}",
            run=lambda words, timeout_s: next(answers),
            version_of=lambda name: next(answers),
            root=folder / "orin",
        )
    )
    json.dumps(machine, default=vars)
    log = EngineLog()
    for answer in damage["answers"]:
        log.add("WARNING", answer or "")
        log.add("VERBOSE", f"[DlaLayer] {answer}")
    log.errors(), log.complaints(), log.layers_by_device(), log.text()


def _libraries(base: Path) -> st.SearchStrategy[Any]:
    content = (base / "lib.so").read_bytes()
    record = json.loads(content[content.index(b"{") : -1])
    return st.fixed_dictionaries(
        {
            "damage": document_edits(record) | st.fixed_dictionaries({"file": byte_edits}),
            "command": st.sampled_from(["plugin list lib.so", "plugin list lib.so --json", "plugin test lib.so", "plugin test lib.so --json"]),
        }
    )


def _read_library(damage: Any, folder: Path) -> None:
    file = folder / "lib.so"
    content = file.read_bytes()
    if "file" in damage["damage"]:
        content = apply_bytes(content, damage["damage"]["file"])
    else:
        begin = content.index(b"{")
        content = content[:begin] + apply_document(content[begin:-1], damage["damage"]) + b"\0"
    _replace(file, content)
    command(*damage["command"].split())


def _remote(base: Path) -> st.SearchStrategy[Any]:
    told = {name: json.loads((base / "b" / f"{name}.json").read_bytes()) for name in ("bench", "verify", "engine")}
    facts = {"edgeexport": "0.1.0", "bundle_schema": "x/1", "engine_schema": "y/1", "python": "3.10.2"}
    lines = st.sampled_from(
        ["file 1 " + "0" * 64, "file 0 x", "file 999 x", "file -1 x", "file ² x", "part 1 99999999999", "part 1 x", "ok 1", "ok 99",
         "moved", "short", "damaged", "Filesystem 1024-blocks Used Available Capacity\nx 1 1 1 1% /", "", "\xff"]
    ) | st.text(max_size=12)  # fmt: skip
    return st.sampled_from(["verify", "profile", "build"]).flatmap(
        lambda name: st.fixed_dictionaries(
            {
                "command": st.just(name),
                "version": st.none() | document_edits(facts),
                "out": st.none() | document_edits(told["verify" if name == "verify" else "bench"]),
                "code": st.sampled_from([0, 0, 0, 0, 0, 1, 2, 4, 6, 9, 137, 255, -9]),
                "err": st.sampled_from(["", "error: a | b | c", "error: ", "... x\n", "Traceback\nx", "\x1b[31m", "error: |||"]),
                "listing": st.none() | st.lists(lines, max_size=4),
                "files": st.dictionaries(
                    st.sampled_from(["bench.json", "verify.json", "engine.json", "engine.profile.json", "power.csv"]),
                    st.sampled_from(["bench", "verify", "engine"]).flatmap(lambda of: document_edits(told[of])),
                    max_size=2,
                ),
            }
        )
    )


class _Connection:
    """A device that answers what the damage says, and otherwise as one does that has everything."""

    folder = "/cache"

    def __init__(self, damage: Any, bundle: Path) -> None:
        from edgeexport.remote.ssh import Host

        self.host, self._damage, self._bundle = Host("orin"), damage, bundle
        self._files = {path.name: path.read_bytes() for path in bundle.glob("*.*") if path.is_file()}
        for name, edits in damage["files"].items():
            self._files[name] = apply_document(self._files.get(name, b"{}"), edits)

    def script(self, what: str, text: str, *arguments: str, feed: Any = ()) -> bytes:
        import hashlib

        names = [argument for argument in arguments if argument.startswith("./")]
        if what.startswith("send "):
            return self._files.get(names[0][2:], b"")
        if self._damage["listing"] is not None:
            return "\n".join(self._damage["listing"]).encode("latin-1", errors="replace")
        list(feed)
        found = [(n, self._files.get(name[2:])) for n, name in enumerate(names, start=1)]
        if what.startswith("receive"):
            return b"ok\n" + b"".join(b"ok %d\n" % n for n, _ in found)
        return b"".join(b"file %d %s\n" % (n, hashlib.sha256(f).hexdigest().encode()) for n, f in found if f is not None)

    def command(self, words: list[str], on_line: Callable[[str], None]) -> Any:
        from edgeexport.remote.connection import Finished
        from edgeexport.remote.edgeexport import version_facts

        damage = self._damage
        if words[-2] == "version":
            told = json.dumps(version_facts()).encode()
            return Finished(0, told if damage["version"] is None else apply_document(told, damage["version"]), "")
        for line in damage["err"].splitlines():
            on_line(line)
        name = {"verify": "verify.json", "profile": "bench.json", "build": "engine.json"}[damage["command"]]
        told = (self._bundle / name).read_bytes()
        return Finished(damage["code"], told if damage["out"] is None else apply_document(told, damage["out"]), damage["err"])


def _read_remote(damage: Any, folder: Path) -> None:
    from edgeexport.remote.commands import Device
    from edgeexport.remote.edgeexport import RemoteEdgeexport

    @contextlib.contextmanager
    def session(self: Device, on_stage: Any) -> Iterator[RemoteEdgeexport]:
        remote = RemoteEdgeexport(_Connection(damage, folder / "b"), ["edgeexport"])  # type: ignore[arg-type]
        remote.check()
        yield remote

    original = Device.session
    Device.session = session  # type: ignore[method-assign,assignment]
    try:
        command(damage["command"], "b", "--host", "ssh://orin")
    finally:
        Device.session = original  # type: ignore[method-assign]


KINDS = [
    Kind("documents", _documents, _read_document, 150, ("b", "data", "RGB.png")),
    Kind("progress", _lines, _read_lines, 15, ("b", "data", "e")),
    Kind("latency-table", lambda base: document_edits(_LATENCIES), _read_table, 150, ("table.json",)),
    Kind(
        "traces",
        lambda base: st.sampled_from(sorted(_TRACES)).flatmap(
            lambda of: st.fixed_dictionaries({"of": st.just(of), "damage": document_edits(_TRACES[of])})
        ),
        _read_traces,
        150,
    ),
    Kind("golden", _golden, _read_golden, 25, ("b", "RGB.png")),
    Kind("onnx", _onnx_files, _read_onnx, 60, ("m.onnx",)),
    Kind("pictures", _files(*_PICTURES), _read_photo, 150, _PICTURES),
    Kind("label-maps", _files(*_LABELS), _read_label, 150, _LABELS),
    Kind("checkpoints", _checkpoints, _read_checkpoint, 100, ("w.pth", "w.safetensors", "old.pth")),
    Kind("recipes", _recipes, _read_recipe, 150, ("tiny.py",)),
    Kind("recipe-texts", _recipe_texts, _read_recipe_text, 100, ("tiny.py",)),
    Kind("options", _options, _read_options, 60, ("b", "data", "e", "RGB.png", "m.onnx", "tiny.py", "lib.so", "table.json", "w.pth", "w.safetensors")),
    Kind("names", _names, _read_names, 60, ("b", "data", "RGB.png", "m.onnx", "tiny.py", "lib.so", "w.pth")),
    Kind("device-files", _trees, _read_tree, 60, ("orin",)),
    Kind("printed", _printed, _read_printed, 100, ("orin",)),
    Kind("libraries", _libraries, _read_library, 60, ("lib.so",)),
    Kind("remote", _remote, _read_remote, 60, ("b",)),
]
