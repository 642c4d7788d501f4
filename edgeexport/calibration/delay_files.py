"""What `edgeexport calibrate --delay` writes: the evidence as JSON, the plot, and a recipe with the proposed delay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle.files import replaced_file, write_file
from edgeexport.calibration.delay import DelayEvidence
from edgeexport.calibration.recipe_text import recipe_text
from edgeexport.evaluation.output_folder import written_to
from edgeexport.recipe.schema import Recipe

__all__ = ["DelayFiles", "delay_recipe_text", "write_delay_files"]


@dataclass(frozen=True)
class DelayFiles:
    """Paths of what was written; ``recipe`` is None where the recipe given merges nothing or the similarity never rises."""

    evidence: Path
    plot: Path
    recipe: Path | None


def write_delay_files(
    recipe: Recipe, evidence: DelayEvidence, weights: str, folder: Path, cfg_options: Sequence[str] = ()
) -> DelayFiles:
    """Writes ``delay.json``, ``delay.png`` and ``<recipe>_delay.py`` into ``folder``, which is made if missing.

    Args:
        recipe: As loaded with ``cfg_options``.
        evidence: What the proposal rests on.
        weights: A statement of where they are from.
        folder: Where to write.
        cfg_options: What they changed is in the recipe that is written.

    Raises:
        UsageError: The folder cannot be written.
    """
    text = delay_recipe_text(recipe, evidence, folder, cfg_options)
    files = DelayFiles(
        folder / "delay.json", folder / "delay.png", None if text is None else folder / f"{recipe.name}_delay.py"
    )
    document = {"recipe": recipe.name, "weights": weights, **evidence.as_dict()}
    with written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(files.evidence, json.dumps(document, indent=1) + "\n")
        _draw(evidence, f"{recipe.name}: {weights}", files.plot)
        if text is not None and files.recipe is not None:
            write_file(files.recipe, text)
    return files


def delay_recipe_text(
    recipe: Recipe, evidence: DelayEvidence, folder: Path, cfg_options: Sequence[str] = ()
) -> str | None:
    """A recipe that extends the given one with DSM at the proposed delay; None where that would mean nothing."""
    key = next((key for key in ("dsm", "tome") if key in recipe.reductions), None)
    if key is None or not evidence.rises:
        return None
    merge = recipe.reductions[key]
    # Written out, for the command line may have changed the base's.
    options: dict[str, Any] = {"r": list(merge.r), "delay": evidence.delay}
    own = ("window", "growth") if key == "dsm" else ()
    options |= {name: getattr(merge, name) for name in (*own, "proportional_attention", "pool", "metric")}
    counts = f"{evidence.delay} blocks without merging, proposed on {len(evidence.images)} images"
    return recipe_text(recipe, {"dsm": options}, folder, f"{recipe.name} with DSM: {counts}.", cfg_options)


def _draw(evidence: DelayEvidence, title: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    blocks = list(range(evidence.similarity.shape[1]))
    for row in evidence.similarity:
        axes.plot(blocks, row, color="#9aa4b0", linewidth=0.8)
    count = len(evidence.images)
    axes.plot(blocks, evidence.mean, color="#2f7d6d", linewidth=2.2, marker="o", label=f"mean of {count} images")
    axes.axvspan(-0.5, evidence.delay + 0.5, color="#ffe9b3", alpha=0.5, label=f"no merging: delay {evidence.delay}")
    axes.set_xlim(-0.5, blocks[-1] + 0.5)
    axes.set_xticks(blocks)
    axes.set_xlabel("block (0: the embedding)")
    axes.set_ylabel("mean cosine of token pairs")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False)
    with replaced_file(path) as stream:
        figure.savefig(stream, format="png", dpi=130)
