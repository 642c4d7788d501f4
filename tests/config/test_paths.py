from __future__ import annotations

from pathlib import Path

from edgeexport.config.paths import absolute_path, shown_path


def test_paths_inside_the_current_folder_are_shown_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "a" / "x.py") == str(Path("a/x.py"))
    assert shown_path(Path("a/../x.py")) == "x.py"
    assert shown_path(tmp_path.parent / "x.py") == str(tmp_path.parent / "x.py")


def test_links_are_kept(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute_path(tmp_path / "link" / "x.py") == tmp_path / "link" / "x.py"
