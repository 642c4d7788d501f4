"""Fixtures of the tests of pictures."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import ImageDraw


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn (not only measured), in order."""
    texts: list[str] = []
    plain = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: Any, words: str, *rest: Any, **options: Any) -> None:
        if self.im.size != (1, 1):
            texts.append(words)
        plain(self, xy, words, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts
