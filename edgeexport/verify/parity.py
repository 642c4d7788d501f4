"""Proof that a fixed model equals its original: original against fixed, fixed against an exported graph, batch against single.

Each function compares on one batch of images; `edgeexport.verify.suite` decides on how many.

Where tokens merge, near ties are common (flat parts of a photograph, tokens that were copied from one another), and an
execution that decided one differently went on with other tokens. It is then followed: the fixed model carries out the
execution's own merges, each of which must be the best by its scores or within a near tie of it, and has to arrive at the
same outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from numpy.typing import NDArray

from edgeexport.freeze.fixed import FixedModel
from edgeexport.freeze.fixed_segvit import FixedSegVit
from edgeexport.reduction.merging import Decision
from edgeexport.verify.batches import ImageBatch
from edgeexport.verify.compare import Comparison
from edgeexport.verify.decisions import decision_outputs, with_empty_decisions
from edgeexport.verify.merge_parity import merge_reference, original_outputs
from edgeexport.verify.merges import imposed_merges
from edgeexport.verify.reference import (
    BATCH_CHECK,
    ORIGINAL_CHECK,
    RUNTIME_CHECK,
    Reference,
    Runner,
    compare_outputs,
    joined_reference,
)
from edgeexport.verify.segvit_parity import segvit_merge_outputs, segvit_original_comparison, segvit_reference

__all__ = ["batch_comparison", "followed_reference", "original_comparison", "reference_of", "runtime_comparison"]


def reference_of(fixed: FixedModel, batch: ImageBatch, imposed: Mapping[int, Decision] | None = None) -> Reference:
    """Runs the fixed form in torch, carrying out ``imposed`` merges if there are any."""
    if isinstance(fixed, FixedSegVit):
        return segvit_reference(fixed, batch, imposed)
    return merge_reference(fixed, batch, imposed)


def original_comparison(fixed: FixedModel, reference: Reference) -> Comparison:
    """The published computation against the fixed one, both in torch.

    For CTS and DToP the original is adaptive, with thresholds, and every image gets those that prune the fixed counts. For
    merging it is image by image, in loops.
    """
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
    singles = [reference_of(fixed, batch.single(position)) for position in range(len(batch.names))]
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
    if comparison.status != "not-applicable" or not fixed.merging:
        return comparison
    followed = _following(fixed, reference, found, one_by_one=one_by_one)
    return compare_outputs(check, *pair, followed, found, prediction, following=True)


def followed_reference(fixed: FixedModel, reference: Reference, found: Mapping[str, NDArray]) -> Reference:
    """What the fixed model computes when it carries out an execution's merges, with those merges as its decisions.

    For golden.npz: the same execution on another machine most likely decides the same ties in the same way.
    """
    followed = _following(fixed, reference, found, one_by_one=False)
    decided = decision_outputs(reference.decision_scores)
    merges = {name: found[name] for name in decided if name in found}
    return replace(followed, outputs={**followed.outputs, **merges})


def _following(fixed: FixedModel, reference: Reference, found: Mapping[str, NDArray], *, one_by_one: bool) -> Reference:
    batch, blocks = reference.batch, list(fixed.merging)
    complete = with_empty_decisions(found, reference.outputs, decision_outputs(reference.decision_scores))
    if not one_by_one:
        return reference_of(fixed, batch, imposed_merges(complete, blocks, slice(None)))
    singles = [
        reference_of(fixed, batch.single(row), imposed_merges(complete, blocks, slice(row, row + 1)))
        for row in range(len(batch.names))
    ]
    return joined_reference(batch, singles)
