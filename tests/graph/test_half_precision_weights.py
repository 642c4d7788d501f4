"""float32 weights as float16: how they are rounded, and what is said about it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from half_precision_cases import HALF

from edgeexport.errors import BuildError
from edgeexport.graph.half_precision_weights import WeightLoss, half_tensor, too_large


def test_lost_precision_is_counted() -> None:
    values = np.array([0.0, 1.0, 2.0**-14, 2.0**-14 * 0.999, -1e-6, 1e-9, -0.0], np.float32)
    half, loss = half_tensor(ir.tensor(values, name="w"))
    assert loss == WeightLoss(elements=7, subnormal=3, zero=1)
    assert half.dtype == HALF and half.numpy().tolist() == values.astype(np.float16).tolist()
    assert loss + WeightLoss(1, 1, 1) == WeightLoss(8, 4, 2)


def test_loss_is_that_of_the_rounding() -> None:
    """Beside every border, and over all magnitudes, against what NumPy rounds to."""
    borders = np.float32([2.0**-25, 2.0**-24, 2.0**-14, 65504.0, 65520.0])
    beside = np.concatenate([borders, np.nextafter(borders, np.float32(0)), np.nextafter(borders, np.float32(np.inf))])
    rng = np.random.default_rng(0)
    spread = np.float32(2.0) ** rng.uniform(-40, 15.9, 2000).astype(np.float32)
    values = np.concatenate([beside, -beside, spread, np.zeros(3, np.float32)])
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype(np.float16)
    small = (np.abs(values) < 2.0**-14) & (values != 0)
    fits = np.isfinite(half)
    found, loss = half_tensor(ir.tensor(values[fits]))
    np.testing.assert_array_equal(found.numpy(), half[fits])
    assert loss == WeightLoss(int(fits.sum()), int(small.sum()), int((small & (half == 0)).sum()))
    assert too_large(ir.tensor(values[fits])) is None
    for value in values[~fits]:
        assert too_large(ir.tensor(np.float32([1, value]))) == value
    for value in (np.inf, -np.inf, np.nan):
        with pytest.raises(BuildError, match=r"weight 'w' .* expected numbers"):
            too_large(ir.tensor(np.float32([1, value]), name="w"))
