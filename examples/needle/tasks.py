"""Prompts with a needle: a pair of values in text, the colours of one of several pictures, what changed between two.

Every prompt has three pictures of 2 x 2 coloured tiles, the third being the second with one tile changed, and a text in which
three keys stand with two values each. The question comes last. Pictures are noisy and unevenly lit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.inputs.prompt import LaidOutPrompt, image_patches, laid_out_prompt
from examples.needle.words import COLOURS, FILLERS, IDS, IMAGE, KEYS, PLACES, TILES, VALUES

__all__ = ["ANSWER", "GRID", "LENGTH", "TASKS", "Sample", "Scene", "drawn_sample", "drawn_scene", "picture_ids"]

TASKS = ("text", "image", "change")
LENGTH = 56
ANSWER = 2
GRID = (4, 4)  # patches of a picture; 2 x 2 visual tokens
_RGB = np.array(
    [
        (200, 40, 40),
        (40, 160, 60),
        (50, 70, 200),
        (220, 200, 50),
        (230, 230, 230),
        (25, 25, 25),
        (130, 50, 150),
        (230, 130, 30),
    ],
    np.float64,
)
_TILE = 28


@dataclass(frozen=True)
class Sample:
    """One question.

    Attributes:
        task: One of `TASKS`.
        prompt: Laid out in `LENGTH` places.
        pixels: float32 (48, 1176), patches of the three pictures.
        answer: Two ids.
    """

    task: str
    prompt: LaidOutPrompt
    pixels: NDArray
    answer: tuple[int, int]


def picture_ids(place: str) -> list[int]:
    """A picture in a prompt: which it is, and a token for every tile."""
    return [IDS[place], IDS["<picture>"], *[IMAGE] * 4, IDS["</picture>"]]


@dataclass(frozen=True)
class Scene:
    """Pictures and a text, and every question that can be asked of them: (task, words of it, words of the answer)."""

    ids: tuple[int, ...]
    pixels: NDArray
    questions: tuple[tuple[str, tuple[str, ...], tuple[str, str]], ...]


def drawn_scene(rng: np.random.Generator) -> Scene:
    """A scene without a question."""
    tiles = rng.integers(0, len(COLOURS), (3, 4))
    tiles[2] = tiles[1]
    changed = int(rng.integers(4))
    tiles[2, changed] = (tiles[1, changed] + rng.integers(1, len(COLOURS))) % len(COLOURS)
    keys = rng.choice(len(KEYS), 3, replace=False)
    values = rng.integers(0, len(VALUES), (3, 2))
    words = [FILLERS[n] for n in rng.integers(0, len(FILLERS), int(rng.integers(6, 15)))]
    for n in range(3):
        at = int(rng.integers(0, len(words) + 1))
        while at < len(words) and words[at].startswith("value"):  # never between a key and its values
            at += 1
        words[at:at] = [KEYS[keys[n]], VALUES[values[n, 0]], VALUES[values[n, 1]]]
    questions: list[tuple[str, tuple[str, ...], tuple[str, str]]] = []
    for n in range(3):
        questions.append(("text", ("tell", KEYS[keys[n]], "?"), (VALUES[values[n, 0]], VALUES[values[n, 1]])))
        questions.append(("image", ("show", PLACES[n], "?"), (COLOURS[tiles[n, 0]], COLOURS[tiles[n, 1]])))
    questions.append(("change", ("change", "?"), (TILES[changed], COLOURS[tiles[2, changed]])))
    ids = [IDS["<begin>"]]
    for place in PLACES:
        ids += picture_ids(place)
    ids += [IDS[word] for word in words]
    return Scene(tuple(ids), np.concatenate([_patches(rng, tiles[n]) for n in range(3)]), tuple(questions))


def drawn_sample(rng: np.random.Generator, task: str) -> Sample:
    """A scene with one question of this kind."""
    scene = drawn_scene(rng)
    asked = [(question, answer) for kind, question, answer in scene.questions if kind == task]
    question, answer = asked[int(rng.integers(len(asked)))]
    ids = [*scene.ids, *(IDS[word] for word in question)]
    prompt = laid_out_prompt(ids, LENGTH, image_token=IMAGE, grids=(GRID,) * 3, merge=2, axes=3)
    return Sample(task, prompt, scene.pixels, (IDS[answer[0]], IDS[answer[1]]))


def _patches(rng: np.random.Generator, colours: NDArray) -> NDArray:
    """A picture of four tiles, noisy and lit from one side."""
    tiles = _RGB[colours].reshape(2, 2, 3).repeat(_TILE, 0).repeat(_TILE, 1)
    light = 1 + 0.15 * rng.uniform(-1, 1) * np.linspace(-1, 1, 2 * _TILE)[:, None, None]
    noisy = np.clip(tiles * light + rng.normal(0, 12, tiles.shape), 0, 255).astype(np.uint8)
    return image_patches(Image.fromarray(noisy), GRID, 14, 2, 2)
