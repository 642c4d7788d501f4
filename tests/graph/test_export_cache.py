"""Exports kept on disk: once per key, whole or not at all, and never the reason why a build fails."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgeexport.errors import BuildError, UsageError
from edgeexport.graph.export_cache import FOLDER_VARIABLE, ExportCache, export_cache, kept_export, without_kept_exports


def model(weights: int = 4) -> onnx.ModelProto:
    """A graph that adds one tensor of ``weights`` float32 values to its input."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [weights]) for name in "xy"]
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [weights], bytes(4 * weights), raw=True)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", info[:1], info[1:], [tensor]))


class Exporter:
    """Counts how often it is asked."""

    def __init__(self, weights: int = 4, seconds: float = 0.0) -> None:
        self.calls, self.seconds, self.model = 0, seconds, model(weights)

    def __call__(self) -> onnx.ModelProto:
        self.calls += 1
        time.sleep(self.seconds)
        return self.model


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_made_once_and_given_to_each_as_its_own(tmp_path: Path) -> None:
    exporter, cache = Exporter(), ExportCache(tmp_path / "deep" / "exports")
    first = cache.export("a", exporter)
    again = cache.export("a", exporter)
    assert (first.reused, again.reused, exporter.calls) == (False, True, 1)
    assert again.model == exporter.model
    again.model.graph.node[0].op_type = "Mul"  # as graph passes do
    assert cache.export("a", exporter).model == exporter.model
    assert cache.export("b", exporter).reused is False
    assert names(cache.folder) == ["a.export", "b.export"], "no lock and no half-written file is left"


def test_several_at_once_wait_for_the_first(tmp_path: Path) -> None:
    exporter, found = Exporter(seconds=0.3), []
    threads = [
        threading.Thread(target=lambda: found.append(ExportCache(tmp_path).export("a", exporter).reused))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exporter.calls == 1
    assert sorted(found) == [False, True, True, True]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1], lambda content: content + b"\0"])
def test_damaged_entry_is_made_anew(tmp_path: Path, damage: object) -> None:
    exporter, cache = Exporter(), ExportCache(tmp_path)
    cache.export("a", exporter)
    kept = tmp_path / "a.export"
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))  # type: ignore[operator]
    assert cache.export("a", exporter).reused is False
    assert kept.read_bytes() == whole and exporter.calls == 2


def test_a_failed_export_leaves_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    def fail() -> onnx.ModelProto:
        raise BuildError("torch's exporter", "cannot")

    with pytest.raises(BuildError):
        ExportCache(tmp_path).export("a", fail)
    assert names(tmp_path) == []
    assert ExportCache(tmp_path).export("a", Exporter()).reused is False


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    size = ExportCache(tmp_path / "one").export("a", Exporter(1000)).model.ByteSize()
    cache = ExportCache(tmp_path / "many", limit_bytes=4 * size + 200)
    cache.folder.mkdir()
    for age, key in enumerate("cab"):
        cache.export(key, Exporter(1000))
        os.utime(cache.folder / f"{key}.export", (age, age))
    (cache.folder / ".z.partial-1").write_bytes(bytes(size))  # of a process that was killed
    os.utime(cache.folder / ".z.partial-1", (0, 0))
    assert cache.export("c", Exporter(1000)).reused  # which makes it the one used last
    cache.export("d", Exporter(1000))
    assert names(cache.folder) == ["a.export", "b.export", "c.export", "d.export"]
    cache.export("e", Exporter(1000))
    assert names(cache.folder) == ["b.export", "c.export", "d.export", "e.export"]


def test_a_model_that_would_fill_the_folder_is_not_kept(tmp_path: Path) -> None:
    exporter = Exporter(1000)
    cache = ExportCache(tmp_path, limit_bytes=3 * exporter.model.ByteSize())
    assert cache.export("a", exporter).model == exporter.model
    assert names(tmp_path) == []


def test_full_disk_costs_the_entry_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    exporter = Exporter()
    assert ExportCache(tmp_path).export("a", exporter).model == exporter.model
    assert names(tmp_path) == []


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=f"file.* | not a folder .* | .*{FOLDER_VARIABLE}") as caught:
        ExportCache(tmp_path / "file").export("a", Exporter())
    assert caught.value.exit_code == 2


def test_metadata_is_told_to_each_export_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry serves recipes of any name, and each export says where it is from."""
    monkeypatch.setattr("edgeexport.graph.export_cache.export_key", lambda fixed: "a")
    monkeypatch.setattr("edgeexport.graph.export_cache.export_of_fixed", lambda fixed, metadata: model())
    for number, told in enumerate([{"b": "1", "a": "2"}, {"a": "3"}, {}]):
        export = kept_export(object(), told, ExportCache(tmp_path))  # type: ignore[arg-type]
        assert export.reused is bool(number)
        assert [(item.key, item.value) for item in export.model.metadata_props] == sorted(told.items())


def test_the_environment_names_the_folder_or_none(tmp_path: Path) -> None:
    assert export_cache({FOLDER_VARIABLE: ""}) is None
    assert export_cache({FOLDER_VARIABLE: str(tmp_path)}) == ExportCache(tmp_path)
    own = export_cache({"XDG_CACHE_HOME": str(tmp_path)})
    assert own == ExportCache(tmp_path / "edgeexport" / "exports", may_fail=True)


def test_a_home_that_cannot_be_written_fails_no_export(tmp_path: Path) -> None:
    (tmp_path / "edgeexport").write_text("a file in its place")
    cache, exporter = export_cache({"XDG_CACHE_HOME": str(tmp_path)}), Exporter()
    assert cache is not None and cache.export("a", exporter).model == exporter.model
    assert cache.export("a", exporter).reused is False and exporter.calls == 2


def test_a_block_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for named in (str(tmp_path), None):
        if named is None:
            monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(FOLDER_VARIABLE, named)
        with pytest.raises(KeyError), without_kept_exports():
            assert export_cache() is None
            raise KeyError
        assert os.environ.get(FOLDER_VARIABLE) == named
        with without_kept_exports(False):
            assert export_cache() is not None
