"""Two graphs as one runner, and a choice that is kept for the frames behind it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexport.backends.runner import NodeTime, Timing
from edgeexport.backends.separate import ReusedChoice, SeparateRunner, every_nth
from edgeexport.errors import UsageError


class _Policy:
    """Chooses the frame's own number; counts how often it is asked."""

    name, version, output_names = "stub", "1", ("choice",)

    def __init__(self) -> None:
        self.asked = 0

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        self.asked += 1
        assert not extra
        return {"choice": image[:, :1].astype(np.int32)}

    def timed(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> Timing:
        return Timing(1.0, None, 0.25, 2.0)

    def node_times(self, image: NDArray, extra: Mapping[str, NDArray] | None = None, runs: int = 10) -> list[NodeTime]:
        return [NodeTime("conv", "Conv", float(runs))]


class _Model(_Policy):
    """Gives out the frame and what it was given."""

    output_names = ("y",)

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        assert extra is not None and set(extra) == {"choice"}
        return {"y": np.concatenate([image[:, :1], extra["choice"]], axis=1)}

    def timed(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> Timing:
        assert extra is not None and "choice" in extra
        return Timing(3.0, 0.5, 0.25, 4.0)


def _runner() -> SeparateRunner:
    return SeparateRunner(_Policy(), _Model(), "choice")


def _frames(first: int, count: int) -> NDArray:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def test_the_policy_runs_ahead_unless_a_choice_is_given() -> None:
    runner, image = _runner(), _frames(5, 2)
    assert list(runner.output_names) == ["y", "choice"]
    assert runner.run(image)["y"].tolist() == [[5, 5], [6, 6]]
    given_choice = runner.run(image, {"choice": np.array([[7], [8]], np.int32)})
    assert given_choice["y"].tolist() == [[5, 7], [6, 8]] and given_choice["choice"].tolist() == [[7], [8]]
    assert runner.policy.asked == 1


def test_times_are_of_both_unless_a_choice_is_given() -> None:
    runner, image = _runner(), _frames(0, 1)
    assert runner.timed(image) == Timing(4.0, None, 0.5, 6.0)
    assert runner.timed(image, {"choice": np.zeros((1, 1), np.int32)}) == Timing(3.0, 0.5, 0.25, 4.0)
    assert [item.ms for item in runner.node_times(image, runs=3)] == [3.0, 3.0]


@given(every=st.integers(2, 5), batches=st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=12))
def test_every_frame_has_the_choice_of_the_nth_before_it(every: int, batches: list[tuple[int, bool]]) -> None:
    """Against a list of all frames; a batch that is not full has copies behind, which do not count."""
    runner = _runner()
    reused = ReusedChoice(runner, every)
    frame, asked = 0, 0
    for count, anew in batches:
        if anew:
            reused.begin()
            frame = 0
        image = np.concatenate([_frames(frame, count), np.full((3 - count, 1), 99, np.float32)])
        found = reused.run(image, count)["y"][:count].tolist()
        expected = [[number, number // every * every] for number in range(frame, frame + count)]
        assert found == expected
        asked += any(number % every == 0 for number in range(frame, frame + count))
        frame += count
    assert runner.policy.asked == asked  # no more often than once for a batch that needs it


def test_what_cannot_be_asked_every_nth_time() -> None:
    assert every_nth(_runner(), 1, "b") is None
    assert every_nth(_Model(), 1, "b") is None
    with pytest.raises(UsageError, match=r"--policy-every 0 \| expected 1 or more"):
        every_nth(_runner(), 0, "b")
    with pytest.raises(
        UsageError, match=r"--policy-every 2 \| b has its policy network, if any, inside the model's graph"
    ):
        every_nth(_Model(), 2, "b")
