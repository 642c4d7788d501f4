"""``edgeexport compare``: figures of two bundles side by side, and whether B keeps the conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle import open_bundle
from edgeexport.comparison.circumstances import differences, measured_elsewhere
from edgeexport.comparison.condition import SIDES, Condition, MetricOfBundle, condition_from_text
from edgeexport.comparison.difference import Difference
from edgeexport.comparison.form_names import form_names
from edgeexport.comparison.latency_change import LatencyChange
from edgeexport.comparison.metrics import (
    HEADLINES,
    RATIO_NAMES,
    VOCABULARY,
    BundleFigures,
    Metric,
    bundle_figures,
    is_row_statistic,
    source_of,
)
from edgeexport.comparison.ratio import FAILED, UNDECIDED, change_between, outcome_of, ratio_values
from edgeexport.errors import ComparisonError, MeasurementError, UsageError, nearest_hint

__all__ = ["SCHEMA", "BundleComparison", "JudgedCondition", "compare_bundles"]

SCHEMA = "edgeexport.comparison/1"


@dataclass(frozen=True)
class JudgedCondition:
    """A condition, the values that it was judged on, and the outcome: 'failed', which makes the comparison fail, 'ok', or
    'undecided' (see `edgeexport.comparison.ratio`).
    """

    condition: Condition
    values: Mapping[MetricOfBundle, float]
    outcome: str

    @property
    def failed(self) -> bool:
        """Whether it holds."""
        return self.outcome == FAILED

    @property
    def found(self) -> str:
        """Such as 'A.latency_p50_ms = 4.1, B.latency_p50_ms = 4.5'."""
        return ", ".join(f"{reference} = {value:.6g}" for reference, value in self.values.items())

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        values = {str(reference): value for reference, value in self.values.items()}
        return {"condition": self.condition.text, "failed": self.failed, "outcome": self.outcome, "values": values}


@dataclass(frozen=True)
class BundleComparison:
    """Two bundles compared.

    Attributes:
        a, b: What stands in them; A is what B is held against.
        conditions: As judged, in the order given.
        differences: Of build and measurement.
        latency: Change of the compute time with its interval; None where a bundle has no samples.
        strict: Whether what is undecided fails.
    """

    a: BundleFigures
    b: BundleFigures
    conditions: tuple[JudgedCondition, ...]
    differences: tuple[Difference, ...]
    latency: LatencyChange | None
    strict: bool = False

    @property
    def failed(self) -> tuple[JudgedCondition, ...]:
        """The conditions that hold."""
        return tuple(item for item in self.conditions if item.failed)

    @property
    def undecided(self) -> tuple[JudgedCondition, ...]:
        """Those that the measurements do not decide."""
        return tuple(item for item in self.conditions if item.outcome == UNDECIDED)

    @property
    def status(self) -> str:
        """'failed', 'undecided' (no difference shown) or 'passed'."""
        return "failed" if self.failed else "undecided" if self.undecided else "passed"

    @property
    def names(self) -> tuple[str, str]:
        """What A and B are called side by side."""
        return form_names(self.a.bundle.manifest, self.b.bundle.manifest)

    @property
    def error(self) -> ComparisonError | None:
        """What the command ends with (exit code 8); None where no condition holds, nor, if it is strict, is undecided."""
        bad = (*self.failed, *(self.undecided if self.strict else ()))
        if not bad:
            return None
        first, more = bad[0], len(bad) - 1
        verb = "fails" if first.failed else "leaves undecided, which --strict does not let pass,"
        problem = f"{verb} {first.condition.text} with {first.found}" + (f", and {more} more" if more else "")
        return ComparisonError(str(self.b.bundle.path), problem, f"compared with A, {self.a.bundle.path}")

    @property
    def shown(self) -> tuple[str, ...]:
        """Metrics for people: those that conditions name, then `HEADLINES` that a bundle has."""
        named = [reference.name for item in self.conditions for reference in item.values]
        named = [name for name in named if name not in RATIO_NAMES]
        known = [name for name in HEADLINES if name in self.a.metrics or name in self.b.metrics]
        return tuple(dict.fromkeys([*named, *known]))

    def ratio(self, name: str) -> float | None:
        """B's value over A's; None where one is missing or A's is 0."""
        a, b = self.a.metrics.get(name), self.b.metrics.get(name)
        return b.value / a.value if a is not None and b is not None and a.value else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, with every metric of either bundle."""
        names = sorted({*self.a.metrics, *self.b.metrics})
        return {
            "schema": SCHEMA,
            "status": self.status,
            "a": {**_side(self.a), "form": self.names[0]},
            "b": {**_side(self.b), "form": self.names[1]},
            "conditions": [item.as_dict() for item in self.conditions],
            "latency_change": None if self.latency is None else self.latency.as_dict(),
            "differences": [item.as_dict() for item in self.differences],
            "metrics": {name: self._metric(name) for name in names},
        }

    def _metric(self, name: str) -> dict[str, Any]:
        a, b = self.a.metrics.get(name), self.b.metrics.get(name)
        some = b or a
        assert some is not None
        return {
            "a": None if a is None else a.value,
            "b": None if b is None else b.value,
            "ratio": self.ratio(name),
            "source": some.source,
            "provenance": some.provenance,
        }


def compare_bundles(
    a: Path,
    b: Path,
    fail_if: Sequence[str] = (),
    *,
    allow_different: bool = False,
    allow_unstable: bool = False,
    strict: bool = False,
) -> BundleComparison:
    """Compares B with A.

    Args:
        a: The bundle that B is held against.
        b: The bundle in question.
        fail_if: Conditions that must not hold; see `edgeexport.comparison.condition`.
        allow_different: Judge measured figures of both even where board, power mode, clocks or backend differ, and those of
            verify.json even where it is of model.onnx and the bundle has an engine.
        allow_unstable: Judge measured figures even where the device changed during the measurement.
        strict: What the measurements leave undecided fails.

    Returns:
        The comparison; its ``error`` is to be raised once it has been shown.

    Raises:
        UsageError: A condition cannot be read, or names a metric that does not exist (exit code 2).
        MeasurementError: A condition's metric is missing in a bundle, is of an engine that is gone, was measured while the
            device changed, or under circumstances that cannot be compared (exit code 6).
        BundleError: No bundle, or a damaged one (exit code 9).
    """
    conditions = [condition_from_text(text) for text in fail_if]
    opened = {"A": open_bundle(a), "B": open_bundle(b)}
    sides = {name: bundle_figures(bundle) for name, bundle in opened.items()}
    different = differences(sides["A"], sides["B"])
    change = change_between(sides["A"], sides["B"])
    judged = []
    for condition in conditions:
        _check_names(condition, sides.values())
        ratios = ratio_values(condition, change)
        rest = [reference for reference in condition.references if reference not in ratios]
        metrics = {reference: _metric_of(condition, reference, sides) for reference in rest}
        _check_current(condition, metrics, sides, allow_different=allow_different)
        for name in SIDES if ratios else ():
            _check_file_current(condition, name, sides[name], "bench.json", "latency_p50_ms")
        measured = list(SIDES) if ratios else _measured_sides(metrics)
        if not allow_unstable:
            _check_stable(condition, {side: sides[side] for side in measured})
        if not allow_different and len(measured) > 1:
            _check_alike(condition, different)
        values = {**{reference: metric.value for reference, metric in metrics.items()}, **ratios}
        values = {reference: values[reference] for reference in condition.references}
        judged.append(JudgedCondition(condition, values, outcome_of(condition, values, change)))
    return BundleComparison(sides["A"], sides["B"], tuple(judged), different, change, strict)


def _check_names(condition: Condition, sides: Iterable[BundleFigures]) -> None:
    sides = list(sides)
    present = {name for side in sides for name in side.metrics}
    for reference in condition.references:
        name = reference.name
        # Of a file that a bundle lacks, nobody knows which names it would have.
        open_ended = source_of(name)[0] and name.startswith(("bench.", "evaluation.", "engine."))
        if name in present or name in VOCABULARY or is_row_statistic(name):
            continue
        if open_ended and not all(side.has_source(name) for side in sides):
            continue
        hint = nearest_hint(name, {*present, *VOCABULARY})
        if hint.startswith("known"):
            hint = f"such as {', '.join(HEADLINES[:3])}, tokens.macs, parity.cosine; compare --json lists all"
        raise UsageError(condition.where, f"there is no metric '{name}'", hint)


def _metric_of(condition: Condition, reference: MetricOfBundle, sides: Mapping[str, BundleFigures]) -> Metric:
    side = sides[reference.side]
    metric = side.metrics.get(reference.name)
    if metric is not None:
        return metric
    file, command = source_of(reference.name)
    where = f"{reference.side} {side.bundle.path}"
    why = f"{file} does not tell it" if side.has_source(reference.name) else f"there is no {file}"
    raise MeasurementError(
        condition.where,
        f"{reference.name} is missing in {where}: {why}",
        f"{command.format(bundle=side.bundle.path)} writes it" if command else "",
    )


def _check_current(
    condition: Condition,
    metrics: Mapping[MetricOfBundle, Metric],
    sides: Mapping[str, BundleFigures],
    *,
    allow_different: bool,
) -> None:
    """Refuses results of an engine that is gone, and a verification of model.onnx where an engine is what runs."""
    for reference, metric in metrics.items():
        figures, file = sides[reference.side], metric.source
        where = f"{reference.side} {figures.bundle.path}"
        again = source_of(reference.name)[1].format(bundle=figures.bundle.path)
        _check_file_current(condition, reference.side, figures, file, reference.name)
        if file == "verify.json" and figures.engine_not_verified and not allow_different:
            remedy = f"{again} checks the engine, with --host where it is elsewhere; or give --allow-different"
            raise MeasurementError(condition.where, f"{where}: {file} is {figures.engine_not_verified}", remedy)


def _check_file_current(condition: Condition, side: str, figures: BundleFigures, file: str, name: str) -> None:
    if file in figures.outdated:
        again = source_of(name)[1].format(bundle=figures.bundle.path)
        where = f"{side} {figures.bundle.path}"
        raise MeasurementError(condition.where, f"{where}: {file} is {figures.outdated[file]}", f"again: {again}")


def _measured_sides(metrics: Mapping[MetricOfBundle, Metric]) -> list[str]:
    """The bundles of which a condition uses figures of bench.json that were measured."""
    measured = (item for item in metrics.items() if (item[1].source, item[1].provenance) == ("bench.json", "measured"))
    return sorted({reference.side for reference, _ in measured})


def _check_stable(condition: Condition, measured: Mapping[str, BundleFigures]) -> None:
    for side, figures in measured.items():
        if figures.unstable:
            raise MeasurementError(
                condition.where,
                f"{side} {figures.bundle.path} was measured while the device changed: {figures.unstable}",
                f"edgeexport profile {figures.bundle.path} measures it again; --allow-unstable judges it all the same",
            )


def _check_alike(condition: Condition, differing: tuple[Difference, ...]) -> None:
    different = measured_elsewhere(differing)
    if different is not None:
        raise MeasurementError(
            condition.where,
            f"A and B were not measured alike: {different}",
            "profile both on the same device in the same power mode with the same clocks, or give --allow-different",
        )


def _side(figures: BundleFigures) -> dict[str, Any]:
    manifest = figures.bundle.manifest
    return {
        "path": str(figures.bundle.path),
        "name": figures.bundle.name,
        "target": manifest.get("target"),
        "precision": manifest.get("precision"),
        "device": None if figures.bench is None else figures.bench.get("device"),
        "backend": None if figures.bench is None else figures.bench.get("backend"),
    }
