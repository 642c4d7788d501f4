"""Conditions on an interval: failed, ok, or no difference shown; what GitHub is told; forms of one recipe by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from comparison_cases import bench, write_bundle
from hypothesis import given
from hypothesis import strategies as st
from shared_cases import CommandResult

from edgeexport.bundle import sha256_of
from edgeexport.comparison.compare import compare_bundles
from edgeexport.comparison.condition import condition_from_text
from edgeexport.comparison.form_names import form_names
from edgeexport.comparison.latency_change import LatencyChange
from edgeexport.comparison.ratio import outcome_of, ratio_values
from edgeexport.errors import MeasurementError, UsageError

Command = Callable[..., CommandResult]
SLOWER = "latency.ratio_low > 1.03"


def measured(folder: Path, level: float, spread: float = 0.05, seed: int = 1) -> Path:
    samples = np.random.default_rng(seed).normal(level, spread, 100).round(4).tolist()
    return write_bundle(folder, bench=bench(level, samples=samples))


@pytest.mark.parametrize(
    ("level", "spread", "outcome", "codes"),
    [(11.0, 0.05, "failed", (8, 8)), (9.9, 0.05, "ok", (0, 0)), (10.3, 2.0, "undecided", (0, 8))],
)
def test_three_outcomes(
    tmp_path: Path, edgeexport: Command, level: float, spread: float, outcome: str, codes: tuple[int, int]
) -> None:
    sides = measured(tmp_path / "a", 10.0), measured(tmp_path / "b", level, spread, seed=2)
    summary = tmp_path / "summary.md"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        done = edgeexport("compare", *sides, "--fail-if", SLOWER, "--github", "--json")
    strict = edgeexport("compare", *sides, "--fail-if", SLOWER, "--strict")
    assert (done.code, strict.code) == codes
    found = json.loads(done.out)
    assert [item["outcome"] for item in found["conditions"]] == [outcome]
    assert found["status"] == {"ok": "passed"}.get(outcome, outcome)
    level_told = {"failed": "error", "ok": "notice", "undecided": "warning"}[outcome]
    assert done.err.startswith(f"::{level_told} title=edgeexport compare%3A ")
    word = {"undecided": "no difference shown"}.get(outcome, outcome)
    assert f"{word}: {SLOWER}" in strict.out and word in summary.read_text()


def test_what_a_ratio_needs(tmp_path: Path) -> None:
    a, bare = measured(tmp_path / "a", 10.0), write_bundle(tmp_path / "bare")
    with pytest.raises(MeasurementError, match="needs the samples of both"):
        compare_bundles(a, bare, [SLOWER])
    for text in ("A.latency.ratio > 1", "latency.ratio > A"):
        with pytest.raises(UsageError, match="is of both bundles"):
            compare_bundles(a, a, [text])
    with pytest.raises(UsageError, match=r"did you mean 'latency\.ratio_low'"):
        compare_bundles(a, a, ["latency.ratio_lo > 1"])
    other = write_bundle(tmp_path / "other", bench=bench(10.0, mode="MODE_15W", samples=[10.0 + i for i in range(20)]))
    with pytest.raises(MeasurementError, match="were not measured alike"):
        compare_bundles(a, other, [SLOWER])
    shaken = {"stable": False, "instabilities": ["throttled"]}
    unstable = write_bundle(tmp_path / "u", bench=bench(10.0, samples=[10.0 + i for i in range(20)], **shaken))
    with pytest.raises(MeasurementError, match="while the device changed"):
        compare_bundles(unstable, a, [SLOWER])


def test_a_measurement_in_alternating_blocks_comes_first(tmp_path: Path) -> None:
    a = measured(tmp_path / "a", 10.0)
    rows = {"compute": {"n": 400, "p50": 1.0}}
    baseline = {
        "bundle": {"manifest_sha256": sha256_of(a / "manifest.json")},
        "rows": {"baseline": rows, "candidate": rows},
        "speedup": {"estimate": 0.8, "low": 0.75, "high": 0.85, "confidence": 0.95},
    }
    samples = [10.0 + 0.01 * (number % 7) for number in range(60)]
    b = write_bundle(tmp_path / "b", bench=bench(10.0, samples=samples))
    document = json.loads((b / "bench.json").read_text())
    from dataclasses import replace

    from edgeexport.bundle import open_bundle
    from edgeexport.comparison.metrics import bundle_figures
    from edgeexport.comparison.ratio import change_between

    sides = [bundle_figures(open_bundle(path)) for path in (a, b)]
    paired = replace(sides[1], bench={**document, "baseline": baseline})
    change = change_between(sides[0], paired)
    assert change is not None and change.low == pytest.approx(1 / 0.85) and change.high == pytest.approx(1 / 0.75)
    elsewhere = {**baseline, "bundle": {"manifest_sha256": "0" * 64}}
    apart = change_between(sides[0], replace(sides[1], bench={**document, "baseline": elsewhere}))
    assert apart is not None and apart.samples == (100, 60)


@given(
    ends=st.tuples(*[st.floats(0.5, 2)] * 3).map(sorted),
    bound=st.floats(0.5, 2),
    name=st.sampled_from(["latency.ratio", "latency.ratio_low"]),
)
def test_outcomes_against_the_interval(ends: list[float], bound: float, name: str) -> None:
    low, middle, high = ends
    change = LatencyChange(middle, low, high, 0.95, (10, 10), "")
    condition = condition_from_text(f"{name} > {bound!r}")
    found = outcome_of(condition, ratio_values(condition, change), change)
    assert found == ("failed" if low > bound else "undecided" if high > bound else "ok")


def test_forms_of_one_recipe_have_names_of_their_own() -> None:
    def manifest(reduction: dict[str, object] | None, precision: str = "fp32", name: str = "deit") -> dict[str, object]:
        return {"name": name, "precision": precision, "recipe": {"model": {"depth": 3}, "reduction": reduction}}

    dense, eight, nine = manifest(None), manifest({"tome": {"r": 8}}), manifest({"tome": {"r": 9}})
    assert form_names(dense, eight) == ("deit (dense)", "deit (tome.r = 8)")
    assert form_names(eight, nine) == ("deit (tome.r = 8)", "deit (tome.r = 9)")
    assert form_names(dense, manifest(None, "fp16")) == ("deit (fp32)", "deit (fp16)")
    assert form_names(dense, dense) == ("deit", "deit")
    assert form_names(dense, manifest(None, name="other")) == ("deit", "other")
    many = manifest({"tome": {"r": 8}, "dsm": {"r": 1, "delay": 2, "window": 3}})
    assert form_names(dense, many)[1] == "deit (tome.r = 8, dsm.r = 1, dsm.delay = 2 and 1 more)"
