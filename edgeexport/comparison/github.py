"""A comparison for GitHub Actions: an annotation for each condition, and the Markdown in the job's summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeexport.comparison.compare import BundleComparison
from edgeexport.comparison.markdown import markdown_from_comparison
from edgeexport.errors import UsageError

__all__ = ["SUMMARY_VARIABLE", "append_summary", "github_annotations"]

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
"""Names the file to which a step of a job appends its summary."""

_LEVELS = {"failed": "error", "undecided": "warning", "ok": "notice"}
_WORDS = {"failed": "failed", "undecided": "no difference shown", "ok": "ok"}
_ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTIES = {**_ESCAPES, ":": "%3A", ",": "%2C"}


def github_annotations(comparison: BundleComparison) -> Iterator[str]:
    """A workflow command a line: ``::error title=...::...``; the runner reads them from either stream of a step."""
    for item in comparison.conditions:
        level = "error" if item.outcome == "undecided" and comparison.strict else _LEVELS[item.outcome]
        title = f"edgeexport compare: {_WORDS[item.outcome]}"
        message = f"{comparison.names[1]}: {item.condition.text} ({item.found})"
        yield f"::{level} title={_escaped(title, _IN_PROPERTIES)}::{_escaped(message, _ESCAPES)}"


def append_summary(comparison: BundleComparison, environ: Mapping[str, str]) -> None:
    """Appends the Markdown to the step's summary; nothing where the environment names no file for it.

    Raises:
        UsageError: The file cannot be written.
    """
    named = environ.get(SUMMARY_VARIABLE, "")
    if not named:
        return
    try:
        with Path(named).open("a", encoding="utf-8") as stream:
            stream.write(markdown_from_comparison(comparison))
    except OSError as error:
        problem = f"cannot be appended to: {error.strerror or error}"
        raise UsageError(named, problem, f"{SUMMARY_VARIABLE} names it") from error


def _escaped(text: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in text)
