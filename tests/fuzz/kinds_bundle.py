"""Damaged documents of a bundle, and its golden.npz."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

from base import ENGINE_GRAPH, LATENCIES, Executed, command, replaced
from damage import apply_bytes, apply_document, byte_edits, document_edits, rehash
from hypothesis import strategies as st
from kind import Kind

__all__ = ["BUNDLE_KINDS"]


_FAST = (
    "inspect b",
    "inspect b --json",
    "compare a b",
    "compare b a --json",
    "compare b b --markdown m.md --fail-if x>1",
)
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
    replaced(file, apply_document(file.read_bytes() if file.exists() else b"{}", damage["damage"]))
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


_LISTED_COMMANDS = (
    *("inspect g", "inspect g --json", "inspect g --kernels", "compare g g --json") * 2,
    "report g",
    "lint g",
    "verify g --json",
    "verify g --engine none",
    "run g --prompt ab --max-new-tokens 2 --json",
    "run g --engine none --prompt ab --json",
    "profile g --duration 0.001 --warmUp 0 --iterations 2 --allow-unstable --json",
    "build g --target cpu --json",
)


def _listed(base: Path) -> st.SearchStrategy[Any]:
    """Documents of a bundle of several graphs."""
    names = sorted(path.name for path in (base / "g").glob("*.json"))
    loaded = {name: json.loads((base / "g" / name).read_bytes()) for name in names}
    return st.sampled_from(names + ["manifest.json"] * 6).flatmap(
        lambda name: st.fixed_dictionaries(
            {
                "file": st.just(name),
                "damage": document_edits(loaded[name]),
                "command": st.sampled_from(_LISTED_COMMANDS),
            }
        )
    )


def _read_listed(damage: Any, folder: Path) -> None:
    file = folder / "g" / damage["file"]
    replaced(file, apply_document(file.read_bytes() if file.exists() else b"{}", damage["damage"]))
    if damage["command"] == "report g":
        from edgeexport.report.html import write_report

        write_report(folder / "g")
        return
    command(*damage["command"].split())


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
    replaced(file, content)
    command("evaluate", "b", "--data", "data", "--form", "onnxruntime", "--out-dir", "e")


def _read_table(damage: Any, folder: Path) -> None:
    from edgeexport.calibration.latency_table import read_latency_table

    file = folder / "table.json"
    replaced(file, apply_document(file.read_bytes(), damage))
    read_latency_table(file)


def _read_traces(damage: Any, folder: Path) -> None:
    from edgeexport.profile.traces import engine_layers_from_json, node_times_from_onnxruntime, node_times_from_trtexec

    text = apply_document(json.dumps(_TRACES[damage["of"]]).encode(), damage["damage"]).decode(errors="replace")
    {"engine": engine_layers_from_json, "trtexec": node_times_from_trtexec, "ort": node_times_from_onnxruntime}[
        damage["of"]
    ](text)


_TRACES: dict[str, Any] = {
    "engine": ENGINE_GRAPH,
    "trtexec": [{"count": 4}, {"name": "a", "timeMs": 1.0, "averageMs": 0.25, "percentage": 100.0}],
    "ort": [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 9},
        {"cat": "Node", "name": "a_kernel_time", "ts": 1, "dur": 5, "args": {"op_name": "Conv", "node_index": "0"}},
    ],
}


def _golden(base: Path) -> st.SearchStrategy[Any]:
    with zipfile.ZipFile(base / "b/golden.npz") as stored:
        names = stored.namelist()
    member = st.fixed_dictionaries(
        {
            "name": st.sampled_from(names),
            "how": st.sampled_from(["remove", "rename", "header", "object", "bytes", "many", "text"]),
            "dtype": st.sampled_from(
                ["<f4", "<i4", "<i8", "|u1", "|O", "<U9", "<f2", "|b1", ">f8", "<c16", "V8", "?!"]
            ),
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
    replaced(file, content)
    rehash(folder / "b")
    _run_on_bundle(damage["command"], folder)


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
                written.writestr(name, start + pickle.dumps(Executed()))
            elif how == "bytes":
                written.writestr(name, apply_bytes(data, change["bytes"]))
            elif how == "many":
                written.writestr(name, start + bytes(1 << 22))
            elif how == "text":
                written.writestr(name, b"text")
    return out.getvalue()


BUNDLE_KINDS = [
    Kind("documents", _documents, _read_document, 60, ("b", "data", "RGB.png")),
    Kind("graph-list", _listed, _read_listed, 60, ("g",)),
    Kind("progress", _lines, _read_lines, 6, ("b", "data", "e")),
    Kind("latency-table", lambda base: document_edits(LATENCIES), _read_table, 150, ("table.json",)),
    Kind(
        "traces",
        lambda base: st.sampled_from(sorted(_TRACES)).flatmap(
            lambda of: st.fixed_dictionaries({"of": st.just(of), "damage": document_edits(_TRACES[of])})
        ),
        _read_traces,
        150,
    ),
    Kind("golden", _golden, _read_golden, 15, ("b", "RGB.png")),
]
