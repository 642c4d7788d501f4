"""Predicts photographs with a bundle: what `edgeexport run` does. Needs no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from edgeexport.bundle import open_bundle, refuse_link_of_bundle
from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.bundle.places import check_writable
from edgeexport.commands.drawn_photo import FEATURES, LABELS, MAP, OVERLAY, PICTURES, REGIONS, drawn_photo, kinds_of
from edgeexport.commands.run_film import PredictedFilm, predicted_film
from edgeexport.cost.pays import PaysLine
from edgeexport.errors import ImageError, UsageError, plain_text
from edgeexport.inputs.films import is_film
from edgeexport.inputs.photos import open_photo, photos_in_folder
from edgeexport.pictures.canvas import png_of
from edgeexport.pictures.class_probability import ClassProbability
from edgeexport.pictures.label_map import ClassShare
from edgeexport.pictures.predictor import PhotoResult, Predictor

__all__ = ["PredictedImage", "Predictions", "default_output_folder", "predict_images"]

_LONGEST_STEM = 230  # bytes
_UNWRITABLE = "free some space or give another output folder"


@dataclass(frozen=True)
class PredictedImage:
    """One photograph's result. What does not apply to the bundle is None.

    Attributes:
        image: The photograph, as it was given.
        width, height: Its size in pixels, upright.
        classes: Of a segmenter the classes present, largest first, by share of the photograph's pixels; of a
            classifier the five most probable.
        labels: ``<stem>_labels.png``, class numbers at the photograph's size (see `label_image`); segmenters.
        overlay: ``<stem>_overlay.png``; segmenters.
        regions: ``<stem>_regions.png``; bundles that merge tokens.
        features: ``<stem>_features.png``, principal components as colours; bundles that give features out.
        map: ``<stem>_map.png``; bundles whose decoder gives a map of one value per place.
        tokens_in, tokens_out: Tokens before the first and after the last block that merges (of a model whose blocks
            unmerge again: inside the last), prefix tokens included, where windows slide of each; bundles that merge tokens.
    """

    image: Path
    width: int
    height: int
    classes: tuple[ClassShare, ...] | tuple[ClassProbability, ...]
    labels: Path | None = None
    overlay: Path | None = None
    regions: Path | None = None
    features: Path | None = None
    map: Path | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The files written, the one that shows most first; none for a classifier that merges no tokens."""
        return tuple(path for path in (getattr(self, name) for name in PICTURES) if path is not None)

    @property
    def summary(self) -> str:
        """The result in one line, for a terminal: tokens where they were merged, and the leading classes."""
        texts = [] if self.tokens_in is None else [f"{self.tokens_in} -> {self.tokens_out} tokens"]
        for entry in self.classes[:6]:
            value = f"{entry.share:.0%}" if isinstance(entry, ClassShare) else f"{entry.probability:.1%}"
            texts.append(f"{entry.name} {value}")
        return ", ".join(texts)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form, without what does not apply."""
        applicable = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: str(value) if isinstance(value, Path) else value for name, value in applicable.items()}


@dataclass(frozen=True)
class Predictions:
    """All results, in the order of the images given, and the images that could not be read; ``runner`` executed them.
    ``pays`` says whether the reduction pays."""

    folder: Path
    images: tuple[PredictedImage, ...]
    failures: tuple[ImageError, ...]
    notice: str
    runner: str
    pays: PaysLine | None = None
    films: tuple[PredictedFilm, ...] = ()

    @property
    def error(self) -> ImageError | None:
        """What to raise once the results are shown: None when every image was predicted."""
        if len(self.failures) <= 1:
            return self.failures[0] if self.failures else None
        total = len(self.images) + len(self.films) + len(self.failures)
        listed = "; ".join(f"{failure.where}: {failure.problem}" for failure in self.failures)
        return ImageError(f"{len(self.failures)} of {total} images", listed, "the others were predicted")

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {
            "folder": str(self.folder),
            "runner": self.runner,
            "notice": self.notice,
            "pays": None if self.pays is None else self.pays.text,
            "images": [image.as_dict() for image in self.images],
            "films": [film.as_dict() for film in self.films],
            "failures": [{"image": failure.where, "problem": failure.problem} for failure in self.failures],
        }


def default_output_folder(bundle_dir: Path) -> Path:
    """``predictions/<bundle folder>`` in the working directory: a bundle is replaced whole and may be read-only."""
    return Path("predictions") / bundle_dir.resolve().name


def predict_images(
    bundle_dir: Path,
    images: Sequence[Path],
    out_dir: Path | None = None,
    *,
    threads: int = 0,
    engine: str = "auto",
    policy_every: int = 1,
    every_frame: int = 1,
    progress: Callable[[int, int, Path], None] | None = None,
) -> Predictions:
    """Predicts every image and writes its pictures: label map, overlay, merged regions, as far as the bundle has them; of a
    film one film of the most telling picture.

    Images may have any size; orientation tags are respected. An unreadable image is recorded in the result and the
    others go on. Images of the same stem get numbered files (``x_labels.png``, ``x-2_labels.png``), a stem that leaves no
    room for that is shortened, and no output takes the place of one of the images given.

    Args:
        bundle_dir: A bundle folder.
        images: Files that Pillow reads, folders of them (not of those within), and films.
        out_dir: Folder for the results, made if missing; None: `default_output_folder`.
        threads: For ONNX Runtime; 0 lets it choose.
        engine: 'auto' runs the bundle's engine if there is one, 'none' model.onnx.
        policy_every: With a policy network that has a graph of its own: it runs for every n-th image, in the order given, and
            its choice is kept for those between.
        every_frame: Of a film, every n-th frame is predicted.
        progress: Called after each image with (images done, images in all, image); of a film likewise with its frames.

    Raises:
        UsageError: No image given, the bundle's model takes no photographs, the runtime is missing, or ``out_dir``
            cannot be written.
        BundleError: No bundle, a damaged one, one whose graph and manifest disagree, or an engine from elsewhere.
        BuildError: ONNX Runtime refuses the graph.
    """
    if not images:
        raise UsageError("run", "no image given", "name at least one image file after the bundle")
    films = [path for path in images if is_film(path)]
    images = [photo for path in images if not is_film(path) for photo in _photos_at(path)]
    predictor = Predictor(open_bundle(bundle_dir), threads, engine, policy_every)
    folder = out_dir if out_dir is not None else default_output_folder(bundle_dir)
    refuse_link_of_bundle(folder, "--out-dir")
    check_writable(folder / f"x_{LABELS}.png", _UNWRITABLE, UsageError)
    targets = list(_output_paths(images, folder, kinds_of(predictor)))
    predicted: list[PredictedImage] = []
    failures: list[ImageError] = []
    for start in range(0, len(images), predictor.batch):
        opened: list[tuple[int, Image.Image]] = []
        for index, path in enumerate(images[start : start + predictor.batch], start):
            try:
                opened.append((index, open_photo(path)))
            except ImageError as error:
                failures.append(error)
                if progress is not None:
                    progress(len(predicted) + len(failures), len(images), path)
        for (index, photo), result in zip(opened, predictor.results([photo for _, photo in opened]), strict=True):
            predicted.append(_written(predictor, images[index], photo, result, targets[index]))
            if progress is not None:
                progress(len(predicted) + len(failures), len(images), images[index])
    shown = []
    for film, target in zip(films, _film_targets(films, folder), strict=True):
        try:
            shown.append(predicted_film(predictor, film, target, every_frame, progress or (lambda *_: None)))
        except ImageError as error:
            failures.append(error)
    runner = f"{predictor.runner.name} {predictor.runner.version}"
    told = (predictor.notice, runner, predictor.pays, tuple(shown))
    return Predictions(folder, tuple(predicted), tuple(failures), *told)


def _photos_at(path: Path) -> list[Path]:
    return photos_in_folder(path) if path.is_dir() else [path]


def _film_targets(films: Sequence[Path], folder: Path) -> list[Path]:
    """What each film's result is called, without kind and ending; no two the same, and none a film that was given."""
    given = {film.resolve() for film in films}
    targets: list[Path] = []
    for film in films:
        stem, number = _short_stem(film), 1
        taken = {target.name.casefold() for target in targets}
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            files = [(folder / f"{name}_{kind}.mp4").resolve() for kind in PICTURES]
            if name.casefold() not in taken and not given.intersection(files):
                break
            number += 1
        targets.append(folder / name)
    return targets


def _output_paths(images: Sequence[Path], folder: Path, kinds: tuple[str, ...]) -> Iterator[dict[str, Path]]:
    """Each image's files by kind, in order; no two the same, none an image that is still to be read."""
    given = {path.resolve() for path in images}
    taken: set[str] = set()
    for path in images:
        number = 1
        while True:
            stem = _short_stem(path) if number == 1 else f"{_short_stem(path)}-{number}"
            files = {kind: folder / f"{stem}_{kind}.png" for kind in kinds}
            # Case is folded because some file systems take x.png and X.png for one file.
            if stem.casefold() not in taken and not any(file.resolve() in given for file in files.values()):
                break
            number += 1
        taken.add(stem.casefold())
        yield files


def _short_stem(path: Path) -> str:
    """What outputs are called after an image: UTF-8 that leaves room for a number and a kind in a name of 255 bytes."""
    return plain_text(path.stem).encode()[:_LONGEST_STEM].decode(errors="ignore")


def _written(
    predictor: Predictor, path: Path, photo: Image.Image, result: PhotoResult, files: dict[str, Path]
) -> PredictedImage:
    drawn = drawn_photo(predictor, path.name, photo, result)
    for kind, picture in drawn.pictures.items():
        _write_png(picture, files[kind])
    merges = next((own.merges for own in result.seen if own.merges is not None), None)
    return PredictedImage(
        path,
        photo.width,
        photo.height,
        drawn.classes,
        labels=files.get(LABELS),
        overlay=files.get(OVERLAY),
        regions=files.get(REGIONS),
        features=files.get(FEATURES),
        map=files.get(MAP),
        tokens_in=merges.tokens_in if merges is not None else None,
        tokens_out=merges.tokens_out if merges is not None else None,
    )


def _write_png(image: Image.Image, path: Path) -> None:
    with _disk_errors(path):
        write_file(path, png_of(image))


def _disk_errors(path: Path) -> contextlib.AbstractContextManager[None]:
    return disk_errors(path, _UNWRITABLE, kind=UsageError)
