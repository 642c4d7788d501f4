"""Which comparisons a build or `edgeexport verify` runs, on how many images, what they prove together, and what is kept.

Where a comparison means nothing for an image (no threshold separates the k-th from the next token; a near tie was
decided differently), it is recorded as not applicable, and another image is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from edgeexport.backends.runner import Runner
from edgeexport.fixed.model import FixedModel
from edgeexport.inputs.batches import ImageBatch
from edgeexport.verify.compare import IMAGES_NEEDED, Comparison
from edgeexport.verify.parity import (
    batch_comparison,
    followed_reference,
    original_comparison,
    reference_of,
    runtime_comparison,
)
from edgeexport.verify.reference import BATCH_CHECK, FOLLOWED, ORIGINAL_CHECK, RUNTIME_CHECK, Reference
from edgeexport.verify.tolerances import Tolerances

__all__ = ["golden_cases", "kept_references", "parity_status", "run_parity", "why_incomplete"]


def run_parity(
    fixed: FixedModel, runner: Runner, references: Iterable[Reference], *, every: bool = False
) -> list[Comparison]:
    """Runs all checks of a fixed model against its original and against an exported graph.

    Args:
        fixed: The model.
        runner: Executes the exported graph.
        references: What fixed torch computed, batch by batch; drawn only as far as needed.
        every: Compare on every reference instead of stopping after `IMAGES_NEEDED` passes.
    """
    drawn = _Replayed(references)
    checks: list[Callable[[Reference], Comparison]] = [
        lambda reference: runtime_comparison(fixed, reference, runner),
        lambda reference: original_comparison(fixed, reference),
    ]
    if fixed.recipe.input.batch > 1:
        checks.append(lambda reference: batch_comparison(fixed, reference, runner))
    return [comparison for check in checks for comparison in _run_check(check, drawn, every)]


def parity_status(comparisons: Sequence[Comparison]) -> str:
    """'passed', 'failed', or 'incomplete' where a check passed on fewer than `IMAGES_NEEDED` batches of images."""
    if any(item.status == "failed" for item in comparisons):
        return "failed"
    names = {ORIGINAL_CHECK, RUNTIME_CHECK} | {item.check for item in comparisons if item.check == BATCH_CHECK}
    passed = {name: sum(item.check == name and item.status == "passed" for item in comparisons) for name in names}
    return "passed" if min(passed.values()) >= IMAGES_NEEDED else "incomplete"


def why_incomplete(comparisons: Sequence[Comparison]) -> str:
    """One line about the check that could not be made on enough images."""
    reasons = [f"{item.check} on {', '.join(item.images)}: {item.reason}" for item in comparisons if item.reason]
    return f"parity incomplete: a check needs {IMAGES_NEEDED} images; {reasons[0] if reasons else 'too few were given'}"


def kept_references(
    fixed: FixedModel, batches: Iterable[ImageBatch], kept: list[Reference], tolerances: Tolerances
) -> Iterator[Reference]:
    """References of batches as they are asked for, remembered in ``kept``."""
    for batch in batches:
        kept.append(reference_of(fixed, batch, tolerances=tolerances))
        yield kept[-1]


def golden_cases(references: Sequence[Reference], comparisons: Sequence[Comparison]) -> list[Reference]:
    """References that the exported graph was compared with; where it decided near ties its own way, with that way taken."""
    passed = {item.images: item for item in comparisons if item.check == RUNTIME_CHECK and item.status == "passed"}
    cases = []
    for reference in references:
        batch = reference.batch
        if batch.names not in passed:
            continue
        if FOLLOWED in passed[batch.names].facts:
            reference = followed_reference(reference)
        cases.append(reference)
    return cases


def _run_check(
    compare: Callable[[Reference], Comparison], references: Iterable[Reference], every: bool
) -> list[Comparison]:
    done: list[Comparison] = []
    for reference in references:
        done.append(compare(reference))
        enough = sum(item.status == "passed" for item in done) >= IMAGES_NEEDED
        if not every and (done[-1].status == "failed" or enough):
            break
    return done


class _Replayed:
    """An iterable that can be walked several times and draws from its source only what is new."""

    def __init__(self, source: Iterable[Reference]) -> None:
        self._source = iter(source)
        self._seen: list[Reference] = []

    def __iter__(self) -> Iterator[Reference]:
        position = 0
        while True:
            if position == len(self._seen):
                try:
                    self._seen.append(next(self._source))
                except StopIteration:
                    return
            yield self._seen[position]
            position += 1
