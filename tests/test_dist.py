"""`make dist` from end to end; needs a package index and the devices' Pythons."""

from __future__ import annotations

from pathlib import Path

import pytest
from dist_check import PYTHONS, built_archives, check_archives
from interpreters import interpreter


@pytest.mark.slow
def test_wheel_and_source_archive_run_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    for version in PYTHONS:
        interpreter(version)
    told: list[str] = []
    check_archives(built_archives(tmp_path), tiny_bundle, say=told.append)
    assert len(told) == 4


def test_an_archive_that_lacks_something_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dist_check.IN_SDIST", ("recipes/segvit_cts_dtop.py", "recipes/nowhere.py"))
    with pytest.raises(AssertionError, match=r"not in edgeexport-.*nowhere\.py"):
        built_archives(tmp_path)
