"""`edgeexport run` on folders and films."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_cases import CommandResult

from edgeexport.errors import ImageError, UsageError
from edgeexport.inputs.films import FilmWriter, film_length, frames_of_film

cv2 = pytest.importorskip("cv2", reason="a film needs OpenCV: pip install 'edgeexport[video]'")
Command = Callable[..., CommandResult]
FRAMES = 7


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Frames that grow brighter, 10 a second."""
    path = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), 30 * number, np.uint8))
    writer.release()
    return path


def test_every_nth_frame(film: Path) -> None:
    for every, expected in ((1, [0, 30, 60, 90, 120, 150, 180]), (3, [0, 90, 180]), (9, [0])):
        frames = list(frames_of_film(film, every))
        assert [abs(np.asarray(frame).mean() - level) < 6 for frame, level in zip(frames, expected, strict=True)]
        assert film_length(film, every) == len(expected)
        assert all(abs(np.asarray(frame).mean() - level) < 6 for frame, level in zip(frames, expected, strict=True))


def test_a_film_is_written_at_the_others_rate_with_even_sides(film: Path, tmp_path: Path) -> None:
    writer = FilmWriter(tmp_path / "out.mp4", film, every=2)
    for level in (0, 100, 200):
        writer.add(Image.new("RGB", (65, 49), (level, 0, 0)))
    writer.close()
    frames = list(frames_of_film(tmp_path / "out.mp4"))
    assert [frame.size for frame in frames] == [(64, 48)] * 3
    found = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert found.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    assert np.asarray(frames[2])[..., 0].mean() > 150 > np.asarray(frames[2])[..., 1].mean() + 100


def test_what_is_no_film(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    for name, told in (("text.mp4", "cannot be read as a film"), ("nowhere.mp4", "no such film")):
        with pytest.raises(ImageError, match=told):
            list(frames_of_film(tmp_path / name))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="needs OpenCV"):
        list(frames_of_film(film))


def test_a_folder_and_two_films(edgeexport: Command, tiny_bundle: Path, film: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (40, 30), "green").save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "broken.mp4").write_text("no film")
    given = (tmp_path / "photos", film, film, tmp_path / "broken.mp4")
    done = edgeexport("run", tiny_bundle, *given, "--every-frame", "3", "--out-dir", tmp_path / "out", "--json")
    assert done.code == 2 and "broken.mp4" in done.err.splitlines()[-1]
    found = json.loads(done.out)
    assert [Path(item["image"]).name for item in found["images"]] == ["a.jpg", "b.png"]
    assert [(item["frames"], Path(item["picture"]).name) for item in found["films"]] == [
        (3, "drive_overlay.mp4"),
        (3, "drive-2_overlay.mp4"),
    ]
    assert len(list(frames_of_film(tmp_path / "out" / "drive_overlay.mp4"))) == 3
    earlier = film.with_name("drive_overlay.mp4")
    earlier.write_bytes(film.read_bytes())
    beside = edgeexport("run", tiny_bundle, film, earlier, "--every-frame", "9", "--out-dir", tmp_path, "--json")
    names = [Path(item["picture"]).name for item in json.loads(beside.out)["films"]]
    assert names == ["drive-2_overlay.mp4", "drive_overlay_overlay.mp4"]
    assert earlier.read_bytes() == film.read_bytes() and not list(tmp_path.glob(".*partial*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert edgeexport("run", tiny_bundle, empty).code == 2
