"""The demo's last line, and the notebook from its first cell to its last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from examples.demo import Shown, what_paid

NOTEBOOK = Path(__file__).parents[2] / "examples" / "demo.ipynb"


def row(precision: str, mode: str, reduced: float, dense: float) -> dict[str, Any]:
    """Of the manifest's ``pays``."""
    return {"precision": precision, "power_mode": mode, "reduced_ms": reduced, "dense_ms": dense}


def paid(*rows: dict[str, Any]) -> str:
    line = what_paid([Shown("it", Path("b"), {"predicted": list(rows)}, Path("x.png"))])
    assert line.startswith("what paid, predicted for orin from kernel plans: it: ") and "\n" not in line
    return line.partition("it: ")[2]


def test_what_paid_names_precision_and_modes() -> None:
    assert paid(row("fp32", "MAXN", 1.0, 2.0), row("fp32", "15W", 2.0, 3.0), row("fp16", "MAXN", 2.0, 1.0)) == (
        "yes, FP32 in every mode (1.50 to 2.00 times as fast as dense)"
    )
    assert paid(row("fp16", "MAXN", 2.0, 1.0), row("fp16", "15W", 1.0, 1.5)) == (
        "yes, FP16 in 15W (1.50 to 1.50 times as fast as dense)"
    )
    assert paid(row("fp16", "MAXN", 1.0, 1.004)) == "no, in no precision and power mode"
    assert paid() == "not known, no time is predicted"


def test_the_notebook_holds_no_output() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert len(cells) > 8
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("DEMO_FOLDER", str(tmp_path / "made"))
    monkeypatch.setenv("DEMO_IMAGES", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "2"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=1800, resources=resources).execute()
    printed = "".join(item.get("text", "") for cell in notebook.cells for item in cell.get("outputs", ()))
    assert "mIoU hybrid" in printed and "not known, no time is predicted" in printed
    assert any("image/png" in item.get("data", {}) for cell in notebook.cells for item in cell.get("outputs", ()))
    report = (tmp_path / "made" / "scenes_cts_dtop" / "report.html").read_text(encoding="utf-8")
    assert 'data-photo="scene_00000.png"' in report and "Classes" in report
