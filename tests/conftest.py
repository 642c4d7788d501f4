"""Shared fixtures: a tiny recipe that builds in seconds, its bundle, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from shared_cases import TINY_RECIPE, CommandResult


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny recipe for orin, built once; tests that change it work on a copy."""
    from edgeexport.pipeline import build

    folder = tmp_path_factory.mktemp("tiny")
    recipe = folder / "tiny.py"
    recipe.write_text(TINY_RECIPE)
    return build(recipe, "orin", work_dir=folder / "bundle").bundle.path


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    """Path of a recipe with DToP (no policy network) that builds in seconds; loads from any folder."""
    path = tmp_path / "tiny.py"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture
def edgeexport(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., CommandResult]:
    """Calls the command line in this process: ``edgeexport("build", recipe, ...)``."""
    from edgeexport.cli import main

    def call(*arguments: object) -> CommandResult:
        monkeypatch.setattr("sys.argv", ["edgeexport", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return CommandResult(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call
