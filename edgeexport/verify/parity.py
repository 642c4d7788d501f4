"""Proof that a fixed model equals its original: adaptive against fixed, fixed against an exported graph, batch against single.

Each function compares on one batch of images; `edgeexport.verify.suite` decides on how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgeexport.freeze.fixed_segvit import FixedSegVit, SegVitTrace
from edgeexport.reduction.adaptive_segvit import AdaptiveImage, AdaptiveSegVit
from edgeexport.reduction.cts import window_scores
from edgeexport.reduction.dtop import threshold_for_count
from edgeexport.verify.batches import ImageBatch
from edgeexport.verify.compare import (
    NEAR_TIE,
    Comparison,
    class_map_difference,
    comparable_images,
    decision_difference,
    decision_differences,
    float_difference,
    judged,
    output_difference,
)
from edgeexport.verify.protection import uncertain_protection

__all__ = [
    "ADAPTIVE_CHECK",
    "BATCH_CHECK",
    "RUNTIME_CHECK",
    "Reference",
    "Runner",
    "adaptive_comparison",
    "batch_comparison",
    "reference_of",
    "runtime_comparison",
]

ADAPTIVE_CHECK = "adaptive against fixed"
RUNTIME_CHECK = "fixed torch against exported graph"
BATCH_CHECK = "batch against images one by one"


class Runner(Protocol):
    """Anything that executes the exported graph."""

    name: str
    version: str

    def run(self, image: NDArray) -> dict[str, NDArray]:
        """Runs one batch in the recipe's input form; returns outputs by name."""


@dataclass(frozen=True)
class Reference:
    """What fixed torch computed for a batch: outputs by name, scores behind each decision, and near ties of the class map.

    ``near_tie`` is bool (B, H, W), True where the two best full-resolution scores are within `NEAR_TIE`; None for scores.
    ``decision_scores`` maps a decision's name to float (B, N) by token index: NaN where not eligible, infinite where the
    token's protection is a toss-up.
    """

    batch: ImageBatch
    outputs: dict[str, NDArray]
    decision_scores: dict[str, NDArray]
    near_tie: NDArray[np.bool_] | None
    trace: SegVitTrace


def reference_of(fixed: FixedSegVit, batch: ImageBatch) -> Reference:
    """Runs the fixed form in torch."""
    with torch.no_grad():
        trace = fixed.trace(torch.from_numpy(batch.pixels))
    scores: dict[str, NDArray] = {}
    if trace.policy_logits is not None:
        scores["shared_windows"] = window_scores(trace.policy_logits).numpy()
    first_tokens = fixed.num_patches - 3 * fixed.num_shared
    for block in fixed.prune:
        keys = trace.stage_priority[block].clone()
        for image, stage_scores in enumerate(trace.stage_scores[block].numpy()):
            keys[image][torch.from_numpy(uncertain_protection(stage_scores, fixed.protect_per_class))] = float("inf")
        row = torch.full((batch.pixels.shape[0], first_tokens), float("nan"))
        scores[f"pruned_tokens_{block}"] = row.scatter(1, trace.stage_tokens[block].long(), keys).numpy()
    outputs = {name: tensor.numpy() for name, tensor in fixed.outputs_of(trace).items()}
    near_tie = None
    if fixed.recipe.output == "class_map":
        assert trace.class_scores is not None
        near_tie = torch.cat([_near_tie(row[None], fixed.size) for row in trace.class_scores]).numpy()
    return Reference(batch, outputs, scores, near_tie, trace)


def adaptive_comparison(fixed: FixedSegVit, reference: Reference) -> Comparison:
    """Adaptive (thresholds, as published) against fixed, both in torch, each image with thresholds that prune k tokens."""
    recipe = fixed.recipe
    trace = reference.trace
    classes = recipe.model.decode_head.num_classes
    names = reference.batch.names
    thresholds: list[dict[int, float]] = []
    for image in range(len(names)):
        limits: dict[int, float] = {}
        for block, k in fixed.prune.items():
            theta = threshold_for_count(
                trace.stage_confidence[block][image],
                trace.stage_label[block][image],
                k,
                classes,
                fixed.protect_per_class,
            )
            if theta is None:
                reason = (
                    f"no threshold prunes exactly {k} tokens after block {block} of {names[image]}: fewer are "
                    "unprotected, or the k-th and the next have the same confidence"
                )
                return Comparison(ADAPTIVE_CHECK, "torch adaptive", "torch fixed", names, "not-applicable", reason)
            limits[block] = theta
        thresholds.append(limits)
    adaptive = AdaptiveSegVit(
        fixed.model, recipe.input, num_shared=fixed.num_shared, protect_per_class=fixed.protect_per_class
    )
    found = adaptive.run(torch.from_numpy(reference.batch.pixels), thresholds)
    facts: dict[str, object] = {"thresholds": [dict(limits) for limits in thresholds]}
    if fixed.prune:
        facts["counts at the recipe's own thresholds"] = _own_counts(fixed, adaptive, reference)
    return _judge_adaptive(fixed, reference, found, facts)


def runtime_comparison(fixed: FixedSegVit, reference: Reference, runner: Runner) -> Comparison:
    """Fixed torch against the exported graph in ``runner``, on one batch."""
    found = runner.run(reference.batch.pixels)
    return compare_outputs(
        RUNTIME_CHECK, "torch fixed", f"{runner.name} {runner.version}", reference, found, fixed.recipe.output
    )


def batch_comparison(fixed: FixedSegVit, reference: Reference, runner: Runner) -> Comparison:
    """The exported graph on a batch against fixed torch on its images one by one."""
    singles = [
        reference_of(fixed, ImageBatch((name,), reference.batch.pixels[i : i + 1]))
        for i, name in enumerate(reference.batch.names)
    ]
    joined = Reference(
        batch=reference.batch,
        outputs={name: np.concatenate([one.outputs[name] for one in singles]) for name in reference.outputs},
        decision_scores={
            name: np.concatenate([one.decision_scores[name] for one in singles]) for name in reference.decision_scores
        },
        near_tie=None
        if reference.near_tie is None
        else np.concatenate([one.near_tie for one in singles if one.near_tie is not None]),
        trace=reference.trace,
    )
    found = runner.run(reference.batch.pixels)
    return compare_outputs(
        BATCH_CHECK, "torch fixed, one by one", f"{runner.name} {runner.version}", joined, found, fixed.recipe.output
    )


def compare_outputs(
    check: str,
    reference_name: str,
    candidate_name: str,
    reference: Reference,
    found: Mapping[str, NDArray],
    prediction: str,
) -> Comparison:
    """Judges outputs and decisions of an execution by name; values the candidate did not return are not compared."""
    missing = [name for name in (prediction, *reference.decision_scores) if name not in found]
    if missing:
        raise KeyError(f"{candidate_name} returned no {', '.join(missing)}")
    decisions = [
        item
        for name, score in reference.decision_scores.items()
        for item in decision_differences(name, found[name], reference.outputs[name], score)
    ]
    rows = comparable_images(decisions, len(reference.batch.names))
    ties = None if reference.near_tie is None else reference.near_tie[rows]
    outputs = [
        output_difference(name, value[rows], reference.outputs[name][rows], ties)
        for name, value in found.items()
        if name not in reference.decision_scores and rows
    ]
    return judged(check, reference_name, candidate_name, reference.batch.names, outputs, decisions)


def _judge_adaptive(
    fixed: FixedSegVit, reference: Reference, found: list[AdaptiveImage], facts: dict[str, object]
) -> Comparison:
    outputs = []
    decisions = []
    if fixed.num_shared:
        shared = np.stack([_present(image.shared_windows).numpy() for image in found])
        score = reference.decision_scores["shared_windows"]
        decisions += decision_differences("shared_windows", reference.outputs["shared_windows"], shared, score)
    for block in fixed.prune:
        name = f"pruned_tokens_{block}"
        for i, image in enumerate(found):
            pruned = image.pruned_tokens[block].numpy()[None]
            score = reference.decision_scores[name][i : i + 1]
            decisions.append(decision_difference(name, reference.outputs[name][i : i + 1], pruned, score, image=i))
    rows = comparable_images(decisions, len(found))
    if rows and reference.trace.token_scores is not None:
        tokens = np.stack([_present(found[i].token_scores).numpy() for i in rows])
        outputs.append(float_difference("token_scores", reference.trace.token_scores.numpy()[rows], tokens))
    if rows and fixed.recipe.output == "class_map":
        maps = np.stack([found[i].class_map.numpy() for i in rows])
        ties = np.concatenate([_top_two_within(found[i].scores[None]).numpy() for i in rows])
        outputs.append(class_map_difference("class_map", reference.outputs["class_map"][rows], maps, ties))
    elif rows:
        scores = np.stack([found[i].scores.numpy() for i in rows])
        outputs.append(float_difference("scores", reference.outputs["scores"][rows], scores))
    return judged(ADAPTIVE_CHECK, "torch adaptive", "torch fixed", reference.batch.names, outputs, decisions, facts)


def _own_counts(fixed: FixedSegVit, adaptive: AdaptiveSegVit, reference: Reference) -> list[dict[int, int]]:
    """Tokens that the recipe's own thresholds would prune, per image and active stage: reported, not judged."""
    own = {block: theta for block, theta in adaptive.published_thresholds().items() if block in fixed.prune}
    pixels = torch.from_numpy(reference.batch.pixels)
    images = adaptive.run(pixels, [own] * pixels.shape[0])
    return [{block: int(tokens.numel()) for block, tokens in image.pruned_tokens.items()} for image in images]


def _near_tie(class_scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores (1, K, h, w), at any resolution -> bool (1, H, W)."""
    if tuple(class_scores.shape[2:]) != size:
        class_scores = F.interpolate(class_scores, size=size, mode="bilinear", align_corners=False)
    return _top_two_within(class_scores)


def _top_two_within(scores: Tensor) -> Tensor:
    if scores.shape[1] == 1:
        return torch.zeros_like(scores[:, 0], dtype=torch.bool)
    best = scores.topk(2, dim=1).values
    return best[:, 0] - best[:, 1] <= NEAR_TIE


def _present(value: Tensor | None) -> Tensor:
    assert value is not None
    return value
