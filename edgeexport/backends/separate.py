"""Two graphs of a bundle as one: the policy network's, and the model's, which is given its choice. Runs without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.runner import NodeTime, Runner, Timing
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import UsageError

__all__ = ["ReusedChoice", "SeparateRunner", "every_nth", "runner_of_parts"]


@dataclass
class SeparateRunner:
    """The policy ahead of the model, image by image; whoever has a choice already gives it, and the policy does not run.

    Attributes:
        policy: Image -> choice.
        model: Image and choice -> outputs.
        choice: Name of the choice, int32 (B, S), among the outputs of this runner.
        name, version: Of the model's runtime.
    """

    policy: Runner
    model: Runner
    choice: str
    name: str = field(init=False)
    version: str = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.version = self.model.name, self.model.version

    @property
    def output_names(self) -> list[str]:
        """The model's, and the choice."""
        return [*self.model.output_names, self.choice]

    def chosen(self, image: NDArray) -> NDArray:
        """The policy's choice alone."""
        return self.policy.run(image)[self.choice]

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        """See `Runner`; ``extra`` may hold the choice."""
        given = self._given(image, extra)
        return {**self.model.run(image, given), self.choice: given[self.choice]}

    def timed(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> Timing:
        """Both, one after the other: a policy that runs for every image. With a choice in ``extra`` the model alone."""
        if self.choice in (extra or {}):
            return self.model.timed(image, extra)
        first, second = self.policy.timed(image), self.model.timed(image, self._given(image, extra))
        return Timing(
            first.compute_ms + second.compute_ms,
            _sum(first.enqueue_ms, second.enqueue_ms),
            _sum(first.transfer_ms, second.transfer_ms),
            first.end_to_end_ms + second.end_to_end_ms,
        )

    def node_times(self, image: NDArray, extra: Mapping[str, NDArray] | None = None, runs: int = 10) -> list[NodeTime]:
        """The policy's nodes, then the model's."""
        given = self._given(image, extra)
        return [*self.policy.node_times(image, None, runs), *self.model.node_times(image, given, runs)]

    def _given(self, image: NDArray, extra: Mapping[str, NDArray] | None) -> dict[str, NDArray]:
        further = dict(extra or {})
        return further if self.choice in further else {**further, self.choice: self.chosen(image)}


class ReusedChoice:
    """The choice of every n-th frame of a video, kept for the frames behind it.

    Args:
        runner: Of a bundle whose policy is a graph of its own.
        every: n; 1 asks the policy for every frame.
    """

    def __init__(self, runner: SeparateRunner, every: int) -> None:
        self.runner, self.every = runner, every
        self._frame = 0
        self._kept: NDArray | None = None

    def begin(self) -> None:
        """The next frame is the first of another video."""
        self._frame = 0

    def run(self, image: NDArray, frames: int | None = None) -> dict[str, NDArray]:
        """`Runner.run` on a batch of consecutive frames, of which the first ``frames`` count (None: all)."""
        rows = range(image.shape[0] if frames is None else frames)
        asked = [row for row in rows if (self._frame + row) % self.every == 0]
        fresh = self.runner.chosen(image) if asked else None
        taken = []
        for row in range(image.shape[0]):
            if fresh is not None and row in asked:
                self._kept = fresh[row]
            assert self._kept is not None  # frame 0 asks
            taken.append(self._kept)
        self._frame += len(rows)
        return self.runner.run(image, {self.runner.choice: np.stack(taken)})


def every_nth(runner: Runner, every: int, where: str) -> ReusedChoice | None:
    """How a policy is asked every n-th frame; None where it is asked for all.

    Raises:
        UsageError: ``every`` is below 1, or the bundle (``where``) has one graph.
    """
    if every < 1:
        raise UsageError(f"--policy-every {every}", "expected 1 or more", "1 asks the policy network for every image")
    if every == 1:
        return None
    if not isinstance(runner, SeparateRunner):
        problem = f"{where} has its policy network, if any, inside the model's graph"
        raise UsageError(f"--policy-every {every}", problem, 'build it with reduction.cts.policy="separate"')
    return ReusedChoice(runner, every)


def runner_of_parts(
    folder: Path,
    inner: Mapping[str, Sequence[TensorInfo]],
    choice: str | None,
    threads: int = 0,
    prepacked: bool = True,
) -> Runner:
    """What runs a bundle's graphs in ONNX Runtime: the model's, behind the policy's where that is a graph of its own.

    Args:
        folder: Of the graphs.
        inner: Stem of a graph's file ('policy', 'model') -> inner values that it returns as well.
        choice: What the policy gives the model; None where there is none.
        threads: For ONNX Runtime; 0 lets it choose.
        prepacked: As for `OnnxRuntimeRunner`.

    Raises:
        UsageError: ONNX Runtime is not installed. BuildError: It refuses a graph.
    """
    runners = {
        stem: OnnxRuntimeRunner(folder / f"{stem}.onnx", extra_outputs=values, threads=threads, prepacked=prepacked)
        for stem, values in inner.items()
    }
    return runners["model"] if choice is None else SeparateRunner(runners["policy"], runners["model"], choice)


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second
