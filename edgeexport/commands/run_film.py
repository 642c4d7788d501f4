"""Predicts a film frame by frame and writes one: what `edgeexport run` does with a film. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from edgeexport.commands.drawn_photo import PICTURES, drawn_photo
from edgeexport.inputs.films import FilmWriter, film_length, frames_of_film
from edgeexport.pictures.predictor import Predictor

__all__ = ["PredictedFilm", "predicted_film"]


@dataclass(frozen=True)
class PredictedFilm:
    """One film's result.

    Attributes:
        film: As it was given.
        frames: That were predicted.
        picture: The film of the most telling picture; None where the bundle draws none.
        kind: Of it, such as 'overlay'.
    """

    film: Path
    frames: int
    picture: Path | None
    kind: str

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def predicted_film(
    predictor: Predictor, film: Path, target: Path, every: int, progress: Callable[[int, int, Path], None]
) -> PredictedFilm:
    """Predicts every n-th frame.

    Args:
        predictor: The bundle's.
        film: The file.
        target: The film to write, without its ending: ``<target>_<kind>.mp4``.
        every: Frames.
        progress: Hears (frames done, frames that the file promises, film).

    Raises:
        UsageError: OpenCV is missing, or the film cannot be written.
        ImageError: The film cannot be read.
    """
    promised, done = film_length(film, every), 0
    frames = frames_of_film(film, every)
    writer: FilmWriter | None = None
    path, kind, whole = None, "", False
    try:
        for batch in _batches(frames, predictor.batch):
            for photo, result in zip(batch, predictor.results(batch), strict=True):
                drawn = drawn_photo(predictor, film.name, photo, result).pictures
                if writer is None and drawn:
                    kind = next(name for name in PICTURES if name in drawn)
                    path = target.with_name(f"{target.name}_{kind}.mp4")
                    writer = FilmWriter(path, film, every)
                if writer is not None:
                    writer.add(drawn[kind])
                done += 1
                progress(min(done, promised), promised, film)
        whole = True
    finally:
        if writer is not None:
            writer.close(whole)
    return PredictedFilm(film, done, path, kind)


def _batches(frames: Iterator[Image.Image], size: int) -> Iterator[list[Image.Image]]:
    while batch := list(islice(frames, size)):
        yield batch
