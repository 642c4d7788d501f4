"""A model run whole by what its owner runs it with, against its graph without reductions: that nothing else was changed."""

from __future__ import annotations

from collections.abc import Iterable

from edgeexport.backends.runner import Runner
from edgeexport.fixed.model import FixedModel
from edgeexport.verify.compare import IMAGES_NEEDED, Comparison, float_difference, integer_difference, judged
from edgeexport.verify.reference import OWN_CHECK, Reference
from edgeexport.verify.tolerances import FP32

__all__ = ["own_comparisons"]


def own_comparisons(dense: FixedModel, references: Iterable[Reference], runner: Runner) -> list[Comparison]:
    """Compares every output on as many batches as a check needs; nothing for families that have no such run.

    Args:
        dense: The model without reductions.
        references: Batches of images, drawn only as far as needed.
        runner: Executes the graph of ``dense`` in float32.
    """
    recipe = dense.recipe
    run = recipe.host.own_run(recipe.model, recipe.input)
    if run is None:
        return []
    comparisons = []
    for reference, _ in zip(references, range(IMAGES_NEEDED), strict=False):
        batch = reference.batch
        own, returned = run([batch.pixels, *batch.extra.values()]), runner.run(batch.pixels, batch.extra)
        differences = [
            float_difference(name, returned[name], value, FP32)
            if value.dtype.kind == "f"
            else integer_difference(name, returned[name], value)
            for name, value in own.items()
            if name in returned
        ]
        pair = "the model as it was given", f"{runner.name} {runner.version}, without reductions"
        comparisons.append(judged(OWN_CHECK, *pair, batch.names, differences, []))
    return comparisons
