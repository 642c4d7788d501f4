"""What is refused of any document, whatever it is: size, depth, numbers, text, and what is no plain file."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import TypedDict

from edgeexport.documents import Kind, parsed, read_document, read_golden
from edgeexport.documents.limits import Count, Name
from edgeexport.errors import BundleError

PACKAGE = Path(__file__).resolve().parents[2] / "edgeexport"


class Sizes(TypedDict, total=False):
    """A document for these tests."""

    height: Count
    parts: list[dict[Name, Count]]


KIND: Kind[Sizes] = Kind(Sizes, largest=4096)


def refused(content: bytes | str) -> str:
    with pytest.raises(BundleError) as caught:
        parsed(content, KIND, "sizes.json")
    assert caught.value.exit_code == 9 and caught.value.remedy and "\n" not in str(caught.value)
    return f"{caught.value.where} | {caught.value.problem}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "sizes.json | cannot be read"),
        (b"\xff\xfe", "sizes.json | cannot be read"),
        (b'{"height": NaN}', "sizes.json | cannot be read"),
        (b'{"height": 1e999}', "sizes.json | cannot be read"),
        (b'{"x": "\\ud800"}', "sizes.json | cannot be read"),
        (b"[" * 100_000, "sizes.json | has 100000 bytes, 4096 are allowed"),
        (b"[" * 2000, "sizes.json | cannot be read"),
        (b'{"x": ' + b"[" * 60 + b"]" * 60 + b"}", "goes deeper than 48 levels"),
        (b'{"x": 1' + b"0" * 400 + b"}", "sizes.json: x | is a number beyond any"),
        (b'{"x": [0.5, -1e200]}', "sizes.json: x[1] | is a number beyond any"),
        (b"[]", "sizes.json | expected object, got array"),
        (b'{"height": "7"}', "sizes.json: height | expected int, got str"),
        (b'{"height": -1}', "sizes.json: height | expected int >= 0"),
        (b'{"height": true}', "sizes.json: height | expected int, got bool"),
        (b'{"parts": [{"a": 1}, {"a": 1, "b": 0.5}]}', "sizes.json: parts[1].b | expected int, got float"),
    ],
)
def test_refused(content: bytes, message: str) -> None:
    assert message in refused(content)


def test_what_a_later_version_adds_is_kept() -> None:
    document: Any = parsed('{"height": 3, "width": {"a": [1]}}', KIND, "sizes.json")
    assert json.loads(json.dumps(document)) == {"height": 3, "width": {"a": [1]}}


def test_a_key_that_is_not_there_names_file_and_key() -> None:
    document: Any = parsed('{"parts": [{"a": 1}]}', KIND, "sizes.json")
    with pytest.raises(BundleError, match=r"sizes.json: parts\[0\] \| lacks b"):
        document["parts"][0]["b"]
    assert document.get("height") is None


def test_pipes_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BundleError, match="cannot be read"):
            read_document(path, KIND)
    with pytest.raises(BundleError, match="is missing"):
        read_document(tmp_path / "absent", KIND)


# --- golden.npz ---


def write_golden(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **{name.replace("__", "/"): value for name, value in arrays.items()})
    return path


def manifest(*shape: int) -> dict[str, Any]:
    return {"input": {"name": "image", "dtype": "uint8", "shape": list(shape)}, "inner_outputs": []}


def test_an_array_that_is_not_as_declared_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    path = write_golden(tmp_path / "golden.npz", case0__image=image, case0__names=np.array(["a"]))
    assert read_golden(path, manifest(1, 8, 8, 3))["case0/image"].shape == (1, 8, 8, 3)
    monkeypatch.setattr("numpy.lib.format.read_array", lambda *a, **k: pytest.fail("unpacked"))
    with pytest.raises(
        BundleError, match=r"golden.npz: case0/image \| is uint8 \[1, 8, 8, 3\], expected uint8 \[1, 8, 4, 3\]"
    ):
        read_golden(path, manifest(1, 8, 4, 3))


def test_a_small_file_that_grows_is_refused_by_its_header(tmp_path: Path) -> None:
    """2 MB of zip took 2 GB: here 300 bytes claim 64 GB."""
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (8589934592,), }".ljust(117)
        + b"\n"
    )
    for claimed in (header, header.replace(b"8589934592,", b"67108864,  ")):
        with zipfile.ZipFile(tmp_path / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("case0/score/x.npy", claimed + bytes(100))
        with pytest.raises(BundleError, match=r"golden\.npz: case0/score/x") as caught:
            read_golden(tmp_path / "golden.npz", {})
        assert caught.value.exit_code == 9


@pytest.mark.parametrize("damage", ["no zip", "object", "names", "ties", "cut"])
def test_damaged_golden(tmp_path: Path, damage: str) -> None:
    arrays: dict[str, Any] = {"case0__image": np.zeros((2, 3, 4, 4), np.float32), "case0__names": np.array(["a", "b"])}
    if damage == "object":
        arrays["case0__x"] = np.array([{}], dtype=object)
    if damage == "names":
        arrays["case0__names"] = np.array(["a"])
    if damage == "ties":
        arrays |= {"case0__near_tie": np.zeros(3, np.uint8), "case0__class_map": np.zeros((2, 4, 4), np.int32)}
    path = write_golden(tmp_path / "golden.npz", **arrays)
    if damage in ("no zip", "cut"):
        path.write_bytes(b"nothing" if damage == "no zip" else path.read_bytes()[:-40])
    with pytest.raises(BundleError) as caught:
        read_golden(path, {})
    assert caught.value.exit_code == 9 and "golden.npz" in caught.value.where


# --- Nothing else parses JSON ---

ALLOWED = {
    "documents/reading.py": "the one place",
    "hosts/checkpoint_file.py": "arrays of a checkpoint, whose sizes are looked at first",
}


def test_json_is_parsed_in_one_place() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\bjson\.loads?\(|msgspec\.json\.decode|raw_decode|np\.load\(", path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)
