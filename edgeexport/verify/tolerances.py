"""How closely an execution has to meet the float32 reference, by the precision of its graph.

float32: what different orders of summation explain. float16: its unit roundoff is 2^-11 = 4.9e-4, and each value between two
products is rounded to it. How far that carries through whole models is measured by `python -m benchmarks.half_precision` on two
photographs with recipes of every family, the trained scenes among them, with each such value rounded. Largest there: errors of
0.09 % of the largest logit, 0.73 % of the largest class score (0.34 % with trained weights), cosines of tokens merged otherwise
1.5e-4 apart, logits of windows shared otherwise 1.3 % of their range apart. On 80 held-out scenes, in ONNX Runtime, the trained
hybrid and ToMe decided 94 of 720 times differently, by 2.4e-4 of confidence and 1.8e-4 of cosine at most, with errors up to
0.0042 in class scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeexport.errors import UsageError

__all__ = ["FP16", "FP32", "PRECISIONS", "Tolerances", "tolerances_of"]


@dataclass(frozen=True)
class Tolerances:
    """What may differ.

    Attributes:
        atol, rtol, share: A floating output's elements a may differ from the reference's b by
            atol + rtol |b| + share * max |b|; the maximum is over the image.
        near_tie: Two scores this close (relative to a score beyond 1) may be taken for one another, where tokens are selected.
        class_tie: Two classes' scores this close likewise, where a pixel takes the best.
        similarity: Two cosines this close likewise, where tokens merge.
        logit_range: Two logits likewise that are no further apart than this share of the range of all. Windows are shared by
            logits, which have no scale of their own and come from a convolutional network of some fifty layers.
        uncertified: Share of the pixels by which ``uncertified_pixels`` may differ.
    """

    atol: float
    rtol: float
    share: float
    near_tie: float
    class_tie: float
    similarity: float
    logit_range: float
    uncertified: float


FP32 = Tolerances(
    atol=1e-4,
    rtol=1e-3,
    share=0.0,
    near_tie=1e-5,
    class_tie=1e-5,
    similarity=1e-5,
    logit_range=0.0,
    uncertified=1e-4,
)
FP16 = Tolerances(
    atol=1e-3,
    rtol=1e-2,
    share=1e-2,
    near_tie=5e-3,
    class_tie=1e-2,
    similarity=1e-3,
    logit_range=3e-2,
    uncertified=2e-2,
)

PRECISIONS: Mapping[str, Tolerances] = {"fp32": FP32, "fp16": FP16}


def tolerances_of(precision: str) -> Tolerances:
    """The tolerances of a bundle of that precision.

    Raises:
        UsageError: There is no such precision.
    """
    if precision not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise UsageError(f"--precision {precision}", f"unknown precision, expected {known}", f"use {known}")
    return PRECISIONS[precision]
