"""Torch's exporter on timm's own model, as people run it: ``python -m benchmarks.exporter_alone NAME SIZE FILE``.

A process of its own, for `benchmarks.builds` measures its time and memory. Weights are timm's random ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch

from edgeexport.ops import OPSET

__all__ = ["export_alone"]


def export_alone(name: str, size: int, file: Path) -> None:
    """Writes a float32 graph of a square image's model, batch 1, without edgeexport's passes and checks."""
    model = timm.create_model(name, pretrained=False, img_size=size).eval()
    with torch.no_grad():
        program = torch.onnx.export(
            model, (torch.zeros(1, 3, size, size),), dynamo=True, opset_version=OPSET, verbose=False
        )
        assert program is not None
        program.save(file)


if __name__ == "__main__":
    export_alone(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
