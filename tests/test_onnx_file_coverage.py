"""Exports of other people's Vision Transformers made on the spot, recognised and proven: a dozen, the others marked slow."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.onnx_files import Case, cases, outcome_of

# What differs most at least cost: each model, both exporters, every opset, open batch, every optimiser that is installed.
QUICK = (
    Case("timm ViT", "eager", "old", 13, "dynamic"),
    Case("timm ViT", "eager", "old", 17, "static", "ort basic"),
    Case("timm ViT", "eager", "old", 17, "static", "ort extended"),
    Case("timm DINOv2", "eager", "old", 17, "static"),
    Case("timm EVA-02", "eager", "old", 17, "static"),
    Case("torchvision", "", "old", 17, "dynamic"),
    Case("HF ViT", "eager", "old", 17, "static"),
    Case("HF DINOv2", "eager", "old", 17, "dynamic"),
    Case("HF DINOv3", "eager", "old", 17, "static"),
    Case("HF SigLIP", "eager", "old", 17, "static"),
    Case("HF CLIP", "eager", "old", 17, "static"),
    Case("timm ViT", "sdpa", "new", 23, "static"),
)


def exportable(case: Case) -> bool:
    """Torch's older exporter has no form of fused attention below opset 14."""
    return case.opset >= 14 or case.attention == "eager"


def chosen() -> Iterator[object]:
    """Every case of the table; slow, but for the quick ones."""
    for case in cases():
        yield pytest.param(case, id=case.label, marks=() if case in QUICK else pytest.mark.slow)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx_files")


@pytest.mark.parametrize("case", list(chosen()))
def test_recognised_and_proven(case: Case, folder: Path) -> None:
    needed = ["transformers"] if case.model.startswith("HF") else []
    needed += [case.form] if case.form.startswith("onnx") else []
    for name in needed:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    found = outcome_of(case, folder)
    assert found.status == ("proven" if exportable(case) else "not exported"), found.reason
    assert found.error < 1e-4


def test_the_quick_ones_are_of_the_table() -> None:
    every = set(cases())
    assert set(QUICK) <= every
    assert {case.model for case in QUICK} == {case.model for case in every}
    assert {case.opset for case in QUICK} >= {13, 17, 23}
