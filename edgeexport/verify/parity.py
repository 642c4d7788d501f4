"""Proof that a fixed model equals its original: original against fixed, fixed against an exported graph, batch against single.

Each function compares on one batch of images; `edgeexport.verify.suite` decides on how many.

Near ties are common (flat parts of a photograph, tokens that were copied from one another, float16), and an execution that
decided one differently went on with other tokens. It is then followed: the fixed model carries out the execution's own
decisions, each of which must be the best by the model's scores or within a near tie of it, and has to arrive at the same
outputs. So what outputs differ by is rounding, never another token.

The original and the fixed model are both compared in float32; the exported graph is judged by the tolerances of its precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from numpy.typing import NDArray

from edgeexport.fixed.fixed import FixedModel
from edgeexport.fixed.fixed_segvit import FixedSegVit
from edgeexport.inputs.batches import ImageBatch
from edgeexport.verify.compare import Comparison
from edgeexport.verify.decisions import decision_outputs, with_empty_decisions
from edgeexport.verify.imposed import Imposed, imposed_decisions
from edgeexport.verify.merge_parity import merge_reference, original_outputs
from edgeexport.verify.reference import (
    BATCH_CHECK,
    ORIGINAL_CHECK,
    RUNTIME_CHECK,
    Reference,
    Runner,
    compare_outputs,
    joined_reference,
)
from edgeexport.verify.segvit_parity import (
    segvit_judged,
    segvit_merge_outputs,
    segvit_original_comparison,
    segvit_reference,
)
from edgeexport.verify.tolerances import FP32, Tolerances

__all__ = ["batch_comparison", "followed_reference", "original_comparison", "reference_of", "runtime_comparison"]


def reference_of(
    fixed: FixedModel, batch: ImageBatch, imposed: Imposed | None = None, *, tolerances: Tolerances = FP32
) -> Reference:
    """Runs the fixed form in torch, carrying out ``imposed`` decisions if there are any; ``tolerances`` judge executions."""
    if isinstance(fixed, FixedSegVit):
        return segvit_reference(fixed, batch, imposed, tolerances)
    return merge_reference(fixed, batch, imposed, tolerances)


def _in_float32(fixed: FixedModel, reference: Reference) -> Reference:
    """The same, judged as float32 is: in the original nothing is rounded to float16."""
    if reference.tolerances == FP32:
        return reference
    if isinstance(fixed, FixedSegVit):
        return segvit_judged(fixed, reference.batch, reference.trace, FP32)
    return replace(reference, tolerances=FP32)


def original_comparison(fixed: FixedModel, reference: Reference) -> Comparison:
    """The published computation against the fixed one, both in torch.

    For CTS and DToP the original is adaptive, with thresholds, and every image gets those that prune the fixed counts. For
    merging it is image by image, in loops.
    """
    reference = _in_float32(fixed, reference)
    if not isinstance(fixed, FixedSegVit):
        found = original_outputs(fixed, reference.batch)
    elif fixed.merging:
        found = segvit_merge_outputs(fixed, reference.batch)
    else:
        return segvit_original_comparison(fixed, reference)
    return _compared(fixed, ORIGINAL_CHECK, ("torch fixed", "torch original"), reference, found, one_by_one=False)


def runtime_comparison(fixed: FixedModel, reference: Reference, runner: Runner) -> Comparison:
    """Fixed torch against the exported graph in ``runner``, on one batch."""
    found = runner.run(reference.batch.pixels, reference.batch.extra)
    pair = "torch fixed", f"{runner.name} {runner.version}"
    return _compared(fixed, RUNTIME_CHECK, pair, reference, found, one_by_one=False)


def batch_comparison(fixed: FixedModel, reference: Reference, runner: Runner) -> Comparison:
    """The exported graph on a batch against fixed torch on its images one by one."""
    batch = reference.batch
    one_by_one = [batch.single(position) for position in range(len(batch.names))]
    singles = [reference_of(fixed, single, tolerances=reference.tolerances) for single in one_by_one]
    found = runner.run(batch.pixels, batch.extra)
    pair = "torch fixed, one by one", f"{runner.name} {runner.version}"
    return _compared(fixed, BATCH_CHECK, pair, joined_reference(batch, singles), found, one_by_one=True)


def _compared(
    fixed: FixedModel,
    check: str,
    pair: tuple[str, str],
    reference: Reference,
    found: Mapping[str, NDArray],
    *,
    one_by_one: bool,
) -> Comparison:
    prediction = fixed.recipe.output
    comparison = compare_outputs(check, *pair, reference, found, prediction)
    if comparison.status != "not-applicable":
        return comparison
    followed = _following(fixed, reference, found, one_by_one=one_by_one)
    return compare_outputs(check, *pair, followed, found, prediction, following=True)


def followed_reference(fixed: FixedModel, reference: Reference, found: Mapping[str, NDArray]) -> Reference:
    """What the fixed model computes when it carries out an execution's decisions, with those as its own.

    For golden.npz: the same execution on another machine most likely decides the same ties in the same way.
    """
    followed = _following(fixed, reference, found, one_by_one=False)
    decided = decision_outputs(reference.decision_scores)
    taken = {name: found[name] for name in decided if name in found}
    return replace(followed, outputs={**followed.outputs, **taken})


def _following(fixed: FixedModel, reference: Reference, found: Mapping[str, NDArray], *, one_by_one: bool) -> Reference:
    batch = reference.batch
    complete = with_empty_decisions(found, reference.outputs, decision_outputs(reference.decision_scores))
    selections = [name for name in reference.decision_scores if name in complete]  # merges are three outputs each

    def followed(part: ImageBatch, images: slice) -> Reference:
        imposed = imposed_decisions(complete, fixed.merging, selections, images)
        return reference_of(fixed, part, imposed, tolerances=reference.tolerances)

    if not one_by_one:
        return followed(batch, slice(None))
    return joined_reference(
        batch, [followed(batch.single(row), slice(row, row + 1)) for row in range(len(batch.names))]
    )
