"""The vocabulary: words of a closed language, one token each."""

from __future__ import annotations

__all__ = ["COLOURS", "FILLERS", "IDS", "IMAGE", "KEYS", "PLACES", "TILES", "VALUES", "VOCABULARY"]

COLOURS = ("red", "green", "blue", "yellow", "white", "black", "purple", "orange")
TILES = ("topleft", "topright", "bottomleft", "bottomright")
PLACES = ("first", "second", "third")
KEYS = tuple(f"key{n}" for n in range(16))
VALUES = tuple(f"value{n}" for n in range(16))
_COMMON = "the a of and to in it is was for on with as at by from or an be this that which one all were"
FILLERS = tuple(_COMMON.split())

_SPECIAL = ("<pad>", "<begin>", "<image>", "<picture>", "</picture>", "<end>", "tell", "show", "change", "?")
_WORDS = (*_SPECIAL, *PLACES, *TILES, *COLOURS, *KEYS, *VALUES, *FILLERS)
IDS = {word: number for number, word in enumerate(_WORDS)}
IMAGE = IDS["<image>"]
VOCABULARY = 96
assert len(_WORDS) <= VOCABULARY
