"""What a fixed model computed for a batch of images, and what judges an execution of its graph against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexport.errors import BundleError
from edgeexport.inputs.batches import ImageBatch
from edgeexport.verify.compare import (
    Comparison,
    comparable_images,
    judged,
    output_difference,
    rows_of_images,
    windows_of_scores,
)
from edgeexport.verify.decisions import decision_outputs, decisions_between, with_empty_decisions
from edgeexport.verify.tolerances import FP32, Tolerances

__all__ = [
    "BATCH_CHECK",
    "FOLLOWED",
    "HALF_CHECK",
    "ORIGINAL_CHECK",
    "OWN_CHECK",
    "RUNTIME_CHECK",
    "TENSORRT_CHECK",
    "Reference",
    "compare_outputs",
    "joined_reference",
]

ORIGINAL_CHECK = "original against fixed"
OWN_CHECK = "as it was given against the graph without reductions"
RUNTIME_CHECK = "fixed torch against exported graph"
BATCH_CHECK = "batch against images one by one"
TENSORRT_CHECK = "fixed torch against the graph for TensorRT"
HALF_CHECK = "fixed torch against float16 arithmetic"
FOLLOWED = "near ties followed"
"""Among a comparison's facts: decision -> tokens that went another way at a near tie."""


@dataclass(frozen=True)
class Reference:
    """What fixed torch computed for a batch: outputs by name, scores behind each decision, and near ties of the class map.

    ``near_tie`` is bool (B, H, W), True where the two best full-resolution scores are a near tie; None where the
    prediction is no class map. ``decision_scores`` maps a decision's name, in order of depth, to float (B, N) by token
    index: NaN where not eligible, infinite where the token's protection is a toss-up. ``decision_gaps`` has the leads of
    best matches, for merges (see `edgeexport.verify.decisions`). ``trace`` is the fixed model's own. ``tolerances`` tells how
    closely an execution has to meet all this, and what a near tie is. ``followed`` holds what the first execution that decided
    near ties its own way decided, and what fixed torch computed with that: one that decides alike is not followed anew.
    """

    batch: ImageBatch
    outputs: dict[str, NDArray]
    decision_scores: dict[str, NDArray]
    near_tie: NDArray[np.bool_] | None
    trace: Any
    decision_gaps: dict[str, NDArray] = field(default_factory=dict)
    tolerances: Tolerances = FP32
    followed: list[tuple[dict[str, NDArray], Reference]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )


def joined_reference(batch: ImageBatch, singles: list[Reference]) -> Reference:
    """References of a batch's images, one by one, as a reference of the batch."""
    first = singles[0]

    def joined(name: str) -> dict[str, NDArray]:
        return {key: np.concatenate([getattr(one, name)[key] for one in singles]) for key in getattr(first, name)}

    near_tie = None
    if first.near_tie is not None:
        near_tie = np.concatenate([one.near_tie for one in singles if one.near_tie is not None])
    scores, gaps = joined("decision_scores"), joined("decision_gaps")
    return Reference(batch, joined("outputs"), scores, near_tie, first.trace, gaps, first.tolerances)


def compare_outputs(
    check: str,
    reference_name: str,
    candidate_name: str,
    reference: Reference,
    returned: Mapping[str, NDArray],
    prediction: str,
    *,
    following: bool = False,
) -> Comparison:
    """Judges outputs and decisions of an execution by name; values the candidate did not return are not compared.

    With ``following``, ``reference`` carried out the candidate's own decisions: near ties that it would have decided
    differently are counted and excused, and the outputs of all images are compared.

    Raises:
        BundleError: The prediction or a decision is missing: the bundle is another model's.
    """
    decided = decision_outputs(reference.decision_scores)
    returned = with_empty_decisions(returned, reference.outputs, decided)
    missing = [name for name in (prediction, *decided) if name not in returned]
    if missing:
        problem = f"returned no {', '.join(missing)}, which the model has"
        raise BundleError(candidate_name, problem, "copy or build the bundle again")
    tolerances = reference.tolerances
    decisions = decisions_between(
        returned, reference.outputs, reference.decision_scores, reference.decision_gaps, tolerances
    )
    near_ties = [item for item in decisions if item.near_tie] if following else []
    judged_decisions = [item for item in decisions if item not in near_ties]
    count = len(reference.batch.names)
    rows = comparable_images(judged_decisions, count, windows_of_scores(reference.decision_scores, count))
    ties = None if reference.near_tie is None else reference.near_tie[rows]
    outputs = [
        output_difference(
            name,
            rows_of_images(value, rows, count),
            rows_of_images(reference.outputs[name], rows, count),
            ties,
            tolerances,
        )
        for name, value in returned.items()
        if name not in decided and rows
    ]
    facts: dict[str, object] = {FOLLOWED: {item.stage: item.differing for item in near_ties}}
    names = reference.batch.names
    comparison = judged(
        check, reference_name, candidate_name, names, outputs, judged_decisions, facts if near_ties else {}
    )
    return replace(comparison, decisions=tuple(decisions))
