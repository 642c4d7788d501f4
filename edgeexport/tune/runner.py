"""Where tasks run: in this process, one after the other. What else can run them has the same contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from edgeexport.documents.fidelity import Compared
from edgeexport.errors import UsageError
from edgeexport.tune.measure import Task, measured_images

__all__ = ["InProcess", "Runner", "runner_from_options"]


class Runner(Protocol):
    """Runs pure tasks."""

    def results(self, tasks: Sequence[Task]) -> Iterator[tuple[int, list[Compared]]]:
        """(index of the task, what `measured_images` gives for it), as they finish, in any order."""


class InProcess:
    """One task after the other, here."""

    def results(self, tasks: Sequence[Task]) -> Iterator[tuple[int, list[Compared]]]:
        """See `Runner`."""
        for index, task in enumerate(tasks):
            yield index, measured_images(task)


@contextmanager
def runner_from_options(workers: int, scheduler: str | None) -> Iterator[Runner]:
    """What ``--workers`` and ``--scheduler`` ask for, until the block ends.

    Raises:
        UsageError: Both are given, or the extra is not installed.
        DeviceError: The scheduler cannot be reached, or its workers do not fit.
    """
    if workers < 0:
        raise UsageError(f"--workers {workers}", "expected at least 1", "leave it out to measure in this process")
    if workers and scheduler is not None:
        raise UsageError("--workers", "are this machine's, and --scheduler has its own", "leave one out")
    if not workers and scheduler is None:
        yield InProcess()
        return
    from edgeexport.tune.cluster import on_dask  # here: an extra

    with on_dask(workers, scheduler) as runner:
        yield runner
