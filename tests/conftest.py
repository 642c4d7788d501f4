"""Shared fixtures: a tiny recipe that builds in seconds, its bundle, built once per run, and the command line."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from PIL import ImageDraw
from recipe_cases import TINY, changed, message_of
from shared_builds import SharedBuilds, run_folder
from shared_cases import TINY_RECIPE, CommandResult

from edgeexport.errors import EdgeExportError, RecipeError
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config

EXPORT_CACHE = "EDGEEXPORT_EXPORT_CACHE"

# A busy machine is no fault of a test's.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not walk it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def export_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every process of the run, and every process that a test starts, keeps torch's exports in one folder."""
    with pytest.MonkeyPatch.context() as patch:
        if EXPORT_CACHE not in os.environ:
            patch.setenv(EXPORT_CACHE, str(run_folder(tmp_path_factory) / "exports"))
        yield


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> SharedBuilds:
    """`builds.bundle(recipe, target)`: a bundle, built once per run; tests that change it work on a copy."""
    return SharedBuilds(tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_bundle(builds: SharedBuilds) -> Path:
    """A bundle of the tiny recipe for orin, built once; tests that change it work on a copy."""
    return builds.bundle("tiny.py", "orin", text=TINY_RECIPE)


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


@pytest.fixture
def validated(tmp_path: Path) -> Callable[..., Recipe]:
    """`validated(changes, base)`: the `Recipe` of the small recipe with changes."""

    def validate(changes: Mapping[tuple, object] | None = None, base: Mapping = TINY, **options: object) -> Recipe:
        return recipe_from_config(changed(base, changes or {}), tmp_path / "x.py", **options)

    return validate


@pytest.fixture
def refused(validated: Callable[..., Recipe]) -> Callable[..., str]:
    """`refused(changes, base)`: the one-line message with which the changed recipe is refused, exit code 2."""

    def refuse(
        changes: Mapping[tuple, object],
        base: Mapping = TINY,
        kind: type[EdgeExportError] = RecipeError,
        **options: object,
    ) -> str:
        with pytest.raises(kind) as caught:
            validated(changes, base, **options)
        assert type(caught.value) is kind
        return message_of(caught.value)

    return refuse


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """`write(name, text)`: a file in the test's folder."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden vectors."""
    given = os.environ.get("EDGEEXPORT_GOLDEN")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden vectors at {folder}; EDGEEXPORT_GOLDEN names another folder")
    return folder


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn (not only measured), in order."""
    texts: list[str] = []
    plain = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: Any, words: str, *rest: Any, **options: Any) -> None:
        if self.im.size != (1, 1):
            texts.append(words)
        plain(self, xy, words, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts
