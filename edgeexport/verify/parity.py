"""Proof that a fixed model equals its original: original against fixed, fixed against an exported graph, batch against single.

Each function compares on one batch of images; `edgeexport.verify.suite` decides on how many.
"""

from __future__ import annotations

from edgeexport.freeze.fixed import FixedModel
from edgeexport.freeze.fixed_segvit import FixedSegVit
from edgeexport.verify.batches import ImageBatch
from edgeexport.verify.compare import Comparison
from edgeexport.verify.merge_parity import merge_original_comparison, merge_reference
from edgeexport.verify.reference import (
    BATCH_CHECK,
    RUNTIME_CHECK,
    Reference,
    Runner,
    compare_outputs,
    joined_reference,
)
from edgeexport.verify.segvit_parity import segvit_original_comparison, segvit_reference

__all__ = ["batch_comparison", "original_comparison", "reference_of", "runtime_comparison"]


def reference_of(fixed: FixedModel, batch: ImageBatch) -> Reference:
    """Runs the fixed form in torch."""
    return segvit_reference(fixed, batch) if isinstance(fixed, FixedSegVit) else merge_reference(fixed, batch)


def original_comparison(fixed: FixedModel, reference: Reference) -> Comparison:
    """The published computation against the fixed one, both in torch.

    For CTS and DToP the original is adaptive, with thresholds, and every image gets those that prune the fixed counts. For
    merging it is image by image, in loops.
    """
    if isinstance(fixed, FixedSegVit):
        return segvit_original_comparison(fixed, reference)
    return merge_original_comparison(fixed, reference)


def runtime_comparison(fixed: FixedModel, reference: Reference, runner: Runner) -> Comparison:
    """Fixed torch against the exported graph in ``runner``, on one batch."""
    found = runner.run(reference.batch.pixels, reference.batch.extra)
    candidate = f"{runner.name} {runner.version}"
    return compare_outputs(RUNTIME_CHECK, "torch fixed", candidate, reference, found, fixed.recipe.output)


def batch_comparison(fixed: FixedModel, reference: Reference, runner: Runner) -> Comparison:
    """The exported graph on a batch against fixed torch on its images one by one."""
    batch = reference.batch
    singles = [reference_of(fixed, batch.single(position)) for position in range(len(batch.names))]
    found = runner.run(batch.pixels, batch.extra)
    candidate = f"{runner.name} {runner.version}"
    joined = joined_reference(batch, singles)
    return compare_outputs(BATCH_CHECK, "torch fixed, one by one", candidate, joined, found, fixed.recipe.output)
