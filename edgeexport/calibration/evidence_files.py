"""What a calibration of counts writes: the evidence as JSON, the plots, and a recipe with the counts proposed."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

from edgeexport.bundle.files import write_file
from edgeexport.calibration.counts import recipe_with_counts
from edgeexport.calibration.outcome import CalibrationOutcome
from edgeexport.calibration.plots import draw_counts, draw_exits, draw_quality
from edgeexport.calibration.proposal import counts_text
from edgeexport.calibration.recipe_text import recipe_text, relative_path
from edgeexport.evaluation.output_folder import written_to
from edgeexport.reductions.cts import CtsSpec

__all__ = ["EvidenceFiles", "counts_recipe_text", "write_evidence"]

_QUALITY = {"mIoU": "mIoU, %", "agreement": "pixels with the dense model's class, %"}


@dataclass(frozen=True)
class EvidenceFiles:
    """Paths of what was written; ``exits`` is None without labels or stages, ``counts`` without any threshold."""

    recipe: Path
    evidence: Path
    counts: Path | None
    quality: Path
    exits: Path | None

    def as_dict(self) -> dict[str, str | None]:
        """JSON-ready form."""
        return {name: None if path is None else str(path) for name, path in vars(self).items()}


def write_evidence(outcome: CalibrationOutcome, folder: Path) -> EvidenceFiles:
    """Writes ``calibration.json``, the plots and ``<recipe>_calibrated.py`` into ``folder``.

    Raises:
        UsageError: The folder cannot be written.
    """
    files = EvidenceFiles(
        recipe=folder / f"{outcome.recipe.name}_calibrated.py",
        evidence=folder / "calibration.json",
        counts=folder / "counts.png" if any(constant.available for constant in outcome.constants) else None,
        quality=folder / "quality.png",
        exits=folder / "exits.png" if outcome.exits else None,
    )
    text = counts_recipe_text(outcome, folder)
    title = f"{outcome.recipe.name}, {outcome.proposal.images} images, {outcome.weights['statement']}"
    with written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("counts.png", "exits.png"):
            (folder / name).unlink(missing_ok=True)  # an earlier run's would belong to nothing here
        if files.counts is not None:
            draw_counts(outcome.constants, title, files.counts)
        _draw_quality(outcome, title, files.quality)
        if files.exits is not None:
            draw_exits(outcome.exits, outcome.proposal.chosen.counts, outcome.thresholds, title, files.exits)
        write_file(files.evidence, json.dumps(outcome.as_dict(), indent=1) + "\n")
        write_file(files.recipe, text)
    return files


def counts_recipe_text(outcome: CalibrationOutcome, folder: Path) -> str:
    """A recipe in ``folder`` that extends the calibrated one with the counts proposed; the dense model's where that wins."""
    proposal = outcome.proposal
    recipe = recipe_with_counts(outcome.recipe, proposal.proposed.counts)
    reduction: dict[str, object] = {}
    cts, dtop = (recipe.reductions.get(key) for key in ("cts", "dtop"))
    if cts is not None:
        reduction["cts"] = {"num_shared": cts.num_shared, "align_tokens": cts.align_tokens}
        if cts.policy != CtsSpec.policy:
            reduction["cts"]["policy"] = cts.policy  # type: ignore[index]
        if cts.policy_checkpoint is not None:
            reduction["cts"]["policy_checkpoint"] = relative_path(cts.policy_checkpoint, folder)  # type: ignore[index]
    if dtop is not None:
        reduction["dtop"] = {"prune": dict(dtop.prune), "protect_per_class": dtop.protect_per_class}
    what = counts_text(proposal.proposed.counts) if proposal.worth else "the dense model, which wins"
    description = f"{recipe.name} calibrated: {what} ({' -> '.join(map(str, _tokens(outcome)))} tokens)."
    said = textwrap.fill(proposal.statement, 110, break_long_words=False, break_on_hyphens=False)
    how = f"edgeexport calibrate {proposal.request.text}; evidence in calibration.json."
    return recipe_text(recipe, reduction, folder, f"{description}\n\n{said}\n\n{how}", outcome.cfg_options)


def _tokens(outcome: CalibrationOutcome) -> tuple[int, ...]:
    dense, proposed = outcome.proposal.dense, outcome.proposal.proposed
    return (*dense.tokens[:1], *proposed.tokens) if proposed.counts.num_shared else proposed.tokens


def _draw_quality(outcome: CalibrationOutcome, title: str, path: Path) -> None:
    proposal = outcome.proposal
    draw_quality(
        outcome.evaluated,
        dense=proposal.dense,
        chosen=proposal.chosen,
        # Their cost in milliseconds is in no table: what runs depends on the image.
        published=[
            (figures.macs, figures.quality)
            for figures in (proposal.published, proposal.equal_mean)
            if figures is not None and proposal.unit == "MACs"
        ],
        blocks=[constant.block for constant in outcome.constants],
        unit=proposal.unit,
        quality_label=_QUALITY[proposal.measure],
        limit=outcome.limit,
        title=title,
        path=path,
    )
