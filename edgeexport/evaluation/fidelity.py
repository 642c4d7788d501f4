"""What one image's outputs keep of another model's of the same weights: cosines, agreement, errors. NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenLayout", "figures_of", "kind_of_figure", "rank_of_class", "vector_of"]

Outputs = Mapping[str, NDArray]

_ERROR, _IOU, _TOP, _LABELS = "mean absolute error", "IoU", "top class", "labels"
_CLASS, _PATCHES = "class token", "patch tokens"
_TAP = "tap_"


@dataclass(frozen=True)
class TokenLayout:
    """What stands in tokens (N, C): ``prefix`` tokens, the class token first of them if ``class_token``, then patches."""

    prefix: int
    class_token: bool


def figures_of(ours: Outputs, theirs: Outputs, layout: TokenLayout) -> dict[str, float]:
    """Compares every output that both have; values are cosines but where `kind_of_figure` says otherwise.

    Args:
        ours, theirs: One image's outputs by name, without a batch axis: ``logits`` (K,); ``embedding`` (C,); ``features`` and
            taps (N, C), or (C, h, w) as maps; ``class_map`` int (h, w); ``scores`` (K, h, w); anything else of floats.
        layout: Of tokens.

    Returns:
        By name: ``class token`` and ``patch tokens`` (mean over the patches), of a tap behind its name; ``embedding``;
        ``logits`` and ``top class``; ``labels`` of a class map; of another output its cosine and mean absolute error, and of a
        heat map, (1, h, w), the ``IoU`` of the places that are at least half as high as the other's highest.
    """
    found: dict[str, float] = {}
    for name, value in ours.items():
        if name not in theirs or theirs[name].shape != value.shape:
            continue
        if name in ("class_map", "scores"):
            found[_LABELS] = float(np.mean(_labels(value) == _labels(theirs[name])))
        elif value.dtype.kind == "f":
            found |= _of_floats(name, value.astype(np.float64), theirs[name].astype(np.float64), layout)
    return found


def kind_of_figure(name: str) -> str:
    """'cosine'; 'share', of images or pixels that agree; 'IoU'; or 'error'."""
    if name in (_TOP, _LABELS):
        return "share"
    return _IOU if name.endswith(f" {_IOU}") else "error" if name.endswith(_ERROR) else "cosine"


def vector_of(outputs: Outputs, layout: TokenLayout) -> NDArray | None:
    """What stands for the whole image, (C,): the embedding, else the class token, else the mean of the patches, else what a
    model of somebody else's gives as a single vector under a name of its own.

    None where no output gives any of them.
    """
    if "embedding" in outputs:
        return outputs["embedding"]
    taps = [name for name in outputs if name.startswith(_TAP)]
    for name in ("features", "feature_map", *reversed(taps)):
        if name in outputs:
            first, patches = _tokens(outputs[name], layout)
            return patches.mean(axis=0) if first is None else first
    others = (value for name, value in outputs.items() if name != "logits")
    return next((value for value in others if value.ndim == 1 and value.dtype.kind == "f"), None)


def rank_of_class(logits: NDArray, number: int) -> int:
    """How many classes stand ahead of one, (K,): 0 for the first; of equal logits the lower number is first."""
    own = logits[number]
    return int((logits > own).sum() + (logits[:number] == own).sum())


def _of_floats(name: str, ours: NDArray, theirs: NDArray, layout: TokenLayout) -> dict[str, float]:
    if name in ("features", "feature_map") or name.startswith(_TAP):
        before = f"{name} " if name.startswith(_TAP) else ""
        (first, patches), (their_first, their_patches) = _tokens(ours, layout), _tokens(theirs, layout)
        found = {f"{before}{_PATCHES}": float(np.mean(_cosines(patches, their_patches)))}
        if first is not None and their_first is not None:
            found = {f"{before}{_CLASS}": float(_cosines(first, their_first))} | found
        return found
    cosine = {name: float(_cosines(ours.ravel(), theirs.ravel()))}
    if name == "embedding":
        return cosine
    if name == "logits":
        return {**cosine, _TOP: float(ours.argmax() == theirs.argmax())}
    heat = {f"{name} {_IOU}": _iou(ours, theirs)} if ours.ndim == 3 and len(ours) == 1 else {}
    return {**cosine, **heat, f"{name} {_ERROR}": float(np.abs(ours - theirs).mean())}


def _iou(ours: NDArray, theirs: NDArray) -> float:
    """Of two heat maps; 1 where both are empty."""
    level = theirs.max() / 2
    both, either = ((ours >= level) & (theirs >= level)).sum(), ((ours >= level) | (theirs >= level)).sum()
    return float(both / either) if either else 1.0


def _tokens(value: NDArray, layout: TokenLayout) -> tuple[NDArray | None, NDArray]:
    """Tokens (N, C), or a map (C, h, w) -> the class token (C,), if there is one, and the patches (n, C)."""
    if value.ndim == 3:
        return None, value.reshape(value.shape[0], -1).T
    return (value[0] if layout.class_token else None), value[layout.prefix :]


def _cosines(ours: NDArray, theirs: NDArray) -> NDArray:
    """Along the last axis; 1 where both are zero, 0 where one is."""
    product = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    same = (ours == theirs).all(axis=-1)
    return np.where(same, 1.0, (ours * theirs).sum(axis=-1) / np.where(product > 0, product, 1))


def _labels(value: NDArray) -> NDArray:
    return value if value.ndim == 2 else value.argmax(axis=0)
