"""Draws a training's log: loss, and the dense model's mIoU on the validation scenes.

``python -m examples.scenes.curve LOG --out PICTURE``
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw_curve"]


def draw_curve(log: Path, out: Path) -> None:
    """Reads what `examples.scenes.train` logged, draws both phases side by side, and writes ``out``."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    policy = [line for line in lines if line["phase"] == "policy" and "loss" in line]
    left.plot([line["step"] for line in policy], [line["windows_right_percent"] for line in policy], color="#2f7d6d")
    left.set_title("policy network")
    left.set_xlabel("step")
    left.set_ylabel("windows judged rightly, % (training)")
    segmenter = [line for line in lines if line["phase"] == "segmenter"]
    losses = [line for line in segmenter if "loss" in line]
    right.plot([line["step"] for line in losses], [line["loss"] for line in losses], color="#9aa4b0", label="loss")
    right.set_yscale("log")
    right.set_title("segmenter")
    right.set_xlabel("step")
    right.set_ylabel("loss")
    checks = [line for line in segmenter if "dense_miou_percent" in line]
    accuracy = right.twinx()
    accuracy.plot(
        [line["step"] for line in checks],
        [line["dense_miou_percent"] for line in checks],
        color="#b5543c",
        marker="o",
        label="dense mIoU on validation scenes",
    )
    accuracy.set_ylabel("mIoU, %")
    accuracy.set_ylim(0, 100)
    handles = [*right.get_legend_handles_labels()[0], *accuracy.get_legend_handles_labels()[0]]
    right.legend(handles=handles, frameon=False, loc="lower left")
    figure.savefig(out, dpi=120)


def main(
    log: Annotated[Path, typer.Argument(help="log.jsonl of a training.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")],
) -> None:
    """Draw a training's log."""
    draw_curve(log, out)


if __name__ == "__main__":
    typer.run(main)
