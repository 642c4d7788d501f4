"""A device that answers nonsense with exit code 0: an error of ours, before anything here is touched."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeexport.bundle import SCHEMA, hashes_of
from edgeexport.errors import BundleError
from edgeexport.profile.protocol import TimingRequest
from edgeexport.remote import commands
from edgeexport.remote.connection import Finished
from edgeexport.remote.edgeexport import RemoteEdgeexport

_COMPARISON = {
    **dict.fromkeys(("check", "reference", "candidate"), "c"),
    "status": "passed",
    **{key: [] for key in ("images", "outputs", "decisions")},
}


def device(answer: str) -> Any:
    """A device on which every command ends well and prints ``answer``."""
    host = SimpleNamespace(place="orin")
    connection = SimpleNamespace(host=host, command=lambda words, on_line: Finished(0, answer.encode(), ""))

    @contextlib.contextmanager
    def session(on_stage: Callable[[str], None]) -> Iterator[RemoteEdgeexport]:
        yield RemoteEdgeexport(connection, ["edgeexport"])  # type: ignore[arg-type]

    return SimpleNamespace(host=host, session=session)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with results; bringing others here fails the test."""
    for name in ("model.onnx", "bench.json", "verify.json", "power.csv"):
        (tmp_path / name).write_text("mine")
    manifest = {
        "schema": SCHEMA, "name": "x", "input": {"shape": [1, 3, 8, 8], "preprocess": None}, "inner_outputs": [],
        "files": hashes_of(tmp_path, ["model.onnx"]),
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(commands, "_sent", lambda *arguments: "/there")
    monkeypatch.setattr(commands, "fetch_results", lambda *arguments: pytest.fail("fetched"))
    return tmp_path


@pytest.mark.parametrize("answer", ["", "null", "{}", "[]", "no json", '{"rows": 3}', "[" * 100_000])
def test_nonsense_from_profile(bundle: Path, answer: str) -> None:
    with pytest.raises(BundleError) as caught:
        commands.remote_profile(bundle, TimingRequest(), device(answer))
    assert caught.value.exit_code == 9 and "edgeexport profile printed" in caught.value.where
    assert (bundle / "bench.json").read_text() == (bundle / "power.csv").read_text() == "mine"


@pytest.mark.parametrize(
    "answer",
    [
        "null",
        "{}",
        '{"comparisons": ["x"], "original_not_run": "", "runner": ""}',
        '{"comparisons": [{}], "original_not_run": "", "runner": ""}',
        json.dumps(
            {"comparisons": [_COMPARISON | {"outputs": [{"max_abs": "x"}]}], "original_not_run": "", "runner": ""}
        ),
    ],
)
def test_nonsense_from_verify(bundle: Path, answer: str) -> None:
    with pytest.raises(BundleError) as caught:
        commands.remote_verify(bundle, device(answer))
    assert caught.value.exit_code == 9 and "edgeexport verify printed" in caught.value.where
    assert (bundle / "verify.json").read_text() == "mine"


def test_sense_from_verify(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "fetch_results", lambda *arguments: None)
    (bundle / "verify.json").unlink()
    answer = json.dumps({"comparisons": [_COMPARISON], "original_not_run": "", "runner": "tensorrt"})
    assert commands.remote_verify(bundle, device(answer)).comparisons[0].check == "c"
