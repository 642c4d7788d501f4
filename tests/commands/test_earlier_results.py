"""A build that gives the same graphs keeps what was measured and checked of them; another says what is gone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from engine_cases import write_engine_bundle

from edgeexport.backends.engine import build_engine, load_engine
from edgeexport.bundle import json_bytes, open_bundle, sha256_of
from edgeexport.commands.earlier_results import keep_results


def bundle(folder: Path, contents: Mapping[str, object] = {}, **manifest: object) -> Path:
    """A bundle with a golden.npz, results, and changes of its manifest."""
    path = write_engine_bundle(folder).path
    content = json.loads((path / "manifest.json").read_text())
    content["files"] = {**content["files"], "golden.npz": "12" * 32}
    (path / "manifest.json").write_bytes(json_bytes({**content, **manifest}))
    for name, value in contents.items():
        (path / name).write_bytes(value if isinstance(value, bytes) else json_bytes(value))
    return path


PAIRED = {"rows": {"baseline": {"compute": {}}, "candidate": {"compute": {}}}}


def results(manifest_sha256: str = "") -> dict[str, object]:
    return {
        "bench.json": {"bundle": {"manifest_sha256": manifest_sha256}, "baseline": None},
        "bench.earlier.json": {"bundle": {"manifest_sha256": "of long ago"}, "baseline": PAIRED},
        "verify.json": {"manifest_sha256": manifest_sha256, "comparisons": []},
        "power.csv": b"watts",
        "engine.profile.json": b"[]",
    }


def test_the_same_graphs(tmp_path: Path) -> None:
    old = bundle(tmp_path / "old", edgeexport="0.1")
    was = sha256_of(old / "manifest.json")
    bundle(tmp_path / "old", {**results(was), "report.html": b"", "notes.txt": b"mine"}, edgeexport="0.1")
    new = bundle(tmp_path / "new", edgeexport="0.2")
    now = sha256_of(new / "manifest.json")
    assert was != now
    found = keep_results(old, new)
    assert found.kept == tuple(sorted(results()))
    assert found.dropped == ("notes.txt",) and "notes.txt" in found.warning
    assert json.loads((new / "bench.json").read_text())["bundle"]["manifest_sha256"] == now
    assert json.loads((new / "verify.json").read_text())["manifest_sha256"] == now
    assert json.loads((new / "bench.earlier.json").read_text())["bundle"]["manifest_sha256"] == "of long ago"
    assert (new / "power.csv").read_bytes() == b"watts"


@pytest.mark.parametrize("changes", [{"precision": "fp16"}, {"target": "orin"}, {"files": {"model.onnx": "56" * 32}}])
def test_other_graphs(tmp_path: Path, changes: dict[str, object]) -> None:
    old, new = bundle(tmp_path / "old", results()), bundle(tmp_path / "new", **changes)
    before = {path.name for path in new.iterdir()}
    found = keep_results(old, new)
    assert not found.kept and {path.name for path in new.iterdir()} == before
    assert found.warning == (
        "not kept of the earlier bundle: bench.earlier.json, bench.json, engine.profile.json, power.csv, verify.json "
        "(the graphs, the target or the precision are others)"
    )


def test_other_golden_values_cost_the_verification_alone(tmp_path: Path) -> None:
    old, new = bundle(tmp_path / "old", results()), bundle(tmp_path / "new")
    content = json.loads((new / "manifest.json").read_text())
    content["files"]["golden.npz"] = "56" * 32
    (new / "manifest.json").write_bytes(json_bytes(content))
    found = keep_results(old, new)
    assert found.dropped == ("verify.json",) and "bench.json" in found.kept


def test_links_and_damaged_files_are_not_taken_over(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("{}")
    old = bundle(tmp_path / "old", {"verify.json": b"{"})
    (old / "bench.json").symlink_to(precious)
    new = bundle(tmp_path / "new")
    found = keep_results(old, new)
    assert not found.kept and found.dropped == ("bench.json", "verify.json")
    assert not (new / "bench.json").exists() and precious.read_text() == "{}"


def test_a_damaged_manifest_costs_all_and_that_is_said(tmp_path: Path) -> None:
    old, new = bundle(tmp_path / "old", results() | {"report.html": b""}), bundle(tmp_path / "new")
    (old / "manifest.json").write_text('{"schema": "edgeexport.bundle/1"}')
    found = keep_results(old, new)
    assert (found.kept, found.dropped) == ((), tuple(sorted(results())))
    assert "manifest.json | lacks name" in found.warning.replace("object missing required field ", "lacks ")


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        assert keep_results(tmp_path / name, bundle(tmp_path / "new")).warning == ""


def test_an_engine_stays_where_the_new_build_made_none(tmp_path: Path) -> None:
    old, new = write_engine_bundle(tmp_path / "old").path, write_engine_bundle(tmp_path / "new").path
    build_engine(old)
    assert keep_results(old, new).kept == ("engine.json", "engine.onnx")
    load_engine(open_bundle(new))
    again = write_engine_bundle(tmp_path / "again").path
    build_engine(again)
    assert keep_results(new, again).kept == ()
