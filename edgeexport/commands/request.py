"""What a build is asked for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexport.device.targets import Target, target_named
from edgeexport.errors import UsageError
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
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
    return BuildRequest(load_recipe(recipe, cfg_options, checkpoint), chosen, precision, plugins, tuple(keep_fp32))


def default_work_dir(recipe: Recipe, target: str, precision: str) -> Path:
    """Where a build goes without --work-dir."""
    return Path("work_dirs") / f"{recipe.name}-{target}-{precision}"
