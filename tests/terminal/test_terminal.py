from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.merge_spec import MergeSpec
from edgeexport.terminal import results as terminal


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed, as wide as it likes."""
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "results_console", Console(file=stream, width=200))
    return stream


def _tokens(r: int) -> dict:
    from edgeexport.fixed.tokens import tokens_json

    spec = TimmVitSpec(
        "timm", None, {}, (64, 64), 8, 3, None, 1, (8, 8), 48, 3, 3, 192, 10, 1, True, False, "token", True
    )  # fmt: skip
    recipe = Recipe(
        "r", Path("r.py"), "", spec, None, 0, InputSpec(1, 64, 64, None), "logits",
        {"tome": MergeSpec("tome", (r,) * 3)}, TailSpec("plain", 0), (), (), (), {},
    )  # fmt: skip
    return tokens_json(recipe)


def _rows(stream: io.StringIO) -> dict[str, list[str]]:
    lines = [line.strip("│ ") for line in stream.getvalue().splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in (line.split("│") for line in lines)}


def test_merge_schedule_has_no_rows_of_a_segmenter(printed: io.StringIO) -> None:
    terminal.print_tokens("tiny", _tokens(20))
    rows = _rows(printed)
    assert list(rows) == ["patch embedding", "block 1", "block 2", "block 3", "head", "final norm", "total"]
    assert rows["patch embedding"][1] == "64" and rows["patch embedding"][-1] == "and 1 prefix token"
    assert (rows["block 2"][:2], rows["block 2"][-1]) == (["45", "25"], "merged 20")
    assert rows["block 3"][-1] == "merged 12 (of 20 asked)"
    assert "tome: 52 tokens merged of 60 asked; fewer than asked in block 3" in printed.getvalue()
    assert "policy network" not in printed.getvalue() and "matching" in printed.getvalue()


def test_a_schedule_that_is_met_says_no_more(printed: io.StringIO) -> None:
    terminal.print_tokens("tiny", _tokens(5))
    assert printed.getvalue().endswith("tome: 15 tokens merged\n")


def test_without_merging_there_is_no_column_for_matching(printed: io.StringIO) -> None:
    terminal.print_tokens("tiny", _tokens(0))
    assert "matching" not in printed.getvalue() and "dense / reduced: 1.000" in printed.getvalue()


def test_inspection_leaves_out_a_tail_that_does_not_exist(printed: io.StringIO) -> None:
    facts: dict[str, object] = {
        "name": "tiny",
        "description": "d",
        "target": "cpu",
        "precision": "fp32",
        "edgeexport": "0",
    }
    checks = {"parity": {"status": "passed"}, "tail": {"form": "none"}}
    facts |= {"weights": {"statement": "w"}, "checks": checks, "tokens": _tokens(5), "operators": None, "engine": None}
    terminal.print_inspection(facts)
    assert "check parity" in printed.getvalue() and "check tail" not in printed.getvalue()
    assert "engine none" in " ".join(printed.getvalue().split())


def test_delay_names_its_evidence(printed: io.StringIO) -> None:
    similarity = np.array([[0.5, 0.2, 0.3], [0.7, 0.4, 0.3]])
    evidence = SimpleNamespace(
        images=("a.jpg", "b.jpg"),
        similarity=similarity,
        mean=similarity.mean(axis=0),
        delay=1,
        delay_per_image=(1, 2),
        rises=True,
    )
    files = SimpleNamespace(plot=Path("d/delay.png"), evidence=Path("d/delay.json"), recipe=None)
    found = SimpleNamespace(recipe="r", weights="random weights", random_weights=True, evidence=evidence, files=files)
    terminal.print_delay(found)  # type: ignore[arg-type]
    rows = _rows(printed)
    assert rows["embedding"] == ["0.6000", "0.1000"] and rows["2"] == ["0.3000", "0.0000"]
    text = " ".join(printed.getvalue().split())
    assert "delay 1 per image 1, 2 images a.jpg, b.jpg" in text
    assert "written d/delay.png, d/delay.json" in text and "random weights: the similarity" in text
