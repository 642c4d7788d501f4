"""The made-up documents of this folder's tests have the form of those that edgeexport writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measured_cases
import pytest
from report_cases import with_values
from shared_cases import CommandResult

QUICK = ("--warmUp", "1", "--duration", "0.02", "--iterations", "2", "--allow-unstable")
# Keyed by what was found on a device: versions of what ran, percentiles, files of an engine, facts of a comparison.
OPEN = {"versions", "files", "facts", "attributed_by"}


@pytest.mark.parametrize(
    ("built", "values", "message"),
    [
        ({"a": 1}, {"b": 1}, r"no build writes \['b'\] in x"),
        ({"a": {"b": "t"}}, {"a": {"b": 1}}, r"builds write str as x.a.b, not 1"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"c": 1}]}, r"no build writes \['c'\] in x.a\[\]"),
        ({"a": {}}, {"a": []}, r"builds write dict as x.a"),
        ({"a": True}, {"a": "yes"}, r"builds write bool as x.a"),
    ],
)
def test_a_case_that_no_build_writes_is_refused(built: Any, values: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        with_values(built, values, "x")


def test_a_case_keeps_what_it_does_not_name() -> None:
    built = {"a": [{"b": 1, "c": 2}], "d": None, "e": "x", "f": [1]}
    found = with_values(built, {"a": [{"b": 3.5}, {"b": 4}], "d": 7, "e": None, "f": []})
    assert found == {"a": [{"b": 3.5, "c": 2}, {"b": 4, "c": 2}], "d": 7, "e": None, "f": []}


def differences(case: Any, real: Any, where: str) -> list[str]:
    """Names that only one of them has, and values of other types; None and empty lists say nothing."""
    if case is None or real is None:
        return []
    if isinstance(case, dict) and isinstance(real, dict):
        found = [f"{where}.{name}" for name in sorted(case.keys() ^ real.keys())]
        return found + [line for name in case.keys() & real.keys() - OPEN
                        for line in differences(case[name], real[name], f"{where}.{name}")]  # fmt: skip
    if isinstance(case, list) and isinstance(real, list):
        return [line for item in case[:1] for other in real[:1] for line in differences(item, other, f"{where}[]")]
    same = type(case) is type(real) or all(isinstance(value, (int, float)) for value in (case, real))
    return [] if same else [f"{where}: {case!r}, {real!r}"]


def test_measured_documents_are_as_commands_leave_them(
    tiny_bundle: Path, tmp_path: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    done = edgeexport("profile", bundle, "--baseline", tiny_bundle, *QUICK)
    assert done.code == 0, done.err
    assert edgeexport("build", bundle, "--target", "cpu", "--threads", "1").code == 0
    assert edgeexport("verify", bundle).code == 0
    cases = {"bench": measured_cases.orin_bench(), "engine": measured_cases.engine(), "verify": measured_cases.verify()}
    for name, case in cases.items():
        assert differences(case, json.loads((bundle / f"{name}.json").read_text()), name) == []
