"""The model that a bundle was built from: its recipe again, and whether its weights are at hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle import Bundle, sha256_of
from edgeexport.errors import UsageError
from edgeexport.recipe.schema import Recipe

__all__ = ["GivenWeights", "original_recipe", "why_no_original"]


@dataclass(frozen=True)
class GivenWeights:
    """Files given for a bundle's weights."""

    checkpoint: Path | None
    policy: Path | None

    def check(self, origin: Mapping[str, Any]) -> None:
        """Refuses a file that the bundle was not built from.

        Args:
            origin: ``weights`` of the bundle's manifest.

        Raises:
            UsageError: Another file, or a file where the bundle has none.
        """
        for option, given, name, expected in (
            ("--checkpoint", self.checkpoint, origin["file"], origin["sha256"]),
            ("--policy-checkpoint", self.policy, origin["policy_file"], origin["policy_sha256"]),
        ):
            if given is None:
                continue
            if expected is None:
                raise UsageError(f"{option} {given}", f"the bundle has {origin['statement']}", f"leave {option} out")
            if not given.is_file():
                raise UsageError(f"{option} {given}", "no such file", f"give the path of {name}")
            found = sha256_of(given)
            if found != expected:
                raise UsageError(
                    f"{option} {given}",
                    f"sha256 {found[:12]}..., the bundle was built from {expected[:12]}...",
                    f"give the {name} that the bundle was built from",
                )


def why_no_original(bundle: Bundle, files: GivenWeights) -> str:
    """What keeps the original model from being built here; empty where nothing does."""
    missing = [name for name in ("torch", "timm", "mmengine") if not _installed(name)]
    if missing:
        return f"{', '.join(missing)} not installed (pip install 'edgeexport[export]')"
    weights = bundle.manifest["weights"]
    if weights["policy_file"] is not None and files.policy is None:
        return f"the weights {weights['policy_file']} are not in the bundle; give them with --policy-checkpoint"
    if weights["origin"] == "checkpoint" and files.checkpoint is None:
        return f"the weights {weights['file']} are not in the bundle; give them with --checkpoint"
    return ""


def original_recipe(bundle: Bundle, files: GivenWeights) -> Recipe:
    """The recipe of a bundle's manifest with the weights that were given.

    Raises:
        RecipeError: The manifest's recipe is none.
    """
    from edgeexport.recipe.validation import recipe_from_config  # here: the rest also runs on a device

    config: dict[str, Any] = _with_integer_blocks(bundle.manifest["recipe"])
    config["checkpoint"] = None
    if files.policy is not None:
        cts = {**config["reduction"]["cts"], "policy_checkpoint": str(files.policy.absolute())}
        config["reduction"] = {**config["reduction"], "cts": cts}
    return recipe_from_config(config, bundle.path.absolute() / "manifest.json", "", files.checkpoint)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # an import hook may refuse it
        return False


def _with_integer_blocks(recipe: dict[str, Any]) -> dict[str, Any]:
    """JSON turns the block numbers of ``prune`` into strings; turns them back, without changing the argument."""
    result = dict(recipe)
    reduction = dict(result.get("reduction") or {})
    dtop = reduction.get("dtop")
    if dtop and dtop.get("prune"):
        reduction["dtop"] = {**dtop, "prune": {int(block): k for block, k in dtop["prune"].items()}}
    result["reduction"] = reduction
    return result
