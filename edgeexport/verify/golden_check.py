"""Checks a runner against a bundle's golden.npz: numpy alone, so that it runs on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeexport.backends.runner import Runner
from edgeexport.backends.separate import SeparateRunner
from edgeexport.bundle import Bundle
from edgeexport.documents import read_golden
from edgeexport.verify.compare import (
    Comparison,
    OutputDifference,
    comparable_images,
    judged,
    output_difference,
    rows_of_images,
    windows_of_scores,
)
from edgeexport.verify.decisions import decision_outputs, decisions_between, with_empty_decisions
from edgeexport.verify.tolerances import Tolerances, tolerances_of

__all__ = ["AGREEMENT", "GOLDEN_CHECK", "MODEL_CHECK", "POLICY_CHECK", "golden_comparisons"]

GOLDEN_CHECK = "golden outputs against this machine"
POLICY_CHECK = "policy network alone: its choice"
MODEL_CHECK = "model alone, given the reference's choice"
AGREEMENT = "agreement behind near ties decided differently, not judged"
"""Among a comparison's facts: output -> how far it agrees, on images that went on with other tokens."""


def golden_comparisons(bundle: Bundle, runner: Runner) -> list[Comparison]:
    """Runs every stored case and compares outputs and decisions with what the reference computed at build time.

    With float16, the reference carried out the decisions that ONNX Runtime made at build time. Where this machine decides
    a near tie differently, its outputs cannot be compared; how far they agree all the same is told for information.

    Raises:
        BundleError: golden.npz is missing or damaged.
    """
    arrays = read_golden(bundle.path / "golden.npz", bundle.manifest)
    cases = sorted({name.split("/")[0] for name in arrays if "/" in name})
    tolerances = tolerances_of(bundle.manifest.get("precision", "fp32"))
    checks: list[tuple[str, Callable[[str], dict[str, NDArray]]]] = [
        (GOLDEN_CHECK, lambda case: runner.run(arrays[f"{case}/image"], _below(arrays, f"{case}/input/")))
    ]
    if isinstance(runner, SeparateRunner):
        checks += _checks_of_parts(arrays, runner)
    pair = "torch fixed, at build time", f"{runner.name} {runner.version}"
    return [_one_case(check, pair, case, arrays, run(case), tolerances) for check, run in checks for case in cases]


def _checks_of_parts(
    arrays: Mapping[str, NDArray], runner: SeparateRunner
) -> list[tuple[str, Callable[[str], dict[str, NDArray]]]]:
    """The policy alone, and the model given the reference's choice."""
    name = runner.choice

    def model(case: str) -> dict[str, NDArray]:
        return runner.run(arrays[f"{case}/image"], {name: arrays[f"{case}/{name}"]})

    return [(POLICY_CHECK, lambda case: {name: runner.chosen(arrays[f"{case}/image"])}), (MODEL_CHECK, model)]


def _one_case(
    check: str,
    pair: tuple[str, str],
    case: str,
    arrays: Mapping[str, NDArray],
    outputs: dict[str, NDArray],
    tolerances: Tolerances,
) -> Comparison:
    names = tuple(str(name) for name in arrays[f"{case}/names"])
    stored = _below(arrays, f"{case}/")
    scores, gaps = _below(arrays, f"{case}/score/"), _below(arrays, f"{case}/gap/")
    if check != POLICY_CHECK:
        outputs = with_empty_decisions(outputs, stored, decision_outputs(scores))
    returned = {name: score for name, score in scores.items() if set(decision_outputs([name])) <= outputs.keys()}
    decisions = decisions_between(outputs, stored, returned, gaps, tolerances)
    decided = decision_outputs(scores)
    rows = comparable_images(decisions, len(names), windows_of_scores(scores, len(names)))
    ties = None
    if "near_tie" in stored:
        shape = stored["class_map"].shape
        bits = np.unpackbits(stored["near_tie"], count=math.prod(shape))
        ties = bits.reshape(shape).astype(bool)
    compared = {name: value for name, value in outputs.items() if name in stored and name not in decided}

    def differences(images: list[int]) -> list[OutputDifference]:
        tied = None if ties is None else ties[images]
        return [
            output_difference(
                name,
                rows_of_images(value, images, len(names)),
                rows_of_images(stored[name], images, len(names)),
                tied,
                tolerances,
            )
            for name, value in compared.items()
            if images
        ]

    comparison = judged(check, *pair, names, differences(rows), decisions)
    apart = [image for image in range(len(names)) if image not in rows]
    if comparison.status != "not-applicable":
        return comparison
    agreements = {item.name: _agreement(item) for item in differences(apart)}
    return replace(comparison, facts={**comparison.facts, AGREEMENT: agreements})


def _agreement(difference: OutputDifference) -> dict[str, float]:
    """The share of equal pixels, or the cosine and the largest error."""
    figures = {"agreement": difference.agreement, "cosine": difference.cosine, "max_abs": difference.max_abs}
    return {name: value for name, value in figures.items() if value is not None}


def _below(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    """The arrays whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
