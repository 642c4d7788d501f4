"""What every fuzz test damages, made once per run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from shared_builds import made_once, run_folder

sys.path += [str(Path(__file__).parents[1] / name) for name in ("evaluation", "plugins")]


@pytest.fixture(scope="session")
def base(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from base import lay_out_base
    from fuzzing import import_all

    import_all()
    recipe = tiny_bundle.parent / "tiny.py"
    return made_once(run_folder(tmp_path_factory), "fuzz-base", lambda path: lay_out_base(path, tiny_bundle, recipe))
