"""float32 weights as float16: what does not fit is an error, what loses precision is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeexport.errors import BuildError

__all__ = ["LARGEST", "TOO_LARGE", "WeightLoss", "half_tensor", "too_large"]

LARGEST = float(np.finfo(np.float16).max)
TOO_LARGE = 65520.0
"""Half-way to the number after the largest: this and all beyond round to infinity."""

_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)
_BECOMES_ZERO = 2.0**-25  # half of the smallest number: this and all below round to 0


@dataclass(frozen=True)
class WeightLoss:
    """How many weights were stored as float16, and how many of them are too small for its full precision.

    ``subnormal`` counts those below 2^-14, which keep fewer than eleven bits, ``zero`` those among them that became 0.
    """

    elements: int = 0
    subnormal: int = 0
    zero: int = 0

    def __add__(self, other: WeightLoss) -> WeightLoss:
        return WeightLoss(self.elements + other.elements, self.subnormal + other.subnormal, self.zero + other.zero)


def too_large(tensor: ir.TensorProtocol) -> float | None:
    """The largest of a float32 tensor's numbers, where float16 has no room for it; None if all fit.

    Raises:
        BuildError: A number is none, or infinite.
    """
    values = tensor.numpy()
    finite = np.isfinite(values)
    if not finite.all():
        problem = f"holds {values[~finite].flat[0]:g}, expected numbers"
        raise BuildError(f"weight '{tensor.name}'", problem, "check the checkpoint")
    largest = values.flat[int(np.abs(values).argmax())] if values.size else 0.0
    return float(largest) if abs(largest) >= TOO_LARGE else None


def half_tensor(tensor: ir.TensorProtocol) -> tuple[ir.LazyTensor, WeightLoss]:
    """A float32 tensor as one of float16 that is rounded whenever it is read, so that a model's weights are held once.

    Requires: `too_large` has nothing to say of it.
    """
    values = tensor.numpy()
    size = np.abs(values)
    subnormal, kept = (int(np.count_nonzero(part)) for part in (size < _SMALLEST_NORMAL, size > _BECOMES_ZERO))
    nonzero = int(np.count_nonzero(size))
    loss = WeightLoss(values.size, subnormal - (values.size - nonzero), nonzero - kept)
    return ir.LazyTensor(lambda: _rounded(tensor), ir.DataType.FLOAT16, ir.Shape(values.shape)), loss


def _rounded(tensor: ir.TensorProtocol) -> ir.Tensor:
    with np.errstate(under="ignore"):
        return ir.Tensor(tensor.numpy().astype(np.float16))
