"""The recipe of what was chosen, and what was not tried."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeexport.calibration.merging_settings import MergingSetting
from edgeexport.calibration.recipe_text import recipe_text, relative_path
from edgeexport.recipe.schema import Recipe
from edgeexport.tune.prices import Prices
from edgeexport.tune.result import TuneResult

__all__ = ["not_tried", "tuned_recipe_text"]

_LINE = 110
_FILE = "policy_checkpoint"


def tuned_recipe_text(dense: Recipe, result: TuneResult, folder: Path, cfg_options: Sequence[str]) -> str:
    """A recipe in ``folder`` that extends the dense one by the chosen reduction; the rest is in its docstring."""
    chosen = result.chosen
    first = f"{dense.name} tuned for {result.target}: {chosen.form.name}."
    untried = " ".join(result.not_tried)
    said = [textwrap.fill(text, _LINE, break_long_words=False) for text in (result.statement, f"Not tried: {untried}")]
    build = f"edgeexport build {result.file.parent.name}/{dense.name}_tuned.py"
    how = f"edgeexport tune {result.bounds.text}; evidence in {result.file.name}."
    use = f"{build} --target {result.target} --precision {chosen.precision}"
    reduction = {key: _placed(value, dense, folder) for key, value in chosen.form.config.items()}
    return recipe_text(dense, reduction, folder, "\n\n".join([first, *said, how, use]), cfg_options)


def _placed(entry: Mapping[str, Any], dense: Recipe, folder: Path) -> dict[str, Any]:
    """Paths as the new file's folder names them."""
    file = entry.get(_FILE)
    return dict(entry) if file is None else {**entry, _FILE: relative_path(dense.path.parent / file, folder)}


def not_tried(
    dense: Recipe, settings: Sequence[MergingSetting], own: Sequence[str], prices: Prices, target: str
) -> tuple[str, ...]:
    """Sentences: what else could have been chosen, so that nobody takes it for the best there is."""
    delays = sorted({setting.delay for setting in settings if setting.method == "dsm"})
    found = [f"{method}: {reason}." for method, reason in sorted(prices.missing.items())]
    if delays:
        found.append(
            f"Delays of dsm other than {', '.join(map(str, delays))}; other windows than the recipe's default."
        )
    found += [
        "Merging that differs from block to block by more than one token; fewer tokens at the end than a quarter.",
        "INT8; methods that need training and that the recipe does not bring.",
    ]
    if prices.times is not None and prices.times.limits is not None:
        mode = prices.times.limits.ceilings.power_mode
        found.append(f"Other power modes than {mode}; a measurement on {target}.")
    if own:
        found.append("The recipe's own counts one by one: they were scaled together.")
    if dense.facts.rotary:
        found.append("DSM with rope='mean'.")
    return tuple(found)
