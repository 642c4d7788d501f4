"""The program's hash: every byte and every name of the package counts, and nothing beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeexport.bundle import source_hash
from edgeexport.bundle.source_hash import program_sha256

PACKAGE = Path(source_hash.__file__).resolve().parents[1]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, hashed in its place."""
    copy = tmp_path / "edgeexport"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source_hash, "_PACKAGE", copy)
    return copy


def test_one_byte_of_a_module_of_any_folder_changes_it(package: Path) -> None:
    """A list of files or folders, as there once was, forgets some."""
    before = program_sha256()
    one_of_each = {path.parent: path for path in package.rglob("*.py") if path.name != "__init__.py"}
    others = [package / name for name in ("inputs/photos.py", "pictures/predictor.py", "pictures/label_map.py")]
    assert len(one_of_each) > 20
    for path in (*one_of_each.values(), *others):
        content = path.read_bytes()
        path.write_bytes(content + b"#")
        assert program_sha256() != before, path
        path.write_bytes(content)
    assert program_sha256() == before


def test_names_count_and_other_files_do_not(package: Path) -> None:
    before = program_sha256()
    (package / "inputs" / "__pycache__").mkdir()
    (package / "inputs" / "__pycache__" / "photos.cpython-312.pyc").write_bytes(b"compiled")
    (package / "assets" / "another.jpg").write_bytes(b"a photograph")
    assert program_sha256() == before
    (package / "inputs" / "photos.py").rename(package / "inputs" / "pictures.py")
    assert program_sha256() != before


def test_a_copy_at_another_place_is_the_same_program_until_it_is_changed(package: Path) -> None:
    """The copy tells its own hash, in a process of its own."""

    def told() -> str:
        code = "from edgeexport.bundle.source_hash import program_sha256\nprint(program_sha256())"
        environment = {**os.environ, "PYTHONPATH": str(package.parent)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=package.parent,
        )
        return done.stdout.strip()

    assert told() == program_sha256()
    before = told()
    with (package / "pictures" / "label_map.py").open("a") as stream:
        stream.write("\n")
    assert told() != before
