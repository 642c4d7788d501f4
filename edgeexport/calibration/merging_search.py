"""The search behind a calibration of merging: which ways are measured with how many tokens merged, and which is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeexport.calibration.merging_candidate import MergingCandidate, best_of
from edgeexport.calibration.merging_request import MergingRequest
from edgeexport.calibration.merging_settings import MergingCosts, MergingSetting
from edgeexport.calibration.merging_trials import MergingTrials
from edgeexport.errors import UsageError

__all__ = ["Found", "searched"]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        chosen, reason, largest, compared: See `edgeexport.calibration.merging.MergingCalibration`.
        others: Ways at costs as near as can be to the chosen one's, the floor apart.
        left_out: Ways that cannot be brought to the cost in question.
    """

    chosen: MergingCandidate | None
    reason: str
    largest: tuple[MergingCandidate, ...]
    compared: tuple[MergingCandidate, ...]
    others: tuple[MergingCandidate, ...]
    left_out: tuple[MergingSetting, ...]


def searched(
    trials: MergingTrials, costs: MergingCosts, settings: Sequence[MergingSetting], request: MergingRequest
) -> Found:
    """The cheapest that keeps a bound, or the best within a budget.

    Args:
        trials, costs: Of one dense recipe.
        settings: Ways to try; under a bound the first is the one whose largest r the others are compared at.
        request: What was asked for.

    Raises:
        UsageError: No way comes within the budget; see `MergingTrials.measured`.
    """
    return (_under_a_budget if request.is_budget else _under_a_bound)(trials, costs, settings, request)


def _under_a_bound(
    trials: MergingTrials, costs: MergingCosts, settings: Sequence[MergingSetting], request: MergingRequest
) -> Found:
    first, *others = settings
    tome = trials.largest(first)
    reference = _where_to_compare(trials, costs, first, tome)
    compared: list[MergingCandidate] = []
    if reference is not None:
        at = {setting: merged for setting in others if (merged := costs.nearest(setting, reference)) is not None}
        compared = [trials.measured(setting, merged) for setting, merged in at.items()]
    best = best_of(compared, request)
    dsm = None if best is None else trials.largest(best.setting)
    largest = tuple(item for item in (tome, dsm) if item is not None)
    chosen = min(largest, key=lambda item: item.cost, default=None)
    if chosen is None:
        return Found(None, f"no method keeps {request.text} and saves work", (), tuple(compared), (), ())
    rest = [setting for setting in (first, *([best.setting] if best else [])) if setting != chosen.setting]
    equal = [
        trials.measured(setting, merged)
        for setting in rest
        if (merged := costs.nearest(setting, chosen.cost)) is not None
    ]
    measured = {item.setting for item in compared}
    left_out = tuple(setting for setting in others if setting not in measured)
    return Found(chosen, "", largest, tuple(compared), tuple(equal), left_out)


def _where_to_compare(
    trials: MergingTrials, costs: MergingCosts, tome: MergingSetting, found: MergingCandidate | None
) -> float | None:
    """At ToMe's cost; where it keeps no bound, at that of one token in every block. None where it is not taken at all."""
    return found.cost if found is not None else costs.cost(tome, costs.blocks(tome))


def _under_a_budget(
    trials: MergingTrials, costs: MergingCosts, settings: Sequence[MergingSetting], request: MergingRequest
) -> Found:
    if costs.of_dense <= request.value:
        return Found(None, f"the dense model fits {request.text} as it is", (), (), (), ())
    fits = {setting: merged for setting in settings if (merged := costs.within(setting, request.value)) is not None}
    if not fits:
        least = costs.least(settings)
        if not least:
            raise UsageError(costs.dense.name, "takes no method that merges", "give a model that edgeexport merges in")
        setting = min(least, key=lambda item: least[item])
        shown = f"{least[setting] / 1e9:.3f}e9" if costs.model.unit == "MACs" else f"{least[setting]:.3f}"
        raise UsageError(request.text, f"is below what any merging comes to: {shown} by {setting.name}", "allow more")
    compared = [trials.measured(setting, merged) for setting, merged in fits.items()]
    chosen = best_of(compared, request)
    others = tuple(item for item in compared if item is not chosen)
    left_out = tuple(setting for setting in settings if setting not in fits)
    return Found(chosen, "", (), tuple(compared), others, left_out)
