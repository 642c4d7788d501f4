"""Whether a reduction pays, in one line: slower or more products warns."""

from __future__ import annotations

from typing import Any

import pytest
from test_kernel_plan import kernel

from edgeexport.cost.kernel_plan import DENSE, REDUCED, KernelPlan, Plans
from edgeexport.cost.pays import pays_figures, pays_line, pays_rows

_MACS = {REDUCED: 900_000_000, DENSE: 1_800_000_000}


def _plans(reduced: int, dense: int) -> Plans:
    sides = {REDUCED: reduced, DENSE: dense}
    return Plans(
        tuple(
            KernelPlan(model, "fp16", "SM86", "x", (kernel("generated", "a", "b"),) * n) for model, n in sides.items()
        )
    )


@pytest.mark.parametrize(
    ("kernels", "macs", "words", "warns"),
    [
        ((10, 20), _MACS, "predicted 2.00 times as fast as its dense model in FP16: MAXN 0.05 beside 0.10 ms", False),
        ((30, 20), _MACS, "predicted slower than its dense model in FP16: MAXN", True),
        ((10, 20), {REDUCED: 2_000_000_000, DENSE: 1_800_000_000}, "FP16 and costs more products: MAXN", True),
    ],
)
def test_the_first_line(kernels: tuple[int, int], macs: dict[str, int], words: str, warns: bool) -> None:
    figures = pays_figures(_plans(*kernels), macs, "orin", plugins=True)
    line = pays_line(figures, "fp16")
    assert line is not None and words in line.text and line.warns is warns
    assert (
        f"{macs[REDUCED] / 1e9:.2f} of {macs[DENSE] / 1e9:.2f} GMAC, {kernels[0]} kernels beside {kernels[1]}"
        in line.text
    )
    assert figures is not None
    assert [row[:2] for row in pays_rows(figures)] == [("FP16", mode) for mode in ("MAXN", "50W", "30W", "15W")]


def test_slower_in_one_power_mode_warns_and_names_it() -> None:
    row: dict[str, Any] = {"precision": "fp16", "power_mode": "MAXN", "reduced_ms": 2.0, "dense_ms": 1.5}
    rows = [row, {**row, "power_mode": "15W", "dense_ms": 9.0}]
    figures = {"macs": _MACS, "kernels": {"fp16": {REDUCED: 3, DENSE: 2}}, "predicted": rows}
    line = pays_line(figures, "fp16")
    assert line is not None and line.warns
    assert line.text.startswith("predicted slower than its dense model in FP16 at MAXN: ")


def test_without_plans_the_products_alone_are_compared() -> None:
    line = pays_line(pays_figures(None, _MACS, "cpu", plugins=True), "fp32")
    assert line == ("costs less than its dense model: 0.90 of 1.80 GMAC (computed; no time is predicted)", False)
    assert pays_line(pays_figures(_plans(10, 20), _MACS, "gpu", plugins=True), "fp16") == (
        "costs less than its dense model: 0.90 of 1.80 GMAC, 10 kernels beside 20 (computed; no time is predicted)",
        False,
    )


def test_a_dense_model_has_nothing_beside_it() -> None:
    assert pays_figures(_plans(1, 1), {REDUCED: 5, DENSE: 5}, "orin", plugins=True) is None
    assert pays_line(None, "fp16") is None
