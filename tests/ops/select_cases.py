"""Stages of DToP for the tests of TokenProtectSelect: small ones full of ties, and what a brute force makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["Stage", "brute_force", "random_stage", "stages"]


@dataclass(frozen=True)
class Stage:
    """The op's arguments."""

    scores: Tensor
    x: Tensor
    rows: Tensor
    alive: Tensor
    k: int
    per_class: int

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"scores": self.scores, "x": self.x, "rows": self.rows, "alive": self.alive}

    def half(self) -> Stage:
        return Stage(self.scores.half(), self.x.half(), self.rows.half(), self.alive, self.k, self.per_class)


def random_stage(
    batch: int,
    classes: int,
    tokens: int,
    k: int,
    per_class: int,
    *,
    width: int = 8,
    row_width: int = 5,
    levels: int = 10**6,
    seed: int = 0,
) -> Stage:
    """``levels`` different scores, exact in float16 up to 1024; every row tells its token."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (batch, classes, tokens), generator=generator) / levels
    x, rows = (torch.randn(batch, tokens, columns, generator=generator) for columns in (width, row_width))
    alive = torch.stack([torch.randperm(2 * tokens, generator=generator)[:tokens] for _ in range(batch)])
    return Stage(scores, x, rows, alive.to(torch.int32)[:, :, None], k, per_class)


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    """One to three images of up to 40 tokens; mostly few levels, so that ties decide."""
    tokens = draw(st.integers(2, 40))
    return random_stage(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 12)),
        tokens,
        draw(st.integers(1, tokens - 1)),
        draw(st.integers(1, 6) | st.just(tokens + 1)),
        width=draw(st.integers(1, 9)),
        row_width=draw(st.integers(1, 9)),
        levels=draw(st.sampled_from([1, 2, 4, 1024])),
        seed=draw(st.integers(0, 2**16)),
    )


def brute_force(stage: Stage) -> tuple[Tensor, ...]:
    """Token by token, in lists and Python's sort."""
    kept_rows: list[list[Tensor]] = [[], [], [], []]
    for image, scores in enumerate(stage.scores.float()):
        columns = scores.T.tolist()
        label = [column.index(max(column)) for column in columns]
        order = sorted(range(len(columns)), key=lambda token: (-max(columns[token]), token))
        guarded = {
            token
            for place, token in enumerate(order)
            if sum(label[other] == label[token] for other in order[:place]) < stage.per_class
        }
        # In float32, as the op has it: where protection has lowered a score, near ones may become equal.
        priority = [float(torch.tensor(max(columns[t])) - 2.0 * (t in guarded)) for t in range(len(columns))]
        left = set(sorted(range(len(columns)), key=lambda token: (-priority[token], token))[: stage.k])
        parts = [[t for t in range(len(columns)) if t not in left], sorted(left)]
        for place, (values, part) in enumerate(
            ((stage.x, parts[0]), (stage.rows, parts[1]), (stage.alive, parts[0]), (stage.alive, parts[1]))
        ):
            kept_rows[place].append(torch.stack([values[image, token] for token in part]))
    return tuple(torch.stack(images) for images in kept_rows)
