"""What a build is asked for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.targets import Target, target_named
from edgeexport.errors import RecipeError, UsageError
from edgeexport.fixed.schedule import token_schedule
from edgeexport.graph.operator_rules import TOPK_LIMIT
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.verify.tolerances import tolerances_of

__all__ = ["BuildRequest", "default_work_dir", "request_from_arguments"]


@dataclass(frozen=True)
class BuildRequest:
    """A recipe, where it is to run, in what precision ('fp32' or 'fp16'), whether model.trt.onnx asks for plugins, and patterns
    of nodes whose results stay in float32 with 'fp16'.
    """

    recipe: Recipe
    target: Target
    precision: str
    plugins: bool
    keep_fp32: tuple[str, ...] = ()


def request_from_arguments(
    recipe: str | Path,
    target: str,
    precision: str = "fp32",
    cfg_options: Sequence[str] = (),
    checkpoint: Path | None = None,
    plugins: bool = True,
    keep_fp32: Sequence[str] = (),
) -> BuildRequest:
    """Checks the arguments of a build before anything is computed.

    Raises:
        UsageError, RecipeError, CheckpointError: Exit code 2.
    """
    chosen = target_named(target)
    tolerances_of(precision)
    if keep_fp32 and precision != "fp16":
        problem = f"has no meaning with --precision {precision}, where everything is float32"
        raise UsageError("--keep-fp32", problem, "give --precision fp16 as well, or leave it out")
    loaded = load_recipe(recipe, cfg_options, checkpoint)
    if chosen.needs_tensorrt:
        _check_sorts(loaded)
    return BuildRequest(loaded, chosen, precision, plugins, tuple(keep_fp32))


def _check_sorts(recipe: Recipe) -> None:
    """Refuses what the lint would find after an export that takes minutes: more tokens in a row than TensorRT's TopK sorts.

    Raises:
        RecipeError: See above.
    """
    schedule = token_schedule(recipe)
    for key, change in schedule.acting:
        longest = REDUCTIONS[key].longest_sort(recipe.reductions[key], schedule.facts, change)
        if longest > TOPK_LIMIT:
            height, width = schedule.facts.image
            raise RecipeError(
                str(recipe.place_of(key)),
                f"sorts {longest} tokens of {height} x {width} pixels, TensorRT's TopK at most {TOPK_LIMIT}",
                "predict by windows: model.test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(512, 512)), or use a "
                "smaller input.shape",
            )


def default_work_dir(recipe: Recipe, target: str, precision: str) -> Path:
    """Where a build goes without --work-dir."""
    return Path("work_dirs") / f"{recipe.name}-{target}-{precision}"
