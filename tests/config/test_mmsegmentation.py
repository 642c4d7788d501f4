"""mmsegmentation's modules are imported in one place, which keeps standard output clean."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgeexport
from edgeexport.config.mmsegmentation import mmsegmentation


def test_what_an_import_prints_goes_to_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_chatty_module.py").write_text("print('Could not import something')\nVALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert mmsegmentation("a_chatty_module").VALUE == 3
    printed = capsys.readouterr()
    assert printed.out == "" and "Could not import something" in printed.err


def test_nothing_else_imports_it() -> None:
    named = []
    for path in Path(edgeexport.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [path.name for module in modules if module.partition(".")[0] == "mmseg"]
    assert named == []
