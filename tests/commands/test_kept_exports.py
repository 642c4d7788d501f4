"""The user's cache of exports, from the command line: a second build does not run the exporter, and --no-cache does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from shared_cases import CommandResult

from edgeexport.errors import BuildError
from edgeexport.graph.export_cache import FOLDER_VARIABLE


def test_a_second_build_takes_the_export_from_the_users_cache(
    edgeexport: Callable[..., CommandResult], tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exports = tmp_path / "cache" / "edgeexport" / "exports"
    assert edgeexport("lint", tiny_recipe).code == 0
    (kept,) = exports.glob("*.export")

    def refuse(*_: object) -> None:
        raise BuildError("torch's exporter", "was asked again")

    monkeypatch.setattr("edgeexport.graph.export_cache.export_of_fixed", refuse)
    build = (
        "build",
        tiny_recipe,
        "--target",
        "cpu",
        "--precision",
        "fp16",
        "--no-plugins",
        "--work-dir",
        tmp_path / "b",
    )
    done = edgeexport(*build)
    assert done.code == 0, done.err
    assert "torch's exporter was not run" in (tmp_path / "b" / "build.log").read_text()
    anew = edgeexport(*build, "--no-cache")
    assert anew.code == 5 and "was asked again" in anew.err
    assert list(exports.iterdir()) == [kept]
