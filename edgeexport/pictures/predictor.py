"""A bundle's engine or graph, and what its manifest says about reading predictions and token decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.backends.engine import runner_from_bundle
from edgeexport.backends.separate import every_nth
from edgeexport.bundle import Bundle
from edgeexport.cost.pays import pays_line
from edgeexport.errors import UsageError
from edgeexport.inputs.photos import input_from_photo
from edgeexport.inputs.spec import InputSpec
from edgeexport.pictures.feature_colours import is_tokens, patches_of_features
from edgeexport.pictures.heat_map import heat_size
from edgeexport.pictures.merge_map import MergeMap, is_merge_decision, merge_map_from_decisions
from edgeexport.pictures.token_map import TokenMap, token_map_from_decisions
from edgeexport.pictures.window_places import WHOLE, WindowPlace, window_places

__all__ = ["PhotoResult", "Predictor", "SeenTokens"]

_PRUNED = "pruned_tokens_"
_SHARED = "shared_windows"
_SEGMENTED = ("class_map", "scores")
_FEATURES = ("features", "feature_map")
_VECTORS = ("logits", "embedding")
_TAP = "tap_"


@dataclass(frozen=True)
class SeenTokens:
    """What became of the tokens of one part of an image.

    Attributes:
        place: The image, or one of the windows that slid over it.
        tokens: Shared and pruned tokens; None where the bundle does neither.
        merges: Merged tokens; None where the bundle merges none.
    """

    place: WindowPlace
    tokens: TokenMap | None
    merges: MergeMap | None


@dataclass(frozen=True)
class PhotoResult:
    """What the graph says about one photograph.

    Attributes:
        class_map: int (h, w) at the model's size; None where the model is no segmenter.
        logits: float (K,); None where it is no classifier.
        seen: Tokens of the image, or of each window in turn; empty where windows slid and the bundle does not say where.
        features: float (h, w, C) by patch; None where the bundle gives none.
        heat: float (h, w), a decoder's map; None where the prediction is something else.
    """

    class_map: NDArray | None
    logits: NDArray | None
    seen: tuple[SeenTokens, ...]
    features: NDArray | None = None
    heat: NDArray | None = None

    @property
    def whole(self) -> SeenTokens | None:
        """Of an image that was seen as one."""
        return self.seen[0] if len(self.seen) == 1 else None

    @property
    def slid(self) -> tuple[SeenTokens, ...]:
        """Of the windows that slid over it."""
        return self.seen if len(self.seen) > 1 else ()


class Predictor:
    """Predicts photographs, a batch at a time.

    Args:
        bundle: Opened with its hashes checked, where its engine may be used.
        threads: For model.onnx; 0 lets ONNX Runtime choose.
        engine: 'auto' runs the bundle's engine if there is one, 'none' model.onnx (see `runner_from_bundle`).
        policy_every: Ask a policy network with a graph of its own for every n-th photograph, and keep its choice for those
            behind it.

    Attributes:
        batch: Photographs in a batch.
        classifies: Whether predictions are logits.
        segments: Whether they are class maps.
        features: Output with a vector for every patch; None where there is none.
        decodes: Whether a decoder of the user's gives the prediction, and as a map of one value per place.
        merges: Whether tokens are merged.
        classes, palette: Names and colours by class number; may be empty.
        num_classes: None if unknown.
        reused: Holds the policy's choice between photographs; None where it is asked for each.
        title: The bundle in a few words.
        notice: What must be said about random weights; empty for weights of a checkpoint.
        pays: Whether the reduction pays; None for a dense model, and bundles of earlier versions.

    Raises:
        UsageError: The model takes something else than photographs, the runtime is missing, or there is no policy to be asked
            every n-th time.
        BundleError: The manifest is incomplete, or the engine is damaged or from elsewhere.
        BuildError: ONNX Runtime refuses the graph.
    """

    def __init__(self, bundle: Bundle, threads: int, engine: str = "none", policy_every: int = 1) -> None:
        manifest = bundle.manifest
        self.input = bundle.input
        _check_takes_photos(bundle.path.name, self.input)
        self.batch = self.input.batch
        self.prediction = str(manifest["outputs"][0]["name"])
        self.classifies = self.prediction == "logits"
        self.segments = self.prediction in _SEGMENTED
        self.grid = (manifest["grid"]["rows"], manifest["grid"]["columns"])
        named = [str(o["name"]) for o in manifest["outputs"] if _is_features(str(o["name"]))]
        others = [
            o for o in manifest["outputs"] if o["name"] not in (*_SEGMENTED, *_VECTORS) and o["dtype"] == "float32"
        ]
        named += [str(o["name"]) for o in others if is_tokens(o["shape"][1:], self.grid)]
        self.features = named[0] if named else None
        own = self.prediction in (*_SEGMENTED, *_VECTORS, *named)
        self._heat = None if own else heat_size(manifest["outputs"][0]["shape"][1:])
        self.decodes = self._heat is not None
        self.classes = tuple(manifest["classes"])
        colours = [] if not self.segments else manifest["palette"]
        self.palette = tuple((r, g, b) for r, g, b in colours)
        self.title = f"{manifest['name']}, {manifest['target']}, {manifest['precision']}"
        weights = manifest["weights"]
        self.notice = str(weights["statement"]) if weights["origin"] == "random" else ""
        self.pays = pays_line(manifest.get("pays"), str(manifest["precision"]))
        self._merges: list[Mapping[str, Any]] = list(manifest.get("merges", []))
        outputs = {str(entry["name"]): tuple(entry["shape"]) for entry in manifest["outputs"]}
        extra = [info for info in bundle.inner_outputs if _is_decision(info.name) and info.name not in outputs]
        shapes = {**outputs, **{info.name: info.shape for info in bundle.inner_outputs}}
        self._windows = int(manifest.get("windows", 1))
        self._places = _places(manifest.get("window_grid"), self.input, self._windows)
        self.merges = bool(self._merges) and bool(self._places)
        self.num_classes = _class_count(self.classes, shapes)
        self.runner = runner_from_bundle(bundle, engine, extra_outputs=extra, threads=threads)
        self.reused = every_nth(self.runner, policy_every, bundle.path.name)

    def results(self, photos: Sequence[Image.Image]) -> Iterator[PhotoResult]:
        """Predicts up to ``batch`` photographs; the last one fills the places that stay free.

        Raises:
            BundleError: Decisions that the manifest does not allow.
        """
        if not photos:
            return
        rows = [input_from_photo(photo, self.input) for photo in photos]
        rows += [rows[-1]] * (self.batch - len(rows))
        batch = np.stack(rows)
        outputs = self.runner.run(batch) if self.reused is None else self.reused.run(batch, len(photos))
        prediction = outputs[self.prediction]
        if self.segments and prediction.ndim == 4:
            prediction = prediction.argmax(axis=1)
        for index in range(len(photos)):
            seen = [
                self._seen(place, index * self._windows + number, outputs) for number, place in enumerate(self._places)
            ]
            yield PhotoResult(
                prediction[index] if self.segments else None,
                prediction[index] if self.classifies else None,
                tuple(seen),
                None if self.features is None else patches_of_features(outputs[self.features][index], self.grid),
                None if self._heat is None else prediction[index].reshape(self._heat),
            )

    def _seen(self, place: WindowPlace, row: int, outputs: Mapping[str, NDArray]) -> SeenTokens:
        """Of one window, which has a row of its own in every decision."""
        decisions = {name: value[row] for name, value in outputs.items() if _is_decision(name)}
        tokens = self._token_map(decisions)
        merges = merge_map_from_decisions(self.grid, self._merges, decisions, tokens) if self._merges else None
        return SeenTokens(place, tokens, merges)

    def _token_map(self, decisions: dict[str, NDArray]) -> TokenMap | None:
        pruned = {int(name[len(_PRUNED) :]): value for name, value in decisions.items() if name.startswith(_PRUNED)}
        shared = decisions.get(_SHARED)
        return token_map_from_decisions(self.grid, shared, pruned) if pruned or shared is not None else None


def _places(grid: Mapping[str, Any] | None, size: InputSpec, windows: int) -> tuple[WindowPlace, ...]:
    """Where the windows lie; empty where they are several and the manifest, of an earlier version, does not say."""
    if windows == 1:
        return (WHOLE,)
    if grid is None:
        return ()
    height, width = grid["size"]
    return window_places((size.height, size.width), (height, width), grid["rows"], grid["columns"])


def _check_takes_photos(name: str, taken: InputSpec) -> None:
    if taken.is_photo:
        return
    if taken.frames is not None:
        what = f"clips of {taken.frames} frames"
    elif taken.context is not None:
        what = "features of a diffusion model and a text"
    elif taken.channels == 1:
        what = "spectrograms"
    else:
        what = f"images of {taken.channels} channels"
    problem = f"takes {what}; only models of colour photographs can be run on image files"
    raise UsageError(name, problem, "check it with `edgeexport verify`, or run its model.onnx on your own data")


def _is_decision(name: str) -> bool:
    pruned = name.startswith(_PRUNED) and name[len(_PRUNED) :].isdecimal()
    return name == _SHARED or pruned or is_merge_decision(name)


def _is_features(name: str) -> bool:
    """Whether an output has a vector for every patch."""
    return name in _FEATURES or (name.startswith(_TAP) and name[len(_TAP) :].isdecimal())


def _class_count(classes: tuple[str, ...], shapes: dict[str, tuple[int, ...]]) -> int | None:
    """From the names, else from the channels of the scores; None if neither is known."""
    if classes:
        return len(classes)
    scores = shapes.get("scores") or shapes.get("class_scores")
    return scores[1] if scores else None
