"""Tasks on worker processes: the same results to the bit, a worker that dies, a scheduler that is not there."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_cases import CommandResult

from edgeexport.errors import DeviceError, UsageError
from edgeexport.inputs.photos import shipped_photos
from edgeexport.tune.bounds import TuneOptions
from edgeexport.tune.cluster import OnDask, on_dask
from edgeexport.tune.runner import runner_from_options
from edgeexport.tune.study_file import STUDY_FILE
from edgeexport.tune.tune import tune

distributed = pytest.importorskip("distributed")

Command = Callable[..., CommandResult]

RECIPE = '''"""Small."""

model = dict(type="timm", img_size=(32, 32), patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=0)
input = dict(shape=(1, 3, 32, 32))
output = "features"
'''
PHOTOS = shipped_photos()[0].parent


@pytest.fixture
def client() -> Iterator[Any]:
    """Of two bare worker processes, which import nothing of ours."""
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with cluster, distributed.Client(cluster) as connected:
        yield connected


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives(tmp_path: Path) -> None:
    recipe = tmp_path / "small.py"
    recipe.write_text(RECIPE)
    lines = {}
    for workers in (0, 2):
        folder = tmp_path / f"w{workers}"
        given = TuneOptions(data=PHOTOS, target="cpu", min_cosine=0.9, trials=8, out_dir=folder, workers=workers)
        result = tune(recipe, given)
        told = {key: value for key, value in result.as_dict().items() if key not in ("recipe_file", "picture")}
        lines[workers] = (sorted((folder / STUDY_FILE).read_text().splitlines()), told)
    assert lines[0] == lines[2]


def test_a_worker_that_dies_loses_its_task_alone(client: Any, tmp_path: Path) -> None:
    """Each task notes that it began; the first one to see no note of a death ends its worker."""

    def measure(number: int) -> list[int]:
        with (tmp_path / f"{number}").open("a") as stream:
            stream.write("x")
        try:
            (tmp_path / "died").touch(exist_ok=False)
        except FileExistsError:
            return [number * number]
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / "died").unlink()
        return [number * number]

    found = dict(OnDask(client, measure).results(list(range(12))))
    assert found == {number: [number * number] for number in range(12)}
    assert (tmp_path / "died").exists() and len((tmp_path / "0").read_text()) >= 2
    began = sum(len((tmp_path / f"{number}").read_text()) for number in range(12))
    assert 13 <= began <= 15  # the lost one, and what its worker had been sent besides


def test_a_task_that_kills_every_worker_is_given_up(client: Any) -> None:
    def measure(number: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DeviceError, match="workers died of one task"):
        list(OnDask(client, measure).results([1]))


def test_tasks_overlap(client: Any) -> None:
    """Tasks that sleep say when: two at a time, on both workers. `python -m benchmarks tune-scaling` has times."""

    def measure(number: int) -> list[float]:
        begun = time.time()
        time.sleep(0.5)
        return [os.getpid(), begun, time.time()]

    found = [result for _, result in OnDask(client, measure).results(list(range(6)))]
    assert len({worker for worker, _, _ in found}) == 2
    assert any(one[0] != other[0] and max(one[1], other[1]) < min(one[2], other[2]) for one in found for other in found)


def test_a_scheduler_that_is_not_there(edgeexport: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeexport.tune.cluster._CONNECT_S", 2)
    recipe = tmp_path / "small.py"
    recipe.write_text(RECIPE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = ("tune", recipe, "--target", "cpu", "--data", PHOTOS, "--min-cosine", 0.9, "--out-dir", tmp_path / "o")
    result = edgeexport(*line, "--scheduler", f"tcp://127.0.0.1:{port}")
    assert result.code == 7 and "cannot be reached" in result.err and "dask scheduler" in result.err
    result = edgeexport(*line, "--scheduler", "tcp://127.0.0.1:1", "--workers", 2)
    assert result.code == 2 and "leave one out" in result.err
    assert not (tmp_path / "o" / STUDY_FILE).exists()


def test_workers_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, silence_logs=50
        ) as cluster,
        pytest.raises(DeviceError, match="has 2 threads, expected 1"),
        on_dask(0, cluster.scheduler_address),
    ):
        pass
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        monkeypatch.setattr("edgeexport.tune.cluster.program_sha256", lambda: "another" * 9)
        with (
            pytest.raises(DeviceError, match=r"has edgeexport .*, here is anotheranoth"),
            on_dask(0, cluster.scheduler_address),
        ):
            pass


def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(UsageError, match=r"needs distributed.*edgeexport\[cluster\]"), runner_from_options(2, None):
        pass
