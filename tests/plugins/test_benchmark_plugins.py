"""The GPU benchmarks say so where there is no GPU, and refuse what they do not know."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
import torch
import typer
from library_cases import toolkit_and_headers
from typer.testing import CliRunner

from benchmarks.plugins.__main__ import main
from benchmarks.plugins.cases import OPS
from benchmarks.plugins.launchers import compile_launchers
from edgeexport.graph.plugin_graph import PLUGIN_OPS


def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(main)
    return app


def test_without_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(command(), ["UpsampleArgmax"])
    assert result.exit_code == 6
    assert result.stdout == ""


def test_unknown_op_is_refused() -> None:
    result = CliRunner().invoke(command(), ["Upsample"])
    assert result.exit_code == 2


@pytest.mark.slow
def test_launchers_compile_and_load(tmp_path: Path) -> None:
    """Without a GPU: what would be launched is there, with nothing undefined."""
    toolkit, _ = toolkit_and_headers()
    library = ctypes.CDLL(str(compile_launchers(toolkit, 87, tmp_path)), mode=os.RTLD_NOW)
    for name in ("match", "merge", "unmerge", "partition"):
        assert hasattr(library, f"launch_token_{name}")
    assert hasattr(library, "launch_upsample_argmax")


def test_every_plugin_is_measured() -> None:
    assert set(OPS) == PLUGIN_OPS
