"""Observing what every stage of a reduced SegViT would do to an image, whatever the counts.

Only the tokens that enter a later stage depend on what the earlier ones did: `observe_published` lets thresholds decide
there, `observe_fixed` constant counts. With `edgeexport.evaluation.executions` this is where evaluation and calibration touch
a torch model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeexport.calibration.counts import Counts, protected_per_class, recipe_with_counts
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation
from edgeexport.calibration.token_labels import patch_class_counts, token_classes, uniform_windows
from edgeexport.errors import UsageError
from edgeexport.evaluation.annotation import ignored_label
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.evaluation.executions import SegmenterModel
from edgeexport.evaluation.segmenter_spec import class_count, final_blocks, stated_thresholds
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.inputs.framing import padded_labels
from edgeexport.inputs.photos import input_from_photo
from edgeexport.ops.token_protect import token_protect_reference
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts_layout import window_scores
from edgeexport.reductions.dtop import DtopSpec
from edgeexport.reductions.dtop_selection import confidence_and_label, priority
from edgeexport.tokens.preprocess import normalised_image

__all__ = ["observe_fixed", "observe_published"]


def observe_published(
    model: SegmenterModel, recipe: Recipe, images: Iterable[LabelledImage], thresholds: Mapping[int, float]
) -> Iterator[ImageObservation]:
    """Runs the published computation, image by image; the recipe's own number of windows is shared.

    Args:
        model: With the weights of every auxiliary head that is observed.
        recipe: A SegViT recipe.
        images: Decoded one by one as they are needed.
        thresholds: Block -> theta of every stage to observe; infinity observes a stage without pruning there.

    Raises:
        UsageError: A block has no auxiliary head, or the final head reads an earlier one.
    """
    blocks = _checked_stages(recipe, thresholds)
    observer = _Observer(model, recipe)
    # Counts come from thresholds: those of the recipe need not fit.
    dtop = DtopSpec(tuple((block, 0) for block in blocks), observer.per_class)
    shared = {"cts": recipe.reductions["cts"]} if "cts" in recipe.reductions else {}
    published = PublishedModel(model, replace(recipe, input=observer.spec, reductions={**shared, "dtop": dtop}))
    for image in images:
        pixels = observer.pixels(image)
        result = published.run([pixels], [{"dtop": thresholds}], upsample=False)[0]
        stages = {block: (result.stages[block].confidence, result.stages[block].label) for block in blocks}
        tokens = {block: result.stages[block].tokens for block in blocks}
        scores = result.scores.get("shared_windows")
        scores = observer.policy_scores(pixels) if scores is None else scores
        yield observer.observation(image, scores, result.outputs.get("shared_windows"), stages, tokens)


def observe_fixed(
    model: SegmenterModel,
    recipe: Recipe,
    images: Iterable[LabelledImage],
    counts: Counts,
    stages: Iterable[int],
) -> Iterator[ImageObservation]:
    """Runs the fixed form with ``counts``, image by image.

    Args:
        model: With the weights of every auxiliary head that is observed, and the policy network if ``counts`` share.
        recipe: A SegViT recipe; its own counts do not matter.
        images: Decoded one by one as they are needed.
        counts: What is shared and pruned. A stage that they leave out is observed without pruning.
        stages: Blocks to observe. Without any, only windows are observed, and the transformer does not run.

    Raises:
        UsageError: A block has no auxiliary head, or the final head reads an earlier one.
        RecipeError: The counts do not fit the model.
    """
    blocks = _checked_stages(recipe, stages)
    observer = _Observer(model, recipe)
    fixed = fixed_from_model(model, replace(recipe_with_counts(recipe, counts), input=observer.spec))
    for image in images:
        pixels = observer.pixels(image)
        if not blocks:
            yield observer.observation(image, observer.policy_scores(pixels), None, {}, {})
            continue
        yield _observed_fixed(observer, fixed, image, pixels, blocks)


def _observed_fixed(
    observer: _Observer, fixed: FixedModel, image: LabelledImage, pixels: Tensor, blocks: Sequence[int]
) -> ImageObservation:
    with torch.no_grad():
        trace = fixed.trace(pixels, look=blocks)
    stages, tokens = {}, {}
    for block in blocks:
        seen = trace.seen[block]
        confidence, label = confidence_and_label(seen.scores)
        stages[block] = confidence[0], label[0]
        count = confidence.shape[1]
        tokens[block] = torch.arange(count) if seen.tokens is None else seen.tokens[0].long()
    windows = trace.evidence.get("shared_windows")
    policy = observer.policy_scores(pixels) if windows is None else torch.from_numpy(windows.scores(0.0))[0]
    shared = trace.outputs.get("shared_windows")
    return observer.observation(image, policy, None if shared is None else shared[0], stages, tokens)


class _Observer:
    """What both computations have in common: pixels in, and what a stage saw of an image as an observation."""

    def __init__(self, model: SegmenterModel, recipe: Recipe) -> None:
        self.model = model
        self.spec = replace(recipe.input, batch=1)
        self.per_class = protected_per_class(recipe)
        self.num_classes = class_count(recipe)
        self.grid = (recipe.facts.grid[0], recipe.facts.grid[1])

    def pixels(self, image: LabelledImage) -> Tensor:
        return torch.from_numpy(input_from_photo(image.photo, self.spec))[None]

    def policy_scores(self, pixels: Tensor) -> Tensor | None:
        """float32 (W,), of a model with a policy network, whether its form shares or not."""
        policy: Any = getattr(self.model, "policy_net", None)
        if policy is None:
            return None
        with torch.no_grad():
            return window_scores(policy(normalised_image(pixels, self.spec)))[0]

    def observation(
        self,
        image: LabelledImage,
        scores: Tensor | None,
        shared_windows: Tensor | None,
        stages: Mapping[int, tuple[Tensor, Tensor]],
        tokens: Mapping[int, Tensor],
    ) -> ImageObservation:
        """``stages``: block -> confidence and label, (n,); ``tokens``: block -> the n tokens, as the first block's."""
        truth = uniform = None
        if image.label is not None:
            padded = padded_labels(image.label, self.spec, ignored_label(self.num_classes))
            counts = patch_class_counts(padded, self.grid, self.num_classes)
            truth = token_classes(counts, self.grid, None if shared_windows is None else shared_windows.numpy())
            if self.grid[0] % 2 == 0 and self.grid[1] % 2 == 0:
                uniform = uniform_windows(counts, self.grid)
        observed = []
        for block, (confidence, label) in stages.items():
            own = None if truth is None else truth[tokens[block].numpy()]
            observed.append(self._stage(block, confidence, label, own))
        shareable = None if scores is None else int((scores > 0).sum())
        return ImageObservation(image.name, shareable, uniform, tuple(observed))

    def _stage(
        self, block: int, confidence: Tensor, label: Tensor, truth: NDArray[np.int64] | None
    ) -> StageObservation:
        count = confidence.shape[0]
        protected = torch.zeros(count, dtype=torch.bool)
        if self.per_class:
            per_class = min(self.per_class, count)
            protected = token_protect_reference(confidence[None], label[None], self.num_classes, per_class)[0]
        order = torch.sort(priority(confidence, protected), descending=True, stable=True).indices.numpy()
        held = int(protected.sum())
        free, kept = order[: count - held], order[count - held :]
        wrong = None if truth is None else (truth >= 0) & (truth != label.numpy())
        return StageObservation(
            block=block,
            tokens=count,
            protected=held,
            confidence=confidence.numpy()[free],
            wrong=None if wrong is None else wrong[free],
            protected_wrong=None if wrong is None else wrong[kept],
        )


def _checked_stages(recipe: Recipe, stages: Iterable[int]) -> list[int]:
    """Ascending; every one with an auxiliary head that the final head does not precede."""
    known = sorted(block for block in stated_thresholds(recipe) if block <= final_blocks(recipe)[0])
    blocks = sorted(set(stages))
    for block in blocks:
        if block not in known:
            listed = ", ".join(map(str, known)) or "none"
            raise UsageError(f"{recipe.path}: block {block}", "no auxiliary head prunes there", f"stages: {listed}")
    return blocks
