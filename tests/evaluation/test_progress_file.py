"""Progress that outlives an interruption, and is dropped when it belongs to something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeexport.documents import Kind
from edgeexport.errors import UsageError
from edgeexport.evaluation.progress_file import ProgressFile

SCHEMA = "edgeexport.test_progress/1"
ENTRY = Kind(dict[str, int], remedy="begin anew with --restart", error=UsageError)
KEY = {"model": "a", "data set": "b"}


def opened(path: Path, key: dict[str, str] | None = None, *, restart: bool = False) -> tuple[str, list[dict]]:
    with ProgressFile(path, SCHEMA, key or KEY, restart=restart) as progress:
        return progress.begun_anew, list(progress.entries(ENTRY))


def filled(path: Path) -> Path:
    with ProgressFile(path, SCHEMA, KEY) as progress:
        progress.append([{"n": 1}, {"n": 2}])
        progress.append([])
        progress.append([{"n": 3}])
        assert list(progress.entries(ENTRY)) == [{"n": 1}, {"n": 2}, {"n": 3}]
    return path


def test_entries_are_there_again(tmp_path: Path) -> None:
    path = filled(tmp_path / "new" / "progress.jsonl")
    assert opened(path) == ("", [{"n": 1}, {"n": 2}, {"n": 3}])
    with ProgressFile(path, SCHEMA, KEY) as progress:
        progress.append([{"n": 4}])
    assert len(opened(path)[1]) == 4


def test_entries_are_on_disk_while_the_file_is_open(tmp_path: Path) -> None:
    with ProgressFile(tmp_path / "p", SCHEMA, KEY) as progress:
        progress.append([{"n": 1}])
        assert b'{"n":1}\n' in (tmp_path / "p").read_bytes()


@pytest.mark.parametrize("torn", [b'{"n":', b'{"n":4}', b"{" + b"1" * 200_000])
def test_a_torn_line_is_dropped(torn: bytes, tmp_path: Path) -> None:
    path = filled(tmp_path / "p")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert opened(path) == ("", [{"n": 1}, {"n": 2}, {"n": 3}])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("length", [0, 5, 20, 60])
def test_a_torn_first_line_begins_anew(length: int, tmp_path: Path) -> None:
    path = filled(tmp_path / "p")
    path.write_bytes(path.read_bytes()[:length])
    assert opened(path) == ("", [])
    assert opened(path) == ("", [])


def test_another_key_begins_anew_and_says_what_differs(tmp_path: Path) -> None:
    path = filled(tmp_path / "p")
    assert opened(path, {"model": "x", "data set": "b"}) == ("another model than before", [])
    assert opened(path, {"model": "y", "data set": "c"}) == ("another model and another data set than before", [])
    with ProgressFile(path, "edgeexport.test_progress/2", KEY) as progress:
        assert progress.begun_anew == "it is of another version"


def test_restart_begins_anew(tmp_path: Path) -> None:
    assert opened(filled(tmp_path / "p"), restart=True) == ("", [])
    assert opened(tmp_path / "p") == ("", [])


@pytest.mark.parametrize("key", ["3", "[]", '{"model": 1}'])
def test_a_damaged_first_line_wants_a_restart(tmp_path: Path, key: str) -> None:
    path = tmp_path / "p"
    path.write_text(f'{{"schema":"{SCHEMA}","key":{key}}}\n')
    with pytest.raises(UsageError, match=r"line 1.*is damaged.*--restart"):
        opened(path)
    assert opened(path, restart=True) == ("", [])


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p"
    for content in (b"my notes\n", b'{"schema": "mine/1"}\n', b"no newline"):
        path.write_bytes(content)
        for restart in (False, True):
            with pytest.raises(UsageError, match="left alone"):
                opened(path, restart=restart)
        assert path.read_bytes() == content


def test_damage_and_folders_that_cannot_be_written(tmp_path: Path) -> None:
    path = filled(tmp_path / "p")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"###\n", *lines[2:]]))
    with pytest.raises(UsageError, match=r"line 3 \| is damaged: .* \| begin anew with --restart"):
        opened(path)
    path.write_bytes(b"".join([lines[0], b'{"n": "x"}\n']))
    with pytest.raises(UsageError, match=r"line 2: n \| is damaged: expected int, got str"):
        opened(path)
    with pytest.raises(UsageError, match="another --out-dir"):
        opened(path / "below a file" / "p")
