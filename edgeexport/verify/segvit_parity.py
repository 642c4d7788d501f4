"""A fixed SegViT against its adaptive original, in torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgeexport.fixed.adaptive_segvit import AdaptiveImage, AdaptiveSegVit
from edgeexport.fixed.fixed_segvit import FixedSegVit, SegVitTrace
from edgeexport.inputs.batches import ImageBatch
from edgeexport.reductions.cts import window_scores
from edgeexport.reductions.dtop import threshold_for_count
from edgeexport.verify.compare import (
    Comparison,
    class_map_difference,
    comparable_images,
    decision_difference,
    decision_differences,
    float_difference,
    judged,
)
from edgeexport.verify.imposed import Imposed
from edgeexport.verify.merges import merge_outputs, merge_scores
from edgeexport.verify.protection import uncertain_protection
from edgeexport.verify.reference import ORIGINAL_CHECK, Reference
from edgeexport.verify.tolerances import FP32, Tolerances

__all__ = ["segvit_judged", "segvit_merge_outputs", "segvit_original_comparison", "segvit_reference"]


def segvit_reference(
    fixed: FixedSegVit, batch: ImageBatch, imposed: Imposed | None = None, tolerances: Tolerances = FP32
) -> Reference:
    """Runs the fixed form in torch, carrying out ``imposed`` decisions if there are any."""
    chosen = imposed or Imposed()
    with torch.no_grad():
        trace = fixed.trace(torch.from_numpy(batch.pixels), imposed=chosen.merges, selections=chosen.selections)
    return segvit_judged(fixed, batch, trace, tolerances)


def segvit_judged(fixed: FixedSegVit, batch: ImageBatch, trace: SegVitTrace, tolerances: Tolerances) -> Reference:
    """A trace of the fixed form as a reference: near ties and tossed-up protection by ``tolerances``."""
    scores: dict[str, NDArray] = {}
    if trace.policy_logits is not None:
        scores["shared_windows"] = window_scores(trace.policy_logits).numpy()
    first_tokens = fixed.num_patches - 3 * fixed.num_shared
    for block in fixed.prune:
        keys = trace.stage_priority[block].clone()
        for image, stage_scores in enumerate(trace.stage_scores[block].numpy()):
            uncertain = uncertain_protection(stage_scores, fixed.protect_per_class, tolerances.near_tie)
            keys[image][torch.from_numpy(uncertain)] = float("inf")
        row = torch.full((batch.pixels.shape[0], first_tokens), float("nan"))
        scores[f"pruned_tokens_{block}"] = row.scatter(1, trace.stage_tokens[block].long(), keys).numpy()
    outputs = {name: tensor.numpy() for name, tensor in fixed.outputs_of(trace).items()}
    near_tie = None
    if fixed.recipe.output == "class_map":
        assert trace.class_scores is not None
        rows = [_near_tie(row[None], fixed.size, tolerances.class_tie) for row in trace.class_scores]
        near_tie = torch.cat(rows).numpy()
    merges, gaps = merge_scores(trace.merge)
    return Reference(batch, outputs, scores | merges, near_tie, trace, gaps, tolerances)


def segvit_original_comparison(fixed: FixedSegVit, reference: Reference) -> Comparison:
    """Adaptive (thresholds, as published) against fixed, both in torch, each image with thresholds that prune k tokens."""
    recipe = fixed.recipe
    trace = reference.trace
    classes = recipe.segvit.decode_head.num_classes
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
                return Comparison(ORIGINAL_CHECK, "torch adaptive", "torch fixed", names, "not-applicable", reason)
            limits[block] = theta
        thresholds.append(limits)
    adaptive = AdaptiveSegVit(
        fixed.model,
        recipe.input,
        num_shared=fixed.num_shared,
        protect_per_class=fixed.protect_per_class,
    )
    found = adaptive.run(torch.from_numpy(reference.batch.pixels), thresholds)
    facts: dict[str, object] = {"thresholds": [dict(limits) for limits in thresholds]}
    if fixed.prune:
        facts["counts at the recipe's own thresholds"] = _own_counts(fixed, adaptive, reference)
    return _judge_adaptive(fixed, reference, found, facts)


def segvit_merge_outputs(fixed: FixedSegVit, batch: ImageBatch) -> dict[str, NDArray]:
    """A SegViT with dense merging as published, image by image, as outputs by name: merges and prediction."""
    layouts = {step.block: step.layout for step in fixed.steps if step.layout is not None}
    original = AdaptiveSegVit(
        fixed.model, fixed.recipe.input, num_shared=0, protect_per_class=0, merge=fixed.merge, layouts=layouts
    )
    images = original.run(torch.from_numpy(batch.pixels), [{}] * len(batch.names))
    whole = fixed.recipe.output == "scores"
    predictions = [(image.scores if whole else image.class_map).numpy() for image in images]
    return {fixed.recipe.output: np.stack(predictions), **merge_outputs([image.merges for image in images])}


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
        ties = np.concatenate([_top_two_within(found[i].scores[None], FP32.class_tie).numpy() for i in rows])
        outputs.append(class_map_difference("class_map", reference.outputs["class_map"][rows], maps, ties))
    elif rows:
        scores = np.stack([found[i].scores.numpy() for i in rows])
        outputs.append(float_difference("scores", reference.outputs["scores"][rows], scores))
    return judged(ORIGINAL_CHECK, "torch adaptive", "torch fixed", reference.batch.names, outputs, decisions, facts)


def _own_counts(fixed: FixedSegVit, adaptive: AdaptiveSegVit, reference: Reference) -> list[dict[int, int]]:
    """Tokens that the recipe's own thresholds would prune, per image and active stage: reported, not judged."""
    own = {block: theta for block, theta in adaptive.published_thresholds().items() if block in fixed.prune}
    pixels = torch.from_numpy(reference.batch.pixels)
    images = adaptive.run(pixels, [own] * pixels.shape[0])
    return [{block: int(tokens.numel()) for block, tokens in image.pruned_tokens.items()} for image in images]


def _near_tie(class_scores: Tensor, size: tuple[int, int], distance: float) -> Tensor:
    """Scores (1, K, h, w), at any resolution -> bool (1, H, W)."""
    if tuple(class_scores.shape[2:]) != size:
        class_scores = F.interpolate(class_scores, size=size, mode="bilinear", align_corners=False)
    return _top_two_within(class_scores, distance)


def _top_two_within(scores: Tensor, distance: float) -> Tensor:
    if scores.shape[1] == 1:
        return torch.zeros_like(scores[:, 0], dtype=torch.bool)
    best = scores.topk(2, dim=1).values
    return best[:, 0] - best[:, 1] <= distance


def _present(value: Tensor | None) -> Tensor:
    assert value is not None
    return value
