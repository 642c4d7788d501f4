"""Fixtures around the small recipes of `recipe_cases`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from recipe_cases import TINY, changed, message_of

from edgeexport.errors import EdgeExportError, RecipeError
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config


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
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden vectors at {folder}; EDGEEXPORT_GOLDEN names another folder")
    return folder
