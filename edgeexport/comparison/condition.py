"""Conditions such as ``latency_p50_ms > 1.03*A``: parsed into comparisons and arithmetic, never executed as Python.

A bare name means B's value of that metric; ``A.name`` and ``B.name`` say whose value. ``A`` alone is A's value of the one
metric that the condition names, and ``B`` alone is B's.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgeexport.errors import MeasurementError, UsageError

__all__ = ["SIDES", "Condition", "MetricOfBundle", "condition_from_text"]

SIDES = ("A", "B")
_LONGEST = 500  # characters; Python's parser recurses
_EXAMPLE = 'write it like --fail-if "latency_p50_ms > 1.03*A"'
_ALLOWED = "expected metric names, A, B, numbers, + - * /, brackets and one comparison"

_LONE_EQUALS = re.compile(r"(?<![<>=!])=(?!=)")

_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SIGNS: dict[type[ast.unaryop], Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class MetricOfBundle:
    """A metric of one of the bundles; ``side`` is 'A' or 'B', ``name`` as in `edgeexport.comparison.metrics`."""

    side: str
    name: str

    def __str__(self) -> str:
        return f"{self.side}.{self.name}"


@dataclass(frozen=True)
class Condition:
    """What must not hold.

    Attributes:
        text: As given.
        references: Every value that it needs, in the order in which they stand, each once.
        tree: The comparison; only what `condition_from_text` lets through.
        metric: What ``A`` and ``B`` alone stand for; empty where the condition does not use them.
    """

    text: str
    references: tuple[MetricOfBundle, ...]
    tree: ast.Compare
    metric: str

    @property
    def where(self) -> str:
        """For messages."""
        return f'--fail-if "{self.text}"'

    def holds(self, value_of: Callable[[MetricOfBundle], float]) -> bool:
        """Whether the comparison is true, that is, whether the comparison of bundles fails.

        Args:
            value_of: Gives the value of each of ``references``.

        Raises:
            MeasurementError: It divides by zero, or leaves the range of numbers.
        """
        try:
            left = self._value(self.tree.left, value_of)
            for compared, right_tree in zip(self.tree.ops, self.tree.comparators, strict=True):
                right = self._value(right_tree, value_of)
                if not _COMPARISONS[type(compared)](left, right):
                    return False
                left = right
        except (ZeroDivisionError, OverflowError) as error:
            values = ", ".join(f"{reference} = {value_of(reference):g}" for reference in self.references)
            raise MeasurementError(
                self.where, f"cannot be computed ({error}) with {values or 'these numbers'}", "compare without dividing"
            ) from None
        return True

    def _value(self, tree: ast.expr, value_of: Callable[[MetricOfBundle], float]) -> float:
        if isinstance(tree, ast.BinOp):
            operate = _ARITHMETIC[type(tree.op)]
            result = operate(self._value(tree.left, value_of), self._value(tree.right, value_of))
            if not math.isfinite(result):
                raise OverflowError("result out of range")
            return result
        if isinstance(tree, ast.UnaryOp):
            return _SIGNS[type(tree.op)](self._value(tree.operand, value_of))
        if isinstance(tree, ast.Constant):
            assert isinstance(tree.value, (int, float))
            return float(tree.value)
        return value_of(_reference(tree, self.metric))


def condition_from_text(text: str) -> Condition:
    """Parses a condition; which metrics there are is not known here.

    Raises:
        UsageError: It is no comparison of metrics and numbers (exit code 2).
    """
    where = f'--fail-if "{text}"'
    if len(text) > _LONGEST:
        raise UsageError(
            f'--fail-if "{text[:40]}..."', f"has {len(text)} characters, expected {_LONGEST} at most", _EXAMPLE
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names = _checked_names(tree, where)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        hint = "write == for equality" if _LONE_EQUALS.search(text) else _EXAMPLE
        raise UsageError(where, "is no condition", hint) from None
    assert isinstance(tree, ast.Compare)
    metrics = list(dict.fromkeys(_split(name)[1] for name in names if name not in SIDES))
    alone = [name for name in names if name in SIDES]
    if not metrics:
        raise UsageError(where, "names no metric", _EXAMPLE)
    if alone and len(metrics) > 1:
        raise UsageError(
            where,
            f"{alone[0]} alone is the value of the one metric that a condition names; here are {', '.join(metrics)}",
            f"write whose value is meant, such as {alone[0]}.{metrics[0]}",
        )
    metric = metrics[0] if alone else ""
    references = dict.fromkeys(_reference_from_name(name, metric) for name in names)
    return Condition(text.strip(), tuple(references), tree, metric)


def _checked_names(tree: ast.expr, where: str) -> list[str]:
    """Dotted names from left to right; refuses everything else that Python can express."""
    if isinstance(tree, ast.BoolOp):
        raise UsageError(where, "joins conditions", "give --fail-if once for each of them")
    if not isinstance(tree, ast.Compare):
        raise UsageError(where, "compares nothing", _EXAMPLE)
    for compared in tree.ops:
        if type(compared) not in _COMPARISONS:
            raise UsageError(where, "compares with something else than < <= > >= == !=", _EXAMPLE)
    names: list[str] = []
    for part in (tree.left, *tree.comparators):
        names += _names_of(part, where)
    return names


def _names_of(tree: ast.expr, where: str) -> Iterator[str]:
    if isinstance(tree, (ast.Name, ast.Attribute)):
        name = _dotted(tree)
        if name is None:
            raise UsageError(where, f"holds '{ast.unparse(tree)}'; {_ALLOWED}", _EXAMPLE)
        yield name
    elif isinstance(tree, ast.BinOp) and type(tree.op) in _ARITHMETIC:
        yield from _names_of(tree.left, where)
        yield from _names_of(tree.right, where)
    elif isinstance(tree, ast.UnaryOp) and type(tree.op) in _SIGNS:
        yield from _names_of(tree.operand, where)
    elif not _is_number(tree):
        raise UsageError(where, f"holds '{ast.unparse(tree)}'; {_ALLOWED}", _EXAMPLE)


def _is_number(tree: ast.expr) -> bool:
    """Neither True, which is an int, nor 1e999, which is infinite."""
    value = tree.value if isinstance(tree, ast.Constant) else None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _dotted(tree: ast.expr) -> str | None:
    """``parity.cosine`` of the names and attributes that it is made of; None of anything else."""
    names: list[str] = []
    while isinstance(tree, ast.Attribute):
        names.append(tree.attr)
        tree = tree.value
    return ".".join([tree.id, *reversed(names)]) if isinstance(tree, ast.Name) else None


def _split(name: str) -> tuple[str, str]:
    """Side and metric: B's where the name does not say."""
    side, dot, rest = name.partition(".")
    return (side, rest) if dot and side in SIDES else ("B", name)


def _reference(tree: ast.expr, metric: str) -> MetricOfBundle:
    name = _dotted(tree)
    assert name is not None
    return _reference_from_name(name, metric)


def _reference_from_name(name: str, metric: str) -> MetricOfBundle:
    return MetricOfBundle(name, metric) if name in SIDES else MetricOfBundle(*_split(name))
