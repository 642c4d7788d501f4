"""Films in and out, frame by frame, with OpenCV (extra `video`), which a Jetson has in its system. Never needed otherwise."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeexport.errors import ImageError, UsageError

__all__ = ["FILM_SUFFIXES", "FilmWriter", "film_length", "frames_of_film", "is_film"]

FILM_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")

_FALLBACK_RATE = 25.0  # frames per second, of a film that does not say
_CODEC = "mp4v"  # MPEG-4 part 2: OpenCV's wheels and builds all write it


def is_film(path: Path) -> bool:
    """Whether a file's name says so."""
    return path.suffix.lower() in FILM_SUFFIXES


def film_length(path: Path, every: int = 1) -> int:
    """How many frames `frames_of_film` gives by what the file says of itself, which may be wrong; at least 1.

    Raises:
        UsageError, ImageError: As `frames_of_film`.
    """
    cv2, film = _opened(path)
    frames = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    film.release()
    return max(1, -(-frames // every))


def frames_of_film(path: Path, every: int = 1) -> Iterator[Image.Image]:
    """Every n-th frame as RGB, from the first, at the film's size; turned upright as the file says.

    Raises:
        UsageError: OpenCV is missing (exit code 2).
        ImageError: No file, or none that OpenCV decodes.
    """
    cv2, film = _opened(path)
    try:
        number = 0
        while film.grab():
            if number % every == 0:
                taken, frame = film.retrieve()
                if not taken:
                    break
                yield Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            number += 1
        if number == 0:
            raise ImageError(str(path), "holds no frame that OpenCV decodes", "convert it, such as to H.264 in MP4")
    finally:
        film.release()


class FilmWriter:
    """An MP4 with the given pictures as its frames. The first one fixes the size, which is made even.

    Args:
        path: The file, in a folder that exists; another name until `close` says that it is whole.
        like: The film whose rate it takes, of which every n-th frame is written.
    """

    def __init__(self, path: Path, like: Path, every: int = 1) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._writer: Any = None
        self._cv2, film = _opened(like)
        rate = film.get(self._cv2.CAP_PROP_FPS)
        film.release()
        self._rate = (rate if 0 < rate < 1000 else _FALLBACK_RATE) / every
        self._size = (0, 0)

    def add(self, picture: Image.Image) -> None:
        """Appends a frame.

        Raises:
            UsageError: The file cannot be written.
        """
        if self._writer is None:
            self._size = (picture.width // 2 * 2, picture.height // 2 * 2)
            code = self._cv2.VideoWriter.fourcc(*_CODEC)
            writer: Any = self._cv2.VideoWriter(str(self._partial), code, self._rate, self._size)
            if not writer.isOpened():
                raise UsageError(str(self.path), "cannot be written as MP4 by OpenCV", "give another --out-dir")
            self._writer = writer
        frame = picture if picture.size == self._size else picture.crop((0, 0, *self._size))
        self._writer.write(self._cv2.cvtColor(np.asarray(frame.convert("RGB")), self._cv2.COLOR_RGB2BGR))

    def close(self, whole: bool = True) -> None:
        """Ends the file, which gets its name if it is ``whole`` and is removed otherwise; to be called whatever happened."""
        if self._writer is not None:
            self._writer.release()
        if whole and self._partial.exists():
            self._partial.replace(self.path)
        self._partial.unlink(missing_ok=True)


def _opened(path: Path) -> tuple[Any, Any]:
    """OpenCV and the film. A name is opened only if it is a file: OpenCV would fetch an address."""
    if not path.is_file():
        raise ImageError(str(path), "no such film", "check the path")
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:
        remedy = "pip install 'edgeexport[video]'; a Jetson has python3-opencv in its system"
        raise UsageError(str(path), "a film needs OpenCV, which is not installed", remedy) from None
    film = cv2.VideoCapture(str(path.resolve()))
    if not film.isOpened():
        raise ImageError(str(path), "cannot be read as a film by OpenCV", "convert it, such as to H.264 in MP4")
    return cv2, film
