"""A report explains its words as the glossary does."""

from __future__ import annotations

import re
from pathlib import Path

from report_cases import manifest, merge_manifest

from edgeexport.report.words import WORDS, words_of_page

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"


def glossary() -> dict[str, str]:
    """Term -> meaning, without marks and line breaks."""
    entries = re.findall(
        r"^\*\*(.+?)\*\*\n:   (.+?)(?=\n\n|\Z)", GLOSSARY.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return {term: " ".join(re.sub(r"[*`]", "", meaning).split()) for term, meaning in entries}


def test_words_mean_what_the_glossary_says() -> None:
    told = glossary()
    assert len(told) > 30
    assert {word: told.get(word) for word in WORDS} == dict(WORDS)


def test_only_words_of_the_page_are_explained() -> None:
    parts = {"tokens": True, "prediction": True, "plans": False, "engine": False}
    hybrid = words_of_page(manifest(), **parts)
    assert {"share", "prune", "policy network", "uncertified", "power mode"} <= set(hybrid)
    assert not {"merge", "kernel plan", "engine"} & set(hybrid)
    merging = words_of_page(merge_manifest(), **parts)
    assert "merge" in merging and not {"share", "prune", "uncertified"} & set(merging)
