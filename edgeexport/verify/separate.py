"""A bundle of two graphs, each held to torch on its own: the policy's choice, and a model's outputs where it is given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeexport.backends.runner import Runner
from edgeexport.backends.separate import SeparateRunner
from edgeexport.fixed.model import FixedModel
from edgeexport.verify.compare import Comparison
from edgeexport.verify.golden_check import MODEL_CHECK, POLICY_CHECK
from edgeexport.verify.parity import compared
from edgeexport.verify.reference import Reference, compare_outputs

__all__ = ["part_comparisons"]


def part_comparisons(fixed: FixedModel, references: Sequence[Reference], runner: Runner) -> list[Comparison]:
    """Both graphs on every reference; nothing where ``runner`` has one graph.

    The policy's choice has to be torch's, near ties apart; the model is given torch's choice, whatever the policy took.
    """
    if not isinstance(runner, SeparateRunner):
        return []
    checks = (_policy_comparison, _model_comparison)
    return [check(fixed, reference, runner) for check in checks for reference in references]


def _policy_comparison(fixed: FixedModel, reference: Reference, runner: SeparateRunner) -> Comparison:
    name = runner.choice
    alone = replace(
        reference,
        outputs={name: reference.outputs[name]},
        decision_scores={name: reference.decision_scores[name]},
        decision_gaps={},
        near_tie=None,
    )
    returned = {name: runner.chosen(reference.batch.pixels)}
    pair = "torch fixed", f"{runner.policy.name} {runner.policy.version}"
    return compare_outputs(POLICY_CHECK, *pair, alone, returned, name, following=True)


def _model_comparison(fixed: FixedModel, reference: Reference, runner: SeparateRunner) -> Comparison:
    batch = reference.batch
    given = {**batch.extra, runner.choice: reference.outputs[runner.choice]}
    pair = "torch fixed", f"{runner.name} {runner.version}"
    return compared(fixed, MODEL_CHECK, pair, reference, runner.run(batch.pixels, given), one_by_one=False)
