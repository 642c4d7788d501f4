"""Tasks on Dask: worker processes of this machine, or a scheduler's that somebody started with Dask's own tools.

Dask does the work: it sends tasks, notices workers that die, and gives what they had to others. Here is what a task is, that
every worker has the same edgeexport, and what is said where it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from edgeexport.bundle.source_hash import program_sha256
from edgeexport.documents.fidelity import Compared
from edgeexport.errors import DeviceError, EdgeExportError
from edgeexport.tune.extra import package_of_extra
from edgeexport.tune.measure import Task, measured_images

__all__ = ["TRIES", "OnDask", "on_dask"]

TRIES = 3
"""How many workers may die of a task before it is given up."""

_CONNECT_S = 10
_PROGRAM = program_sha256  # on a worker; it needs no torch
_REMEDY = "start one with `dask scheduler` and workers with `dask worker tcp://...:8786 --nthreads 1`"


class _Refused(NamedTuple):
    """An error of ours, as it travels."""

    kind: type[EdgeExportError]
    where: str
    problem: str
    remedy: str


class OnDask:
    """A `edgeexport.tune.runner.Runner` on a Dask client.

    Args:
        client: Connected.
        measure: What a worker calls with a task.
    """

    def __init__(self, client: Any, measure: Callable[[Any], Any] | None = None) -> None:
        self._client, self._measure = client, _measured if measure is None else measure

    def results(self, tasks: Sequence[Any]) -> Iterator[tuple[int, list[Compared]]]:
        """See `Runner`; tasks are results of nothing but themselves, so that a lost one is computed again.

        Raises:
            DeviceError: The scheduler is gone, or workers died of a task.
        """
        distributed = package_of_extra("distributed", "cluster")
        if not tasks:
            return
        keys = [f"edgeexport-{number}-{id(tasks)}" for number in range(len(tasks))]
        made = self._client.map(self._measure, list(tasks), key=keys, retries=TRIES)  # at once: no worker hoards them
        futures = {future: number for number, future in enumerate(made)}
        try:
            for future in distributed.as_completed(list(futures)):
                yield futures[future], _result(future, distributed)
        finally:
            self._client.cancel(list(futures), force=True)


@contextmanager
def on_dask(workers: int, scheduler: str | None) -> Iterator[OnDask]:
    """A runner until the block ends, and the processes with it where they are its own.

    Args:
        workers: Processes on this machine, where there is no ``scheduler``.
        scheduler: Such as 'tcp://10.0.0.5:8786'.

    Raises:
        UsageError: The extra is not installed here.
        DeviceError: The scheduler cannot be reached, or has no workers, or they have another version or no edgeexport.
    """
    distributed = package_of_extra("distributed", "cluster")
    import dask

    quiet = {"distributed.worker.daemon": True, "distributed.scheduler.allowed-failures": TRIES}
    with dask.config.set({**quiet, "distributed.admin.log-format": "%(name)s: %(message)s"}):
        if scheduler is None:
            cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
            )
            with cluster, distributed.Client(cluster) as client:
                yield OnDask(client)
            return
        try:
            client = distributed.Client(scheduler, timeout=_CONNECT_S)
        except (OSError, ValueError, TimeoutError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise DeviceError(f"--scheduler {scheduler}", f"cannot be reached: {said}", _REMEDY) from None
        with client:
            _check_workers(client, scheduler)
            yield OnDask(client)


def _check_workers(client: Any, scheduler: str) -> None:
    """Raises: DeviceError: None is there, or one runs another edgeexport or several threads."""
    threads = client.nthreads()
    if not threads:
        raise DeviceError(f"--scheduler {scheduler}", "has no workers", _REMEDY)
    several = next((worker for worker, count in threads.items() if count != 1), None)
    if several is not None:
        problem = f"worker {several} has {threads[several]} threads, expected 1: results depend on it"
        raise DeviceError(f"--scheduler {scheduler}", problem, "start workers with --nthreads 1")
    own = program_sha256()
    for worker, found in client.run(_PROGRAM, on_error="return").items():
        if isinstance(found, BaseException):
            problem = f"worker {worker} has no edgeexport that loads: {type(found).__name__}: {found}"
            raise DeviceError(
                f"--scheduler {scheduler}", problem, "pip install 'edgeexport[export,tune,cluster]' there"
            )
        if found != own:
            problem = f"worker {worker} has edgeexport {found[:12]}, here is {own[:12]}"
            raise DeviceError(f"--scheduler {scheduler}", problem, "install the same version on both")


def _measured(task: Task) -> list[Compared] | _Refused:
    """On a worker. An error of ours is a result: trying again would give the same."""
    try:
        return measured_images(task)
    except EdgeExportError as error:
        return _Refused(type(error), error.where, error.problem, error.remedy)


def _result(future: Any, distributed: Any) -> list[Compared]:
    try:
        found = future.result()
    except distributed.KilledWorker as error:
        problem = f"{TRIES + 1} workers died of one task: {' '.join(str(error).split())[:300]}"
        raise DeviceError("worker", problem, "look at its log; it may lack memory. The same command goes on") from None
    except (distributed.client.FutureCancelledError, OSError) as error:
        problem = f"is gone: {' '.join(str(error).split())[:300]}"
        raise DeviceError("scheduler", problem, "start it again; the same command goes on from there") from None
    if isinstance(found, _Refused):
        raise found.kind(found.where, found.problem, found.remedy)
    return list(found)
