"""The one loop as published: a host walked with its reductions one image at a time, counts by the image. The reference.

It shares weights and layers with `edgeexport.fixed.model`. What decides and moves tokens is its own: thresholds with index
sets, windows chosen by sorted lists, matching in loops, a canvas written by indexing, the plain class-map tail. The golden
tests hold both to the published implementations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgeexport.fixed.decoder import Decoder
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.reductions.reduction import Published
from edgeexport.tokens.changes import Cut
from edgeexport.tokens.published_tokens import PublishedStage, PublishedTokens

__all__ = ["PublishedImage", "PublishedModel"]

Settings = Mapping[str, Any]
"""Key of a method -> what its published form goes by (see `Reduction.published`)."""


@dataclass(frozen=True)
class PublishedImage:
    """Result for one image.

    Attributes:
        outputs: Name -> tensor, as the fixed form names them, without a batch axis; numbers of tokens are the image's own.
        scores: Decision -> the scores behind it, where the method keeps them.
        stages: Block -> what the exit there saw.
        windows: The same of every window, where windows slide over the image; decisions are there alone.
    """

    outputs: dict[str, Tensor]
    scores: dict[str, Tensor] = field(default_factory=dict)
    stages: dict[int, PublishedStage] = field(default_factory=dict)
    windows: tuple[PublishedImage, ...] = ()

    @property
    def seen(self) -> tuple[PublishedImage, ...]:
        """What the model saw one by one: the windows, or the image."""
        return self.windows or (self,)

    @property
    def pruned(self) -> dict[int, int]:
        """Block -> tokens that left after it, for every exit that was run."""
        return {block: self.outputs[f"pruned_tokens_{block}"].numel() for block in self.stages}


class PublishedModel:
    """Runs a model as published.

    Args:
        model: What `edgeexport.fixed.weights.model_from_recipe` returned; it stays as it is.
        recipe: Its reductions; counts that a method takes from settings instead do not matter.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model, self.recipe, self.schedule = model, recipe, token_schedule(recipe)
        self.walk = recipe.host.published_walk(model, recipe.model, recipe.input, recipe.output)
        self._decoder = None if recipe.decoder is None else Decoder(recipe.decoder)
        self.pool = next((REDUCTIONS[key].pooling(spec) for key, spec in recipe.reductions.items()), "mean")

    @property
    def own_settings(self) -> dict[str, Any]:
        """What the methods state themselves, such as thresholds; empty where counts are all."""
        stated = {
            key: REDUCTIONS[key].own_settings(spec, self.schedule.facts) for key, spec in self.recipe.reductions.items()
        }
        return {key: settings for key, settings in stated.items() if settings is not None}

    @torch.no_grad()
    def run(
        self, inputs: Sequence[Tensor], settings: Sequence[Settings] | None = None, *, upsample: bool = True
    ) -> list[PublishedImage]:
        """Runs a batch, image by image.

        Args:
            inputs: In the recipe's form, batch first.
            settings: One per image, or per window of an image, image by image; None: `own_settings` for all.
            upsample: False may leave predictions per pixel out.
        """
        images, count = inputs[0].shape[0], self.schedule.facts.windows
        each = [self.own_settings] * (images * count) if settings is None else settings
        return [
            self._image([value[row : row + 1] for value in inputs], each[row * count : (row + 1) * count], upsample)
            for row in range(images)
        ]

    def _image(self, inputs: Sequence[Tensor], settings: Sequence[Settings], upsample: bool) -> PublishedImage:
        pixels, context = self.walk.begin(*inputs)
        seen = [
            self._one(window, context, own, upsample)
            for window, own in zip(self.walk.windows_of(pixels), settings, strict=True)
        ]
        if len(seen) == 1:
            return seen[0]
        return PublishedImage(self.walk.joined([window.outputs for window in seen]), windows=tuple(seen))

    def _one(self, pixels: Tensor, context: Tensor | None, settings: Settings, upsample: bool) -> PublishedImage:
        walk, tokens = self.walk, PublishedTokens()
        methods = self._methods(settings)
        x = self._embedded(methods, pixels, tokens)
        tokens.enter(x.shape[1])
        tokens.rotation = walk.rotation
        stages: dict[int, Tensor] = {}
        for number in range(1, self.schedule.facts.executed + 1):
            acting = {method.cuts[number]: method for method in methods if number in method.cuts}
            around = acting.get(Cut.AROUND) or acting.get(Cut.BRANCHES)
            block = walk.block(number)
            if around is not None:
                x = around.around(number, block, x, context, tokens)
            else:
                between = acting.get(Cut.BETWEEN)
                compared = None if between is None else between.metric
                x, metric = block.attend(x, tokens.bias, compared, tokens.rotation)
                if between is not None:
                    x = between.between(number, x, metric, tokens)
                x = block.finish(x, context)
            if (leaving := acting.get(Cut.EXIT)) is not None:
                said = walk.exit(number, x)
                x = leaving.leave(number, x, said.scores, said.rows, tokens)
            if number in self.schedule.facts.reads:
                stages[number] = x
                if tokens.origin != list(range(tokens.count)):
                    tokens.origins[number] = tokens.origin
        predicted = walk.predict(stages, tokens, pool=self.pool, upsample=upsample)
        if self._decoder is not None:
            decoded = self._decoder({name: value[None] for name, value in predicted.items()})
            predicted |= {name: value[0] for name, value in decoded.items()}
        return PublishedImage({**predicted, **tokens.outputs}, tokens.scores, tokens.stages)

    def _embedded(self, methods: Sequence[Published], pixels: Tensor, tokens: PublishedTokens) -> Tensor:
        for method in methods:
            position = getattr(self.walk, "position", None)
            if position is not None and (patches := method.embed(pixels, position, tokens)) is not None:
                return self.walk.embed_patches(*patches)
        return self.walk.embed(pixels)

    def _methods(self, settings: Settings) -> list[Published]:
        methods = []
        for key, spec in self.recipe.reductions.items():
            method = REDUCTIONS[key]
            network = None if method.network is None else getattr(self.model, method.network, None)
            acting = [change for change in self.schedule.changes[key] if change.acts]
            methods.append(method.published(spec, self.schedule.facts, acting, settings.get(key), network))
        return methods
