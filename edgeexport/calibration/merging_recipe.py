"""The recipe that a calibration of merging proposes, and what it does not know because it was not tried."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexport.calibration.merging_candidate import MergingCandidate
from edgeexport.calibration.merging_settings import MergingSetting
from edgeexport.calibration.recipe_text import recipe_text
from edgeexport.evaluation.fidelity_result import Figure
from edgeexport.recipe.schema import Recipe

if TYPE_CHECKING:
    from edgeexport.calibration.merging import MergingCalibration

__all__ = ["merging_recipe_text", "not_tried", "statement"]

_LINE = 110


def merging_recipe_text(
    dense: Recipe, chosen: MergingCandidate, result: MergingCalibration, folder: Path, cfg_options: Sequence[str]
) -> str:
    """A recipe in ``folder`` that extends the calibrated one by what was chosen; the rest is in its docstring."""
    reduction = {chosen.method: chosen.setting.reduction(chosen.r)}
    first = f"{dense.name} calibrated: {chosen.setting.name}, {_work(chosen, result)}."
    untried = " ".join(result.not_tried)
    said = [textwrap.fill(text, _LINE, break_long_words=False) for text in (statement(result), f"Not tried: {untried}")]
    how = f"edgeexport calibrate {result.request.text}; evidence in {result.file.name}."
    return recipe_text(dense, reduction, folder, "\n\n".join([first, *said, how]), cfg_options)


def statement(result: MergingCalibration) -> str:
    """What is proposed, what it loses on how many images, and whether random merging loses as much."""
    chosen = result.chosen
    if chosen is None:
        said = f"{result.reason[:1].upper()}{result.reason[1:]}."
        return f"{said} It rests on {result.tried[0].images} images." if result.tried else said
    r = chosen.r if isinstance(chosen.r, int) else list(chosen.r)
    sentences = [f"{chosen.setting.name} with r = {r}: {_work(chosen, result)}, on {chosen.images} images."]
    if chosen.cosines:
        name, worst = min(chosen.cosines.items(), key=lambda item: item[1].mean)
        sentences.append(f"Lowest mean cosine to the dense model: {_ends(worst, 4)} ({name}).")
    if chosen.drop is not None:
        sentences.append(f"Points of {chosen.drop.measure} lost: {_ends(chosen.drop.figure, 2)}.")
        if result.request.kind == "max-drop" and chosen.drop.high > result.request.value:
            sentences.append(
                f"The interval reaches beyond the {result.request.value:g} allowed: more images would tell."
            )
    if not result.beats_floor and result.floor is not None:
        sentences.append("Random merging at equal cost is as good, as far as these images tell.")
    rivals = [item.setting.name for item in result.equal if item is not result.floor]
    for names, said in (
        ([name for name in rivals if name in result.better_than], "At equal cost it loses less than {}"),
        (
            [name for name in rivals if name not in result.better_than],
            "These images do not tell it from {} at equal cost",
        ),
    ):
        sentences += [f"{said.format(', '.join(names))}."] if names else []
    if result.similarity:
        sentences.append(result.similarity)
    sentences.append("Chosen and measured on the same images: on others expect a little less.")
    return " ".join(sentences)


def not_tried(dense: Recipe, settings: Sequence[MergingSetting], left_out: Sequence[MergingSetting]) -> tuple[str, ...]:
    """Sentences: what else could have been chosen, so that nobody takes the proposal for the best there is."""
    delays = sorted({setting.delay for setting in settings if setting.method == "dsm"})
    windows = sorted({value for setting in settings for key, value in setting.options if key == "window" and value})
    shown = " or ".join(f"{side} x {side}" for side in windows) or "none"
    found = [
        f"Delays other than {', '.join(map(str, delays))}, and first windows other than {shown} or none, growing by 1.",
        "r that falls or rises from block to block, beyond one token; a metric other than the keys'; attention without sizes.",
        "Seeds of random merging other than the default; FP16 and engines (edgeexport evaluate measures a bundle).",
    ]
    if dense.facts.rotary:
        found.append("DSM with rope='mean': its rotary positions are those of the destination.")
    if left_out:
        names = ", ".join(setting.name for setting in left_out)
        found.append(f"At this cost, because they cannot merge as much: {names}.")
    return tuple(found)


def _work(chosen: MergingCandidate, result: MergingCalibration) -> str:
    work = f"{chosen.macs / 1e9:.3f} of {result.dense_macs / 1e9:.3f} GMAC"
    return work if result.unit == "MACs" else f"{work}, {chosen.cost:.3f} of {result.dense_cost:.3f} ms by the table"


def _ends(figure: Figure, digits: int) -> str:
    if figure.interval is None:
        return f"{figure.mean:.{digits}f} on one image"
    low, high = figure.interval.low, figure.interval.high
    return f"{figure.mean:.{digits}f} (95 % interval {low:.{digits}f} to {high:.{digits}f})"
