"""Bundles are written whole or not at all, foreign folders stay, and a damaged bundle is told apart from a good one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edgeexport.bundle import (
    SCHEMA,
    check_replaceable,
    hashes_of,
    json_bytes,
    open_bundle,
    sha256_of,
    staged_bundle,
)
from edgeexport.bundle import bundle as bundle_module
from edgeexport.bundle import staging as staging_module
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError, BundleError, EdgeExportError, ParityError, UsageError
from edgeexport.inputs.spec import InputSpec, Preprocess

RULE = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "bgr_to_rgb": True}


def write_bundle(folder: Path, content: bytes = b"graph", **changes: object) -> Path:
    """A minimal bundle: one file and a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "name": "tiny",
        "input": {"shape": [2, 64, 96, 3], "preprocess": RULE},
        "inner_outputs": [{"name": "shared_windows", "dtype": "int32", "shape": [2, 4]}],
        "files": hashes_of(folder, ["model.onnx"]),
        **changes,
    }
    kept = {key: value for key, value in manifest.items() if value is not ...}
    (folder / "manifest.json").write_bytes(json_bytes(kept))
    return folder


def damaged(folder: Path) -> str:
    """The one-line message with which a bundle is refused, exit code 9."""
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert caught.value.exit_code == 9
    assert caught.value.where.startswith(str(folder)) and caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


def content_of(folder: Path) -> bytes:
    return (open_bundle(folder).path / "model.onnx").read_bytes()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- Opening ---


def test_open_bundle(tmp_path: Path) -> None:
    opened = open_bundle(write_bundle(tmp_path / "b"))
    assert opened.path == tmp_path / "b"
    assert opened.name == "tiny"
    assert opened.input == InputSpec(2, 64, 96, Preprocess((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), True))
    assert opened.inner_outputs == [TensorInfo("shared_windows", "int32", (2, 4))]
    assert opened.json("manifest.json")["name"] == "tiny"


def test_input_of_normalised_images(tmp_path: Path) -> None:
    entry = {"shape": [1, 3, 64, 96], "preprocess": None}
    assert open_bundle(write_bundle(tmp_path / "b", input=entry)).input == InputSpec(1, 64, 96, None)


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(2, 64, 96, Preprocess((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), True)),
        InputSpec(1, 64, 96, None),
        InputSpec(4, 1024, 128, None, channels=1),
        InputSpec(1, 224, 240, None, frames=16),
        InputSpec(2, 64, 32, None, channels=320, context=(77, 768)),
    ],
)
def test_input_of_every_form(tmp_path: Path, spec: InputSpec) -> None:
    entry = {
        "name": "image",
        "dtype": "float32",
        "shape": list(spec.shape),
        "preprocess": None if spec.preprocess is None else RULE,
        "height": spec.height,
        "width": spec.width,
        "num_channels": spec.channels,
        "frames": spec.frames,
        "context": None if spec.context is None else list(spec.context),
    }
    found = open_bundle(write_bundle(tmp_path / "b", input=entry)).input
    assert found == spec and found.shape == spec.shape
    hash(found)  # JSON's lists are tuples again


def test_extra_inputs(tmp_path: Path) -> None:
    assert open_bundle(write_bundle(tmp_path / "old")).extra_inputs == []
    entry = [{"name": "context", "dtype": "float32", "shape": [2, 77, 768]}]
    found = open_bundle(write_bundle(tmp_path / "b", extra_inputs=entry)).extra_inputs
    assert found == [TensorInfo("context", "float32", (2, 77, 768))]


def test_no_folder(tmp_path: Path) -> None:
    assert "is no bundle folder" in damaged(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    assert "is no bundle folder" in damaged(tmp_path / "file")


def test_folder_without_manifest(tmp_path: Path) -> None:
    assert "has no manifest.json, so it is no bundle" in damaged(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"not json", b"\xff\xfe\x00", b'{"schema": "edgeexport.b'])
def test_unreadable_manifest(tmp_path: Path, content: bytes) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "manifest.json").write_bytes(content)
    assert "manifest.json | cannot be read" in damaged(folder)


@pytest.mark.parametrize("schema", ["edgeexport.bundle/2", "edgeexport.bundle", "other/1", None, 1])
def test_another_schema(tmp_path: Path, schema: object) -> None:
    message = damaged(write_bundle(tmp_path / "b", schema=schema))
    assert f"schema {schema!r}, this edgeexport reads 'edgeexport.bundle/1'" in message


@pytest.mark.parametrize("content", ["[]", '"edgeexport.bundle/1"', "null"])
def test_manifest_that_is_no_object(tmp_path: Path, content: str) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "manifest.json").write_text(content)
    assert "schema None" in damaged(folder)


@pytest.mark.parametrize("key", ["name", "files"])
def test_incomplete_manifest(tmp_path: Path, key: str) -> None:
    assert f"manifest.json | lacks {key}" in damaged(write_bundle(tmp_path / "b", **{key: ...}))


@pytest.mark.parametrize("key", ["input", "inner_outputs"])
def test_a_manifest_says_what_its_graph_takes_or_lists_graphs(tmp_path: Path, key: str) -> None:
    message = damaged(write_bundle(tmp_path / "b", **{key: ...}))
    assert f"manifest.json: {key} | is missing, and there is no list of graphs" in message


def test_files_that_are_no_mapping(tmp_path: Path) -> None:
    assert "manifest.json: files | expected object, got array" in damaged(
        write_bundle(tmp_path / "b", files=["model.onnx"])
    )


def test_missing_file(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "model.onnx").unlink()
    assert "model.onnx | is missing from the bundle" in damaged(folder)
    assert open_bundle(folder, check_hashes=False).name == "tiny"


@pytest.mark.parametrize("content", [b"grapH", b"", b"graph\n"])
def test_changed_file(tmp_path: Path, content: bytes) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "model.onnx").write_bytes(content)
    message = damaged(folder)
    assert "model.onnx | was changed after the build: sha256 " in message
    assert sha256_of(folder / "model.onnx")[:12] in message


def test_files_made_after_the_build_may_change(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "bench.json").write_text("{}")
    assert open_bundle(folder).json("bench.json") == {}


def test_json_of_a_missing_or_damaged_file(tmp_path: Path) -> None:
    opened = open_bundle(write_bundle(tmp_path / "b"))
    with pytest.raises(BundleError, match=r"parity\.json \| is missing from the bundle"):
        opened.json("parity.json")
    (tmp_path / "b" / "parity.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        opened.json("parity.json")


# --- Writing ---


def test_new_bundle_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "work" / "deep" / "b"
    with staged_bundle(path) as staging:
        assert staging.parent.parent == path.parent  # beside it: renaming does not copy
        write_bundle(staging, b"new")
        assert not path.exists()
    assert content_of(path) == b"new"
    assert names_in(path.parent) == {"b"}


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with staged_bundle(tmp_path / "b") as staging:
        write_bundle(staging)
    assert content_of(tmp_path / "b") == b"graph"


def test_old_bundle_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", b"old")
    (path / "bench.json").write_text("{}")
    with staged_bundle(path) as staging:
        write_bundle(staging, b"new")
        assert content_of(path) == b"old"
    assert content_of(path) == b"new"
    assert names_in(path) == {"manifest.json", "model.onnx"}  # replaced, not merged
    assert names_in(tmp_path) == {"b"}


def test_bundle_of_a_newer_version_may_be_replaced(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", schema="edgeexport.bundle/9")
    with staged_bundle(path) as staging:
        write_bundle(staging)
    assert content_of(path) == b"graph"


@pytest.mark.parametrize(
    ("raised", "expected", "code"),
    [
        (RuntimeError("exporter"), RuntimeError, None),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (SystemExit(1), SystemExit, None),
        (BundleError("where", "problem"), BundleError, 9),
        (OSError(errno.ENOSPC, "No space left on device"), BuildError, 5),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), BuildError, 5),
        (PermissionError(errno.EACCES, "Permission denied", "/somewhere/x"), BuildError, 5),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("existing", [True, False])
def test_old_bundle_stays_whole_whatever_happens(
    tmp_path: Path, raised: BaseException, expected: type[BaseException], code: int | None, existing: bool
) -> None:
    path = tmp_path / "b"
    if existing:
        write_bundle(path, b"old")
    with pytest.raises(expected) as caught, staged_bundle(path) as staging:
        write_bundle(staging, b"half")
        raise raised
    assert names_in(tmp_path) == ({"b"} if existing else set())
    if existing:
        assert content_of(path) == b"old"
    if code is not None:
        assert isinstance(caught.value, EdgeExportError) and caught.value.exit_code == code


def test_full_disk_message(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught, staged_bundle(tmp_path / "b"):
        raise OSError(errno.ENOSPC, "No space left on device")
    message = str(caught.value)
    assert message == f"{tmp_path} | the disk is full | free some space and build again; nothing was changed"


def test_other_write_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught, staged_bundle(tmp_path / "b"):
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/x")
    assert str(caught.value).startswith("/somewhere/x | cannot be written: Permission denied")


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BuildError, match="cannot be written") as caught, staged_bundle(tmp_path / "file" / "b"):
        pytest.fail("nothing can be staged there")
    assert caught.value.exit_code == 5
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize("failing", [1, 2])
def test_old_bundle_returns_when_the_exchange_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, interrupt: BaseException
) -> None:
    """Ctrl-C or an error before the first or the second of the two renames, of a system that cannot exchange."""
    monkeypatch.setattr(staging_module, "exchanged", lambda one, other: False)
    path, calls, rename = write_bundle(tmp_path / "b", b"old"), 0, Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise interrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((KeyboardInterrupt, BuildError)), staged_bundle(path) as staging:
        write_bundle(staging, b"new")
    assert calls >= failing
    assert content_of(path) == b"old"
    assert names_in(tmp_path) == {"b"}


def test_old_bundle_is_not_deleted_when_it_cannot_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_module, "exchanged", lambda one, other: False)
    path, calls, rename = write_bundle(tmp_path / "b", b"old"), 0, Path.rename

    def broken(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(BuildError), staged_bundle(path) as staging:
        write_bundle(staging, b"new")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".b.old-") and content_of(left) == b"old"
    monkeypatch.setattr(Path, "rename", rename)
    assert content_of(path) == b"old"  # to look for it is enough
    assert names_in(tmp_path) == {"b"}


# --- Destinations that are something else ---


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json", ".hidden"])
def test_foreign_folder_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / name).write_text('{"schema": "something/1"}')
    with pytest.raises(UsageError) as caught, staged_bundle(folder):
        pytest.fail("nothing may be written")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"{folder} | holds something that is not an edgeexport bundle")
    assert (folder / name).read_text() == '{"schema": "something/1"}'
    assert names_in(tmp_path) == {"thesis"}


def test_file_and_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    real = write_bundle(tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    for name in ("file", "link"):
        with pytest.raises(UsageError, match="exists and is not a folder") as caught:
            check_replaceable(tmp_path / name)
        assert caught.value.exit_code == 2
    assert content_of(real) == b"graph"


def test_folder_that_becomes_foreign_during_the_build_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with pytest.raises(UsageError), staged_bundle(path) as staging:
        write_bundle(staging)
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    assert (path / "notes.txt").read_text() == "mine"
    assert names_in(tmp_path) == {"b"}


@pytest.mark.parametrize("given", [".", "../here", ".."])
def test_the_current_folder_or_one_above_may_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    here = tmp_path / "here" / "inner" if given == ".." else tmp_path / "here"
    target = tmp_path / "here"
    write_bundle(target, b"old")
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    with staged_bundle(Path(given)) as staging:
        assert staging.resolve().parent.parent == tmp_path
        write_bundle(staging, b"new")
    assert content_of(target) == b"new"
    assert names_in(tmp_path) == {"here"}
    monkeypatch.chdir(tmp_path)


# --- Evidence of a failed build ---


def fail_build(path: Path, evidence: bytes) -> ParityError:
    with pytest.raises(ParityError) as caught, staged_bundle(path) as staging:
        write_bundle(staging, evidence)
        (staging / "manifest.json").unlink()
        (staging / "parity.json").write_text("{}")
        raise ParityError("adaptive against fixed", "outputs differ: scores", "see parity.json")
    assert caught.value.exit_code == 4
    return caught.value


def test_parity_error_keeps_the_evidence_and_the_old_bundle(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", b"old")
    error = fail_build(path, b"wrong")
    assert str(error) == (
        f"adaptive against fixed | outputs differ: scores | see parity.json; evidence is in {tmp_path / 'b.failed'}"
    )
    assert content_of(path) == b"old"
    assert (tmp_path / "b.failed" / "model.onnx").read_bytes() == b"wrong"
    assert names_in(tmp_path) == {"b", "b.failed"}


def test_later_evidence_takes_the_place_of_earlier(tmp_path: Path) -> None:
    fail_build(tmp_path / "b", b"first")
    fail_build(tmp_path / "b", b"second")
    assert (tmp_path / "b.failed" / "model.onnx").read_bytes() == b"second"
    assert names_in(tmp_path) == {"b.failed"}


def test_evidence_never_takes_the_place_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "b.failed").mkdir()
    (tmp_path / "b.failed" / "notes.txt").write_text("mine")
    (tmp_path / "b.failed-2").write_text("mine too")
    (tmp_path / "b.failed-3").symlink_to(tmp_path / "nowhere")
    error = fail_build(tmp_path / "b", b"wrong")
    assert error.remedy.endswith(f"evidence is in {tmp_path / 'b.failed-4'}")
    assert (tmp_path / "b.failed" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "b.failed-4" / "model.onnx").read_bytes() == b"wrong"


# --- Small parts ---


def test_json_bytes_are_the_same_every_time() -> None:
    value = {"b": 1, "a": ["é", None, 0.1]}
    assert (
        json_bytes(value) == json_bytes(dict(value)) == '{\n "b": 1,\n "a": [\n  "é",\n  null,\n  0.1\n ]\n}\n'.encode()
    )
    assert json.loads(json_bytes(value)) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"x": float("nan")})


def test_sha256_of_reads_past_one_block(tmp_path: Path) -> None:
    import hashlib

    content = os.urandom((1 << 20) + 17)
    (tmp_path / "x").write_bytes(content)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(content).hexdigest()
    assert list(hashes_of(tmp_path, ["x"])) == ["x"]


def test_module_runs_without_torch() -> None:
    """Bundles are opened on the device."""
    import subprocess
    import sys

    modules = "edgeexport.bundle, edgeexport.inputs.photos, edgeexport.inputs.batches"
    code = f"import sys; sys.modules['torch'] = None; import {modules}"
    root = Path(bundle_module.__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=root)
