"""Proof that a fixed model equals the published one: published against fixed, fixed against a graph, batch against single.

Each function compares on one batch of images; `edgeexport.verify.suite` decides on how many.

Near ties are common (flat parts of a photograph, tokens that were copied from one another, float16), and an execution that
decided one differently went on with other tokens. It is then followed: the fixed model carries out the execution's own
decisions, each of which must be the best by the model's scores or within a near tie of it, and has to arrive at the same
outputs. So what outputs differ by is rounding, never another token.

The published and the fixed model are both compared in float32; the exported graph is judged by the tolerances of its precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgeexport.backends.runner import Runner
from edgeexport.fixed.model import FixedModel
from edgeexport.fixed.published import PublishedImage, PublishedModel
from edgeexport.inputs.batches import ImageBatch
from edgeexport.reductions import REDUCTIONS
from edgeexport.reductions.reduction import NotApplicable
from edgeexport.tokens.trace import Trace
from edgeexport.verify.compare import Comparison
from edgeexport.verify.decisions import decision_outputs, with_empty_decisions
from edgeexport.verify.reference import (
    BATCH_CHECK,
    ORIGINAL_CHECK,
    RUNTIME_CHECK,
    Reference,
    compare_outputs,
    joined_reference,
)
from edgeexport.verify.tolerances import FP32, Tolerances

__all__ = [
    "batch_comparison",
    "compared",
    "followed_reference",
    "original_comparison",
    "reference_of",
    "runtime_comparison",
    "settings_for_counts",
]


def reference_of(
    fixed: FixedModel,
    batch: ImageBatch,
    imposed: Mapping[str, Tensor] | None = None,
    *,
    tolerances: Tolerances = FP32,
) -> Reference:
    """Runs the fixed form in torch, carrying out ``imposed`` decisions if there are any; ``tolerances`` judge executions."""
    with torch.no_grad():
        trace = fixed.trace(*_inputs(batch), imposed=imposed)
    return _judged(fixed, batch, trace, tolerances)


def original_comparison(fixed: FixedModel, reference: Reference) -> Comparison:
    """The published computation against the fixed one, both in torch.

    Where the published one decides by thresholds, every image gets those that remove the fixed counts.
    """
    reference = _in_float32(fixed, reference)
    names = reference.batch.names
    published = PublishedModel(fixed.model, fixed.recipe)
    pair = "torch fixed", "torch original"
    settings, windows = [], fixed.schedule.facts.windows
    for row in range(len(names) * windows):
        try:
            settings.append(settings_for_counts(fixed, reference.trace, row))
        except NotApplicable as error:
            name = names[row // windows]
            return Comparison(ORIGINAL_CHECK, *pair, names, "not-applicable", f"{name}: {error}")
    images = published.run(_inputs(reference.batch), settings)
    seen = [window for image in images for window in image.seen]
    outputs = {
        name: np.stack([one.outputs[name].numpy() for one in rows])
        for name in fixed.output_names
        for rows in [seen if windows > 1 and name not in fixed.walk.output_names else images]
        if all(name in one.outputs for one in rows)
    }
    comparison = compared(fixed, ORIGINAL_CHECK, pair, reference, outputs, one_by_one=False)
    return replace(comparison, facts={**comparison.facts, **_published_facts(published, reference.batch, settings)})


def runtime_comparison(fixed: FixedModel, reference: Reference, runner: Runner) -> Comparison:
    """Fixed torch against the exported graph in ``runner``, on one batch."""
    returned = runner.run(reference.batch.pixels, reference.batch.extra)
    pair = "torch fixed", f"{runner.name} {runner.version}"
    return compared(fixed, RUNTIME_CHECK, pair, reference, returned, one_by_one=False)


def batch_comparison(fixed: FixedModel, reference: Reference, runner: Runner) -> Comparison:
    """The exported graph on a batch against fixed torch on its images one by one."""
    batch = reference.batch
    one_by_one = [batch.single(position) for position in range(len(batch.names))]
    singles = [reference_of(fixed, single, tolerances=reference.tolerances) for single in one_by_one]
    returned = runner.run(batch.pixels, batch.extra)
    pair = "torch fixed, one by one", f"{runner.name} {runner.version}"
    return compared(fixed, BATCH_CHECK, pair, joined_reference(batch, singles), returned, one_by_one=True)


def followed_reference(reference: Reference) -> Reference:
    """What the fixed model computed with the decisions of the first execution that was followed, and those as its own.

    For golden.npz: the same execution on another machine most likely decides the same ties in the same way.
    """
    taken, followed = reference.followed[0]
    return replace(followed, outputs={**followed.outputs, **taken})


def _inputs(batch: ImageBatch) -> list[Tensor]:
    return [torch.from_numpy(batch.pixels), *(torch.from_numpy(value) for value in batch.extra.values())]


def _judged(fixed: FixedModel, batch: ImageBatch, trace: Trace, tolerances: Tolerances) -> Reference:
    """A pass of the fixed form as a reference: near ties, and selections that are a toss-up, by ``tolerances``."""
    outputs = {name: trace.outputs[name].numpy() for name in fixed.output_names}
    scores = {name: evidence.scores(tolerances.near_tie) for name, evidence in trace.evidence.items()}
    gaps = {name: gap for name, evidence in trace.evidence.items() if (gap := evidence.gaps()) is not None}
    near_tie = None
    if "class_map" in outputs:
        size = outputs["class_map"].shape[1:]
        rows = [_near_tie(row[None], (size[0], size[1]), tolerances.class_tie) for row in trace.outputs["class_scores"]]
        near_tie = torch.cat(rows).numpy()
    return Reference(batch, outputs, scores, near_tie, trace, gaps, tolerances)


def _in_float32(fixed: FixedModel, reference: Reference) -> Reference:
    """The same, judged as float32 is: in the published model nothing is rounded to float16."""
    if reference.tolerances == FP32:
        return reference
    return _judged(fixed, reference.batch, reference.trace, FP32)


def settings_for_counts(fixed: FixedModel, trace: Trace, image: int) -> dict[str, Any]:
    """What every method's published form goes by (see `PublishedModel.run`), so as to remove the fixed counts from an image.

    Args:
        fixed: The model.
        trace: Of its pass.
        image: Which of the batch; where windows slide, which window of all images'.

    Raises:
        NotApplicable: There are no such settings.
    """
    schedule, settings = fixed.schedule, {}
    for key, spec in fixed.recipe.reductions.items():
        acting = [change for change in schedule.changes[key] if change.acts]
        own = REDUCTIONS[key].settings_for_counts(spec, schedule.facts, acting, trace.evidence, image)
        if own is not None:
            settings[key] = own
    return settings


def _published_facts(
    published: PublishedModel, batch: ImageBatch, settings: Sequence[Mapping[str, Any]]
) -> dict[str, object]:
    """The thresholds used, and the counts at the recipe's own: reported, not judged."""
    if not any(settings):
        return {}
    thresholds = [{block: theta for own in one.values() for block, theta in own.items()} for one in settings]
    images: list[PublishedImage] = published.run(_inputs(batch), upsample=False)
    return {
        "thresholds": thresholds,
        "counts at the recipe's own thresholds": [image.pruned for image in images],
    }


def compared(
    fixed: FixedModel,
    check: str,
    pair: tuple[str, str],
    reference: Reference,
    returned: Mapping[str, NDArray],
    *,
    one_by_one: bool,
) -> Comparison:
    """Judges what an execution returned; where it decided near ties differently, against the model that follows it.

    Args:
        fixed: The model.
        check: Name of the comparison.
        pair: What is compared, for people.
        reference: What fixed torch computed.
        returned: The execution's outputs.
        one_by_one: The reference's images ran one by one, and are followed so.
    """
    prediction = fixed.recipe.prediction
    comparison = compare_outputs(check, *pair, reference, returned, prediction)
    if comparison.status != "not-applicable":
        return comparison
    followed = _following(fixed, reference, returned, one_by_one=one_by_one)
    return compare_outputs(check, *pair, followed, returned, prediction, following=True)


def _following(
    fixed: FixedModel, reference: Reference, returned: Mapping[str, NDArray], *, one_by_one: bool
) -> Reference:
    batch = reference.batch
    decided, windows = decision_outputs(reference.decision_scores), fixed.schedule.facts.windows
    complete = with_empty_decisions(returned, reference.outputs, decided)
    complete = {name: complete[name] for name in decided}
    for known, before in () if one_by_one else reference.followed:
        if all(np.array_equal(known[name], complete[name]) for name in decided):
            return before

    def followed(part: ImageBatch, images: slice) -> Reference:
        imposed = {name: torch.from_numpy(complete[name][images]) for name in decided}
        return reference_of(fixed, part, imposed, tolerances=reference.tolerances)

    if not one_by_one:
        result = followed(batch, slice(None))
        if not reference.followed:
            reference.followed.append((complete, result))
        return result
    return joined_reference(
        batch,
        [followed(batch.single(row), slice(row * windows, (row + 1) * windows)) for row in range(len(batch.names))],
    )


def _near_tie(class_scores: Tensor, size: tuple[int, int], distance: float) -> Tensor:
    """Scores (1, K, h, w), at any resolution -> bool (1, H, W), where the two best are within ``distance``."""
    if tuple(class_scores.shape[2:]) != size:
        class_scores = F.interpolate(class_scores, size=size, mode="bilinear", align_corners=False)
    if class_scores.shape[1] == 1:
        return torch.zeros_like(class_scores[:, 0], dtype=torch.bool)
    best = class_scores.topk(2, dim=1).values
    return best[:, 0] - best[:, 1] <= distance
