"""From one image's logits to its most probable classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassProbability", "most_probable"]


@dataclass(frozen=True)
class ClassProbability:
    """A class and its softmax probability (0..1)."""

    index: int
    name: str
    probability: float


def most_probable(logits: NDArray, classes: tuple[str, ...], count: int = 5) -> tuple[ClassProbability, ...]:
    """The ``count`` most probable classes of logits (K,), the most probable first; of equals the lowest number first.

    Unnamed classes are called by number.
    """
    values = np.asarray(logits, dtype=np.float64)
    exponents = np.exp(values - values.max())
    probabilities = exponents / exponents.sum()
    order = np.argsort(-values, kind="stable")[:count].tolist()
    return tuple(
        ClassProbability(
            index, classes[index] if index < len(classes) else f"class {index}", float(probabilities[index])
        )
        for index in order
    )
