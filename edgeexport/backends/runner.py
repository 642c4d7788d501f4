"""What executes a bundle: run, timed, and timed node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from numpy.typing import NDArray

__all__ = ["NodeTime", "Runner", "Timing"]


@dataclass(frozen=True)
class Timing:
    """One inference, synchronised before and after, in milliseconds.

    Attributes:
        compute_ms: The device's own time for the network; on a CPU the wall time of the call.
        enqueue_ms: The host's time to hand the work over; None where there is no such step.
        transfer_ms: Copies between host and device, both ways; None where there are none.
        end_to_end_ms: Wall time from input in host memory to outputs in host memory.
    """

    compute_ms: float
    enqueue_ms: float | None
    transfer_ms: float | None
    end_to_end_ms: float


@dataclass(frozen=True)
class NodeTime:
    """A node (or fused layer) of the engine as the runtime names it, and its mean time per run in milliseconds.

    ``op_type`` is the runtime's name of the operation; empty where it tells none.
    """

    name: str
    op_type: str
    ms: float


class Runner(Protocol):
    """A loaded engine, or a graph that a runtime executes.

    Its outputs are the graph's, and behind them the bundle's inner outputs (token decisions, low-resolution scores), so
    that the engine that is timed is the engine that is verified.
    """

    name: str
    version: str

    @property
    def output_names(self) -> Sequence[str]:
        """The outputs, in order; the first is the prediction."""

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        """Runs one batch; returns every output by name, in host memory.

        Args:
            image: The graph's first input, at its shape and dtype.
            extra: Its further inputs by name, where it has any.
        """

    def timed(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> Timing:
        """Runs one batch and times it. Only the graph's own outputs are fetched, where the runtime allows a choice."""

    def node_times(self, image: NDArray, extra: Mapping[str, NDArray] | None = None, runs: int = 10) -> list[NodeTime]:
        """Times of the nodes by the runtime's profiler, in order of execution, mean over ``runs``.

        Profiling costs time of its own: the sum is no latency.
        """
