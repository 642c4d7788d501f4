"""float32 weights as float16: what does not fit is an error, what loses precision is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeexport.errors import BuildError

__all__ = ["WeightLoss", "half_tensor"]

_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)


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


def half_tensor(tensor: ir.TensorProtocol) -> tuple[ir.LazyTensor, WeightLoss]:
    """A float32 tensor rounded to float16 whenever it is read, so that a model's weights are not in memory a third time.

    Raises:
        BuildError: It holds a number that float16 has no room for.
    """
    values = tensor.numpy()
    half = _rounded(values)
    if not np.isfinite(half).all():
        raise BuildError(
            f"weight '{tensor.name}'",
            f"holds {values[~np.isfinite(half)].flat[0]:g}, expected at most {_LARGEST:g}, the largest float16 number",
            "build with --precision fp32",
        )
    size = np.abs(values)
    small = (size < _SMALLEST_NORMAL) & (size > 0)
    loss = WeightLoss(values.size, int(small.sum()), int((small & (half == 0)).sum()))
    shape = ir.Shape(values.shape)
    return ir.LazyTensor(lambda: ir.tensor(_rounded(tensor.numpy())), ir.DataType.FLOAT16, shape), loss


def _rounded(values: NDArray) -> NDArray:
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float16)
