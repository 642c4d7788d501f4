"""What a pruning stage saw of an image, as a value that can be stored. No torch.

From one observation follow the tokens that a stage prunes at any threshold and at any fixed count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageObservation", "StageObservation"]


@dataclass(frozen=True, eq=False)
class StageObservation:
    """A pruning stage on one image. Tokens are in the order in which they leave: most confident first, then by index.

    Attributes:
        block: 1-based; the stage follows it.
        tokens: Tokens that enter the stage, protected ones included.
        protected: Tokens that stay however confident, p: the most confident ones of each predicted class.
        confidence: float32 (tokens - p,), of the others, descending.
        wrong: bool (tokens - p,), parallel to it: the class that the stage's head gives the token is not the most frequent
            one of its pixels (equal counts: lowest class); False where all are ignored. None without labels.
        protected_wrong: bool (p,), the same of protected tokens, which leave where a fixed count exceeds the others.
    """

    block: int
    tokens: int
    protected: int
    confidence: NDArray[np.float32]
    wrong: NDArray[np.bool_] | None = None
    protected_wrong: NDArray[np.bool_] | None = None

    def prunable(self, theta: float) -> int:
        """Tokens that the published rule prunes: unprotected, with confidence strictly above ``theta``."""
        # As float32 against a Python float in torch: theta is rounded to float32 first, so a tie at theta stays.
        return int((self.confidence > np.float32(theta)).sum())

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; confidences in the fewest digits that give the same float32 back."""
        return {
            "block": self.block,
            "tokens": self.tokens,
            "protected": self.protected,
            "confidence": [float(str(value)) for value in self.confidence],
            "wrong": _as_digits(self.wrong),
            "protected_wrong": _as_digits(self.protected_wrong),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> StageObservation:
        """The inverse of `as_dict`."""
        confidence = np.array(stored["confidence"], dtype=np.float32)
        flags = (_from_digits(stored["wrong"]), _from_digits(stored["protected_wrong"]))
        return cls(stored["block"], stored["tokens"], stored["protected"], confidence, *flags)


@dataclass(frozen=True, eq=False)
class ImageObservation:
    """One image.

    Attributes:
        name: The image's.
        shareable: Windows that the policy network would share (softmax(logits)[1] > 0.5); None without the network.
        uniform: Windows whose labelled pixels are all of one class; None without labels.
        stages: In order of depth.
    """

    name: str
    shareable: int | None
    uniform: int | None
    stages: tuple[StageObservation, ...]

    def stage(self, block: int) -> StageObservation:
        """The stage after ``block``.

        Raises:
            KeyError: It was not observed.
        """
        for stage in self.stages:
            if stage.block == block:
                return stage
        raise KeyError(block)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        stages = [stage.as_dict() for stage in self.stages]
        return {"name": self.name, "shareable": self.shareable, "uniform": self.uniform, "stages": stages}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ImageObservation:
        """The inverse of `as_dict`."""
        stages = tuple(StageObservation.from_dict(stage) for stage in stored["stages"])
        return cls(stored["name"], stored["shareable"], stored["uniform"], stages)


def _as_digits(flags: NDArray[np.bool_] | None) -> str | None:
    return None if flags is None else "".join("1" if flag else "0" for flag in flags)


def _from_digits(digits: str | None) -> NDArray[np.bool_] | None:
    return None if digits is None else np.array([digit == "1" for digit in digits], dtype=np.bool_)
