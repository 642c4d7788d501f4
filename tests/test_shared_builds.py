"""What a run makes once is whole or not there, and is made by one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from shared_builds import made_once


def test_others_wait_for_the_first(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        time.sleep(0.2)
        path.mkdir()

    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(made_once(tmp_path, "a", make).is_dir())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and found == [True] * 3


def test_what_failed_is_made_again(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full"):
        made_once(tmp_path, "a", fail)
    assert not (tmp_path / "a").exists()
    assert list(made_once(tmp_path, "a", Path.mkdir).iterdir()) == []
