"""The one loop: a host walked with its reductions at constant counts. What is exported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgeexport.fixed.decoder import Decoder
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.tokens.block import Block
from edgeexport.tokens.changes import Cut
from edgeexport.tokens.trace import Seen, Trace

__all__ = ["FixedModel", "fixed_from_model"]


class FixedModel(nn.Module):
    """Runs a model as a recipe fixes it. `trace` returns everything; `forward` what the graph outputs.

    Every stage's shape is known when the recipe is read. A step that removes nothing, and the exit that it would need, do not
    exist in this form: a block without steps computes what the host's own computes.

    Attributes:
        recipe, schedule: What is carried out.
        walk: The host's modules.
        <key>: The steps of a method, by block; of one that acts ahead of the embedding, its only step.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.recipe, self.schedule = recipe, token_schedule(recipe)
        self._model = (model,)  # no submodule: its parts are in the walk already, under names that an export shows
        self.walk = recipe.host.walk(model, recipe.model, recipe.input, recipe.output, recipe.tail)
        facts = self.schedule.facts
        self.steps: dict[tuple[int, Cut], nn.Module] = {}
        by_key: dict[str, dict[str, nn.Module]] = {}
        for key, change in self.schedule.acting:
            method = REDUCTIONS[key]
            network = None if method.network is None else getattr(model, method.network, None)
            step = method.step(recipe.reductions[key], facts, change, network)
            self.steps[change.block, change.cut] = step
            if change.cut is Cut.EMBEDDING:
                self.add_module(key, step)
            else:
                by_key.setdefault(key, {})[str(change.block)] = step
        for key, steps in by_key.items():
            self.add_module(key, nn.ModuleDict(steps))
        self._decoder = None if recipe.decoder is None else Decoder(recipe.decoder)
        self.pool = next((REDUCTIONS[key].pooling(spec) for key, spec in recipe.reductions.items()), "mean")

    @property
    def model(self) -> nn.Module:
        """What it was made from."""
        return self._model[0]

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs."""
        return list(self.walk.input_names)

    @property
    def output_names(self) -> list[str]:
        """Names of all outputs, a decoder's last."""
        return [*self.exported_names, *(() if self.recipe.decoder is None else self.recipe.decoder.outputs)]

    @property
    def exported_names(self) -> list[str]:
        """Names of the model's own outputs, in the order that `forward` returns them."""
        names = list(self.walk.output_names)
        for key, change in self.schedule.acting:
            names += REDUCTIONS[key].output_names(self.recipe.reductions[key], self.schedule.facts, change)
        return list(dict.fromkeys(names))

    @property
    def decisions(self) -> list[str]:
        """Names of the outputs that tell which tokens were chosen, in order of depth."""
        specs = self.recipe.reductions
        return [name for key, change in self.schedule.acting for name in REDUCTIONS[key].decisions(specs[key], change)]

    @property
    def separate(self) -> str | None:
        """The decision at which a graph is cut in two (see `Reduction.separate`); None where it stays whole."""
        named = [REDUCTIONS[key].separate(spec) for key, spec in self.recipe.reductions.items()]
        return next((name for name in named if name is not None), None)

    @property
    def manifest(self) -> dict[str, object]:
        """Entries of manifest.json on patches and on what reductions do, for what follows tokens on a device."""
        facts = self.schedule.facts
        entries: dict[str, object] = {
            "grid": {"rows": facts.grid[-2], "columns": facts.grid[-1], "patch_size": facts.patch_size},
            "num_shared": 0,
            "prune": [],
            "merges": [],
        }
        if facts.windows > 1:
            entries["windows"] = facts.windows
        if (slid := self.walk.window_grid) is not None:
            entries["window_grid"] = {"size": slid.window, "rows": slid.rows, "columns": slid.columns}
        for key, changes in self.schedule.changes.items():
            acting = [change for change in changes if change.acts]
            entries |= REDUCTIONS[key].manifest(self.recipe.reductions[key], acting)
        return entries

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Zeros in the recipe's input form and shape, in the order of `input_names`."""
        spec = self.recipe.input
        first = torch.zeros(spec.shape, dtype=torch.float32 if spec.preprocess is None else torch.uint8)
        return (first,) if spec.context is None else (first, torch.zeros(spec.batch, *spec.context))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs in the recipe's form -> tensors in the order of `exported_names`."""
        outputs = self.trace(*inputs).outputs
        return tuple(outputs[name] for name in self.exported_names)

    def trace(
        self,
        *inputs: Tensor,
        imposed: Mapping[str, Tensor] | None = None,
        look: Collection[int] = (),
        watch: Callable[[int, Tensor, Trace], None] = lambda number, x, trace: None,
    ) -> Trace:
        """One pass with every decision kept; batched, with constant shapes.

        Args:
            inputs: In the recipe's form.
            imposed: See `Trace`.
            look: Blocks whose exits are asked what they see, whether tokens leave there or not; see `Trace.seen`.
            watch: Called with 0 and what enters block 1, (B, n, C), and then after every block with its number, the tokens that
                go on, and the trace as it is then.
        """
        trace, walk = Trace(imposed=imposed or {}), self.walk
        pixels, context = walk.begin(*inputs)
        share = self.steps.get((1, Cut.EMBEDDING))
        x = walk.embed(pixels) if share is None else walk.embed_patches(*share(pixels, walk.position, trace))
        trace.rotation = walk.rotation
        watch(0, x, trace)
        stages: dict[int, Tensor] = {}
        for number in range(1, self.schedule.facts.executed + 1):
            x = self._run_block(number, walk.block(number), x, context, trace)
            step = self.steps.get((number, Cut.EXIT))
            if step is not None or number in look:
                said = walk.exits[str(number)](x)
                if number in look:
                    trace.seen[number] = Seen(trace.alive, said.scores)
                if step is not None:
                    x = step(x, said.scores, said.rows, trace)
            if number in walk.reads:
                stages[number] = x
                if trace.origin is not None:
                    trace.origins[number] = trace.origin
            watch(number, x, trace)
        trace.outputs = {**walk.predict(stages, trace, self.pool), **trace.outputs}
        if self._decoder is not None and not torch.onnx.is_in_onnx_export():
            trace.outputs |= self._decoder(trace.outputs)
        return trace

    def _run_block(self, number: int, block: Block, x: Tensor, context: Tensor | None, trace: Trace) -> Tensor:
        for cut in (Cut.AROUND, Cut.BRANCHES):
            if (step := self.steps.get((number, cut))) is not None:
                return step(x, block, context, trace)
        between: Any = self.steps.get((number, Cut.BETWEEN))
        x, metric = block.attend(x, trace.bias, None if between is None else between.metric, trace.rotation)
        if between is not None:
            x = between(x, metric, trace)
        return block.finish(x, context)


def fixed_from_model(model: nn.Module, recipe: Recipe) -> FixedModel:
    """The fixed form of ``model``, in eval mode.

    Args:
        model: What `edgeexport.fixed.weights.model_from_recipe` returned.
        recipe: The recipe that it was built from.

    Raises:
        RecipeError: The recipe's counts do not fit the model.
    """
    return FixedModel(model, recipe).eval()
