"""What a calibration of counts writes: the evidence as JSON, the plots, and a recipe with the counts proposed."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.counts_outcome import CountsOutcome
from edgeexport.calibration.exits import ExitPoint
from edgeexport.calibration.plots import CountPanel, ExitPanel, QualityPoint, draw_counts, draw_exits, draw_quality
from edgeexport.calibration.proposal import Form, counts_text
from edgeexport.calibration.recipe_text import recipe_text, relative_path
from edgeexport.errors import UsageError

__all__ = ["CountsFiles", "counts_recipe_text", "write_counts_files"]

_QUALITY = {"mIoU": "mIoU, %", "agreement": "pixels with the dense model's class, %"}


@dataclass(frozen=True)
class CountsFiles:
    """Paths of what was written; ``exits`` is None without labels or stages."""

    recipe: Path
    evidence: Path
    counts: Path
    quality: Path
    exits: Path | None

    def as_dict(self) -> dict[str, str | None]:
        """JSON-ready form."""
        return {name: None if path is None else str(path) for name, path in vars(self).items()}


def write_counts_files(outcome: CountsOutcome, folder: Path) -> CountsFiles:
    """Writes ``calibration.json``, the plots and ``<recipe>_calibrated.py`` into ``folder``.

    Raises:
        UsageError: The folder cannot be written.
    """
    files = CountsFiles(
        recipe=folder / f"{outcome.recipe.name}_calibrated.py",
        evidence=folder / "calibration.json",
        counts=folder / "counts.png",
        quality=folder / "quality.png",
        exits=folder / "exits.png" if _exit_panels(outcome) else None,
    )
    text = counts_recipe_text(outcome, folder)
    title = f"{outcome.recipe.name}, {outcome.proposal.images} images, {outcome.weights['statement']}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draw_counts(_count_panels(outcome), title, files.counts)
        _draw_quality(outcome, title, files.quality)
        if files.exits is not None:
            draw_exits(_exit_panels(outcome), title, files.exits)
        else:
            (folder / "exits.png").unlink(missing_ok=True)  # an earlier run's would belong to nothing here
        files.evidence.write_text(json.dumps(outcome.as_dict(), indent=1) + "\n", encoding="utf-8")
        files.recipe.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise UsageError(str(folder), problem, "free some space or give another --out-dir") from error
    return files


def counts_recipe_text(outcome: CountsOutcome, folder: Path) -> str:
    """A recipe in ``folder`` that extends the calibrated one with the counts proposed; the dense model's where that wins."""
    proposal = outcome.proposal
    recipe = recipe_with_counts(outcome.recipe, proposal.proposed.counts)
    reduction: dict[str, object] = {}
    cts, dtop = recipe.reduction.cts, recipe.reduction.dtop
    if cts is not None:
        reduction["cts"] = {"num_shared": cts.num_shared, "align_tokens": cts.align_tokens}
        if cts.policy_checkpoint is not None:
            reduction["cts"]["policy_checkpoint"] = relative_path(cts.policy_checkpoint, folder)  # type: ignore[index]
    if dtop is not None:
        reduction["dtop"] = {"prune": dict(dtop.prune), "protect_per_class": dtop.protect_per_class}
    what = counts_text(proposal.proposed.counts) if proposal.worth else "the dense model, which wins"
    description = f"{recipe.name} calibrated: {what} ({' -> '.join(map(str, _tokens(outcome)))} tokens)."
    said = textwrap.fill(proposal.statement, 110, break_long_words=False, break_on_hyphens=False)
    how = f"edgeexport calibrate {proposal.request.text}; evidence in calibration.json."
    return recipe_text(recipe, reduction, folder, f"{description}\n\n{said}\n\n{how}", outcome.cfg_options)


def _tokens(outcome: CountsOutcome) -> tuple[int, ...]:
    dense, form = outcome.proposal.dense, outcome.proposal.proposed
    return form.tokens if not form.counts.num_shared else (*dense.tokens[:1], *form.tokens)


def _count_panels(outcome: CountsOutcome) -> list[CountPanel]:
    panels = []
    for place in outcome.places:
        if not place.available:
            continue
        name = "windows to share" if place.block == 0 else f"prunable after block {place.block}"
        theta = "" if place.theta is None or place.block == 0 else f", confidence > {place.theta:g}"
        panels.append(CountPanel(f"{name}{theta}", place.available, place.chosen, place.exact))
    return panels


def _draw_quality(outcome: CountsOutcome, title: str, path: Path) -> None:
    proposal = outcome.proposal
    scale, label = (1e9, "GMAC per image") if proposal.unit == "MACs" else (1.0, "ms per image")
    blocks = [place.block for place in outcome.places]

    def point(counts: Counts, cost: float, quality: float) -> QualityPoint:
        values = tuple(counts.pruned_after(block) if block else counts.num_shared for block in blocks)
        return QualityPoint(cost / scale, quality, values)

    def of_form(form: Form) -> QualityPoint | None:
        return None if form.quality is None else point(form.counts, form.cost, form.quality)

    dense = of_form(proposal.dense)
    assert dense is not None  # every method measures it
    limit = outcome.limit
    if limit is not None and limit[0] == "cost":
        limit = ("cost", limit[1] / scale)
    draw_quality(
        [point(item.counts, item.cost, item.quality) for item in outcome.evaluated],
        [point(item.counts, item.cost, item.quality) for item in outcome.pareto],
        dense=dense,
        chosen=of_form(proposal.chosen),
        # Their cost in milliseconds is in no table: what runs depends on the image.
        adaptive=[
            (form.macs / scale, form.quality)
            for form in (proposal.adaptive, proposal.equal_mean)
            if form is not None and proposal.unit == "MACs"
        ],
        axes_names=["windows shared" if block == 0 else f"tokens pruned after block {block}" for block in blocks],
        cost_label=label,
        quality_label=_QUALITY[proposal.measure],
        limit=limit,
        title=title,
        path=path,
    )


def _exit_panels(outcome: CountsOutcome) -> list[ExitPanel]:
    panels = []
    for found in outcome.exits:
        theta = outcome.thresholds.get(found.block)
        panels.append(
            ExitPanel(
                title=f"after block {found.block}",
                fixed=_curve(found.fixed),
                adaptive=_curve(found.equal_mean),
                chosen=outcome.proposal.chosen.counts.pruned_after(found.block),
                threshold=theta,
                adaptive_mean=None if theta is None else found.adaptive_at(theta).mean_count,
            )
        )
    return panels


def _curve(points: tuple[ExitPoint, ...]) -> tuple[tuple[float, float], ...]:
    """(mean tokens pruned, percent wrong), ascending, of settings that prune anything."""
    known = {(point.mean_count, 100 * point.wrong_share) for point in points if point.wrong_share is not None}
    return tuple(sorted(known))
