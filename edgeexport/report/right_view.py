"""What parity found, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.report.comparison_view import VerifyView

__all__ = ["Answer", "right_answer"]

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """A question's answer: a word, how it is to be taken ('passed', 'warning', 'failed' or 'none'), and a sentence."""

    word: str
    tone: str
    text: str


def right_answer(parity: Json | None, verify: VerifyView | None) -> Answer:
    """Sums parity.json up: what was compared on which inputs, decisions, pixels and the largest error; then verify.json."""
    entries = () if parity is None else tuple(parity["comparisons"])
    made = [entry for entry in entries if entry["status"] in ("passed", "failed")]
    later = "" if verify is None else f" Verified after the build by {verify.runner}: {_words(verify.status)}."
    if not made:
        return Answer("not known", "warning", f"No comparison is recorded.{later}")
    failed = [entry for entry in made if entry["status"] == "failed"]
    if failed:
        first = failed[0]
        where = f"{first['check']}, on {', '.join(first['images'])}"
        count = f"{len(failed)} of {_count(len(made), 'comparison')} failed"
        return Answer("no", "failed", f"{count}; the first: {where}: {first['reason'] or 'see below'}.{later}")
    images = list(dict.fromkeys(image for entry in made for image in entry["images"]))
    text = f"{_count(len(made), 'comparison')} on {_count(len(images), 'input')} passed{_figures(made)}."
    skipped = len(entries) - len(made)
    text += f" {_count(skipped, 'comparison')} could not be made." if skipped else ""
    if verify is not None and verify.status == "failed":
        return Answer("no", "failed", f"At the build {text}{later}")
    return Answer("as compared", "passed", text + later)


def _figures(entries: Sequence[Json]) -> str:
    outputs = [item for entry in entries for item in entry["outputs"]]
    decisions = [item for entry in entries for item in entry["decisions"]]
    figures = []
    if decisions:
        equal = sum(bool(item["equal"]) for item in decisions)
        figures.append(f"{equal} of {_count(len(decisions), 'token decision')} equal")
    pixels = [item["agreement"] for item in outputs if item["agreement"] is not None]
    if pixels:
        least = min(pixels)
        figures.append("all pixels equal" if least == 1 else f"at least {100 * least:.4f} % of pixels equal")
    errors = [item["max_abs"] for item in outputs if item["max_abs"] is not None]
    if errors:
        figures.append(f"largest absolute error {max(errors):.1e}")
    return f": {', '.join(figures)}" if figures else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _words(status: str) -> str:
    return status.replace("-", " ")
