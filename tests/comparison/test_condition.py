"""Conditions of `edgeexport compare`: what they mean, and that nothing else of Python gets through."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexport.comparison.condition import MetricOfBundle, condition_from_text
from edgeexport.errors import MeasurementError, UsageError

VALUES = {
    MetricOfBundle("A", "latency_p50_ms"): 10.0,
    MetricOfBundle("B", "latency_p50_ms"): 10.5,
    MetricOfBundle("A", "tokens.macs"): 200.0,
    MetricOfBundle("B", "tokens.macs"): 100.0,
}


def holds(text: str) -> bool:
    return condition_from_text(text).holds(VALUES.__getitem__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency_p50_ms > 1.03*A", True),
        ("latency_p50_ms > 1.05*A", False),
        ("latency_p50_ms >= 1.05*A", True),
        ("A*1.03 < latency_p50_ms", True),
        ("B.latency_p50_ms > A.latency_p50_ms + 0.4", True),
        ("latency_p50_ms > A + 0.5", False),
        ("A - B == -0.5*latency_p50_ms/latency_p50_ms", True),
        ("(latency_p50_ms - A) / A > 0.04", True),
        ("latency_p50_ms / A.latency_p50_ms > tokens.macs / A.tokens.macs", True),
        ("9 < latency_p50_ms < 11", True),
        ("9 < latency_p50_ms < 10", False),
        ("latency_p50_ms != B", False),
        ("-latency_p50_ms <= -10", True),
        ("2 + 3*latency_p50_ms > 33.4", True),
        ("(2 + 3)*latency_p50_ms > 52.6", False),
        ("  latency_p50_ms > 1e1  ", True),
    ],
)
def test_meaning(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_names_are_found_on_their_sides() -> None:
    condition = condition_from_text("latency_p50_ms > 1.03*A")
    assert condition.references == (MetricOfBundle("B", "latency_p50_ms"), MetricOfBundle("A", "latency_p50_ms"))
    condition = condition_from_text("parity.cosine < 0.999")
    assert condition.references == (MetricOfBundle("B", "parity.cosine"),)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("+-*/"), min_size=1, max_size=4),
    st.lists(st.integers(1, 50), min_size=5, max_size=5),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
)
def test_arithmetic_is_that_of_numbers(signs: list[str], numbers: list[int], comparison: str) -> None:
    """Precedence and association against Python's own evaluation of the same numbers."""
    text = str(numbers[0]) + "".join(f" {sign} {number}" for sign, number in zip(signs, numbers[1:], strict=False))
    compare = {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
    }
    assert holds(f"tokens.macs {comparison} {text}") is compare[comparison](100.0, float(eval(text)))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') > 1",
        "latency_p50_ms.__class__() > 1",
        "open > abs(1)",
        "[x for x in (1,)] > 1",
        "(lambda: 1) > 1",
        "x[0] > 1",
        "latency_p50_ms ** 2 > 1",
        "latency_p50_ms // 2 > 1",
        "latency_p50_ms % 2 > 1",
        "~latency_p50_ms > 1",
        "not latency_p50_ms > 1",
        "latency_p50_ms > True",
        "latency_p50_ms > 'a'",
        "latency_p50_ms > 1j",
        "latency_p50_ms > 1e999",
        "latency_p50_ms > " + "9" * 400,
        "latency_p50_ms in A",
        "latency_p50_ms is A",
        "latency_p50_ms > (A if A else B)",
        "(latency_p50_ms > 1) + 1 > 0",
        "(y := latency_p50_ms) > 1",
        "f'{latency_p50_ms}' > 1",
        "latency_p50_ms > 1 and latency_p50_ms < 3",
        "latency_p50_ms",
        "1 < 2",
        "A > 1",
        "latency_p50_ms = 3",
        "latency_p50_ms >",
        "",
        "\x00",
        "latency_p50_ms > 1; import os",
        "(" * 300 + "latency_p50_ms",
        "latency_p50_ms > " + "1+" * 400 + "1",
        "latency_p50_ms > A + tokens.macs",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        condition_from_text(text).holds(VALUES.__getitem__)
    assert refused.value.exit_code == 2
    assert "--fail-if" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency_p50_ms = 3", "write =="),
        ("latency_p50_ms > 1 and latency_p50_ms < 3", "once for each"),
        ("latency_p50_ms > A + tokens.macs", "such as A.latency_p50_ms"),
        ("latency_p50_ms", "compares nothing"),
        ("latency_p50_ms > max(A, 3)", "'max(A, 3)'"),
    ],
)
def test_refusals_say_what_to_write(text: str, expected: str) -> None:
    with pytest.raises(UsageError, match=r"--fail-if") as refused:
        condition_from_text(text)
    assert expected in str(refused.value)


@pytest.mark.parametrize("text", ["latency_p50_ms / (A - 10) > 1", "latency_p50_ms * 1e308 * 1e308 > 1"])
def test_what_cannot_be_computed_is_an_error(text: str) -> None:
    with pytest.raises(MeasurementError, match="cannot be computed") as refused:
        holds(text)
    assert "B.latency_p50_ms = 10.5" in str(refused.value)
    assert refused.value.exit_code == 6
