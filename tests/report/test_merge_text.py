from __future__ import annotations

from typing import Any

import pytest

from edgeexport.report.merge_text import merge_text


def _merge(block: int, r: int, **changes: Any) -> dict[str, Any]:
    return {"block": block, "r": r, "kind": "alternate", "window": 0, "dense": None, **changes}


@pytest.mark.parametrize(
    ("merges", "text"),
    [
        ([], ""),
        ([_merge(3, 13)], "13 tokens merged in block 3"),
        ([_merge(block, 13) for block in range(1, 13)], "13 tokens merged in each of blocks 1 to 12"),
        (
            [_merge(1, 15), _merge(2, 13), _merge(4, 1)],
            "29 tokens merged in blocks 1 to 2, 4: 15, 13, 1",
        ),
        (
            [_merge(3 + n, 5, kind="windows", window=7 + n) for n in range(2)] + [_merge(5, 5)],
            "5 tokens merged in each of blocks 3 to 5, inside windows of 7 x 7 to 8 x 8 tokens in blocks 3 to 4",
        ),
        (
            [_merge(block, 312, dense="tome") for block in (1, 2)],
            "312 tokens merged in each of blocks 1 to 2, and unmerged after it",
        ),
        (
            [_merge(1, 2048, kind="cells", dense="sd")],
            "2,048 tokens merged in block 1, into one token of every 2 x 2 cell, around every residual branch",
        ),
    ],
)
def test_merges_in_words(merges: list[dict[str, Any]], text: str) -> None:
    assert merge_text(merges) == text
