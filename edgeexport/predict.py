"""Predicts photographs with a bundle: what `edgeexport run` does. Needs ONNX Runtime, no torch."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.errors import BundleError, ImageError, UsageError
from edgeexport.images import input_from_photo, open_photo
from edgeexport.report.label_map import ClassShare, class_shares, label_image, resized_class_map
from edgeexport.report.overlay import draw_overlay
from edgeexport.report.token_map import TokenMap, token_map_from_decisions

__all__ = ["PredictedImage", "Predictions", "default_output_folder", "predict_images"]

_PRUNED = "pruned_tokens_"
_SHARED = "shared_windows"


@dataclass(frozen=True)
class PredictedImage:
    """One photograph's result.

    Attributes:
        image: The photograph, as it was given.
        width, height: Its size in pixels, upright.
        labels: ``<stem>_labels.png``, class numbers at the photograph's size (see `label_image`).
        overlay: ``<stem>_overlay.png``.
        classes: Classes present, largest first, by share of the photograph's pixels.
    """

    image: Path
    width: int
    height: int
    labels: Path
    overlay: Path
    classes: tuple[ClassShare, ...]

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {**asdict(self), **{name: str(getattr(self, name)) for name in ("image", "labels", "overlay")}}


@dataclass(frozen=True)
class Predictions:
    """All results, in the order of the images given, and the images that could not be read."""

    folder: Path
    images: tuple[PredictedImage, ...]
    failures: tuple[ImageError, ...]
    notice: str

    @property
    def error(self) -> ImageError | None:
        """What to raise once the results are shown: None when every image was predicted."""
        if len(self.failures) <= 1:
            return self.failures[0] if self.failures else None
        total = len(self.images) + len(self.failures)
        listed = "; ".join(f"{failure.where}: {failure.problem}" for failure in self.failures)
        return ImageError(f"{len(self.failures)} of {total} images", listed, "the others were predicted")

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {
            "folder": str(self.folder),
            "notice": self.notice,
            "images": [image.as_dict() for image in self.images],
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
    progress: Callable[[int, int, Path], None] | None = None,
) -> Predictions:
    """Predicts every image and writes its label map and overlay.

    Images may have any size; orientation tags are respected. An unreadable image is recorded in the result and the
    others go on. Images of the same stem get numbered files (``x_labels.png``, ``x-2_labels.png``), and no output
    takes the place of one of the images given.

    Args:
        bundle_dir: A bundle folder.
        images: Files that Pillow reads.
        out_dir: Folder for the results, made if missing; None: `default_output_folder`.
        threads: For ONNX Runtime; 0 lets it choose.
        progress: Called after each image with (images done, images in all, image).

    Raises:
        UsageError: No image given, ONNX Runtime is missing, or ``out_dir`` cannot be written.
        BundleError: No bundle, a damaged one, or one whose graph and manifest disagree.
        BuildError: ONNX Runtime refuses the graph.
    """
    if not images:
        raise UsageError("run", "no image given", "name at least one image file after the bundle")
    predictor = _Predictor(open_bundle(bundle_dir), threads)
    folder = out_dir if out_dir is not None else default_output_folder(bundle_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    targets = list(_output_paths(images, folder))
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
            predicted.append(_written(predictor, images[index], photo, result, *targets[index]))
            if progress is not None:
                progress(len(predicted) + len(failures), len(images), images[index])
    return Predictions(folder, tuple(predicted), tuple(failures), predictor.notice)


@dataclass(frozen=True)
class _Result:
    """One image's class map at the model's size, int (H, W), and decisions (None for a dense model)."""

    class_map: NDArray
    tokens: TokenMap | None


class _Predictor:
    """A bundle's graph with what its manifest says about reading the outputs."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        manifest = bundle.manifest
        try:
            self.input = bundle.input
            self.batch = self.input.batch
            self.prediction = str(manifest["outputs"][0]["name"])
            self.grid = (int(manifest["grid"]["rows"]), int(manifest["grid"]["columns"]))
            self.classes = tuple(str(name) for name in manifest["classes"])
            self.palette = tuple((int(r), int(g), int(b)) for r, g, b in manifest["palette"])
            self.title = f"{manifest['name']}, {manifest['target']}, {manifest['precision']}"
            weights = manifest["weights"]
            self.notice = str(weights["statement"]) if weights["origin"] == "random" else ""
            outputs = {str(entry["name"]): tuple(entry["shape"]) for entry in manifest["outputs"]}
            extra = [info for info in bundle.inner_outputs if _is_decision(info.name) and info.name not in outputs]
            shapes = {**outputs, **{info.name: info.shape for info in bundle.inner_outputs}}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            where = str(bundle.path / "manifest.json")
            raise BundleError(where, f"is incomplete ({error!r})", "build the bundle again") from None
        self.num_classes = _class_count(self.classes, shapes)
        self.runner = OnnxRuntimeRunner(bundle.path / "model.onnx", extra_outputs=extra, threads=threads)

    def results(self, photos: Sequence[Image.Image]) -> Iterator[_Result]:
        """Predicts up to ``batch`` photographs; the last one fills the places that stay free."""
        if not photos:
            return
        rows = [input_from_photo(photo, self.input) for photo in photos]
        rows += [rows[-1]] * (self.batch - len(rows))
        found = self.runner.run(np.stack(rows))
        prediction = found[self.prediction]
        maps = prediction.argmax(axis=1) if prediction.ndim == 4 else prediction
        for index in range(len(photos)):
            decisions = {name: value[index] for name, value in found.items() if _is_decision(name)}
            yield _Result(maps[index], self._token_map(decisions))

    def _token_map(self, decisions: dict[str, NDArray]) -> TokenMap | None:
        if not decisions:
            return None
        pruned = {int(name[len(_PRUNED) :]): value for name, value in decisions.items() if name.startswith(_PRUNED)}
        return token_map_from_decisions(self.grid, decisions.get(_SHARED), pruned)


def _is_decision(name: str) -> bool:
    return name == _SHARED or (name.startswith(_PRUNED) and name[len(_PRUNED) :].isdecimal())


def _class_count(classes: tuple[str, ...], shapes: dict[str, tuple[int, ...]]) -> int | None:
    """From the names, else from the channels of the scores; None if neither is known."""
    if classes:
        return len(classes)
    scores = shapes.get("scores") or shapes.get("class_scores")
    return scores[1] if scores else None


def _output_paths(images: Sequence[Path], folder: Path) -> Iterator[tuple[Path, Path]]:
    """Label map and overlay of each image, in order; no two the same, none an image that is still to be read."""
    given = {path.resolve() for path in images}
    taken: set[str] = set()
    for path in images:
        number = 1
        while True:
            stem = path.stem if number == 1 else f"{path.stem}-{number}"
            pair = folder / f"{stem}_labels.png", folder / f"{stem}_overlay.png"
            # Case is folded because some file systems take x.png and X.png for one file.
            if stem.casefold() not in taken and not any(file.resolve() in given for file in pair):
                break
            number += 1
        taken.add(stem.casefold())
        yield pair


def _written(
    predictor: _Predictor, path: Path, photo: Image.Image, result: _Result, labels: Path, overlay: Path
) -> PredictedImage:
    class_map = resized_class_map(result.class_map, photo.height, photo.width)
    _write_png(label_image(class_map, predictor.num_classes, predictor.palette), labels)
    drawn = draw_overlay(
        photo,
        result.class_map,
        tokens=result.tokens,
        classes=predictor.classes,
        palette=predictor.palette,
        title=f"{path.name} | {predictor.title}",
        notice=predictor.notice,
    )
    _write_png(drawn, overlay)
    return PredictedImage(path, photo.width, photo.height, labels, overlay, class_shares(class_map, predictor.classes))


def _write_png(image: Image.Image, path: Path) -> None:
    """Whole or not at all: a full disk leaves no half a picture, and an older one stays."""
    content = io.BytesIO()
    image.save(content, "PNG")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(content.getvalue())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        str(path), f"cannot be written: {error.strerror or error}", "free some space or give another output folder"
    )
