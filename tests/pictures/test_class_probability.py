from __future__ import annotations

import numpy as np
import pytest

from edgeexport.pictures.class_probability import most_probable


def test_softmax_names_and_order() -> None:
    found = most_probable(np.log(np.array([0.2, 0.5, 0.3], np.float32)), ("a", "b"), count=5)
    assert [(item.index, item.name) for item in found] == [(1, "b"), (2, "class 2"), (0, "a")]
    assert [item.probability for item in found] == pytest.approx([0.5, 0.3, 0.2])


def test_large_half_precision_logits_and_ties() -> None:
    found = most_probable(np.array([60000, 1, 60000, -60000, 0, 0, 0], np.float16), (), count=5)
    assert [item.index for item in found] == [0, 2, 1, 4, 5]
    assert found[0].probability == found[1].probability == pytest.approx(0.5)
