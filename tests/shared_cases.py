"""What several test files share: the golden reference data, a tiny recipe, the result of a command."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class GoldenCase:
    """One folder of the golden data."""

    folder: Path
    config: dict
    arrays: dict[str, NDArray]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "state_dict.safetensors"

    @property
    def model(self) -> dict:
        """The mmseg model config."""
        return self.config.get("model", self.config)


def golden_folder() -> Path:
    return Path(os.environ.get("EDGEEXPORT_GOLDEN", REPOSITORY.parent / "shared" / "golden"))


def shared_case(name: str) -> Path:
    """A file or folder of the shared cases beside the golden data, or skips the test where they are absent."""
    found = golden_folder().parent / "cases" / name
    if not found.exists():
        pytest.skip(f"shared cases not found at {found.parent}")
    return found


def golden_case(name: str) -> GoldenCase:
    """Reads a golden case, or skips the test where the data are absent."""
    folder = golden_folder() / name
    if not folder.is_dir():
        pytest.skip(f"golden data not found at {folder}; set EDGEEXPORT_GOLDEN to their folder")
    with np.load(folder / "io.npz") as stored:
        arrays = dict(stored)
    return GoldenCase(folder, json.loads((folder / "config.json").read_text()), arrays)


TINY_RECIPE = '''"""A SegViT of a few thousand weights, for tests."""

_head = dict(type="PruneHead", img_size=128, in_channels=32, channels=32, num_heads=2, num_classes=6, layers_per_decoder=2)
model = dict(
    type="EncoderDecoderPrune",
    backbone=dict(type="ViT_prune", img_size=(128, 128), patch_size=16, embed_dims=32, num_layers=4, num_heads=2,
                  out_indices=(1, 2, 3), norm_cfg=dict(type="LN", eps=1e-6), with_cls_token=False, num_classes=6),
    decode_head=dict(_head),
    auxiliary_head=[dict(_head, in_index=0, thresh=0.9), dict(_head, in_index=1, thresh=0.9)],
)
checkpoint = None
input = dict(shape=(1, 3, 128, 128), preprocess=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
                                                     bgr_to_rgb=True))
output = "class_map"
reduction = dict(dtop=dict(prune={2: 16, 3: 8}))

'''


# Options that make the tiny recipe smaller still, for builds of their own: what an export costs grows with its nodes.
SHALLOW_HEADS = [
    "model.decode_head.layers_per_decoder=1",
    *(f"model.auxiliary_head.{number}.layers_per_decoder=1" for number in (0, 1)),
]
ONE_BLOCK = [
    "reduction={}",
    "model.backbone.num_layers=1",
    "model.backbone.out_indices=(0,)",
    "model.auxiliary_head=[]",
    "model.decode_head.layers_per_decoder=1",
]
# Options that make shipped recipes small.
SMALL_DSM = ["model.depth=3", "reduction.dsm.delay=1"]
SMALL_DIFFUSION_BLOCK = [
    "model.grid=(8, 8)",
    "model.embed_dims=32",
    "input.shape=(2, 64, 32)",
    "reduction.tome.r=32",
    "extra_outputs=('source', 'size')",
]


@dataclass(frozen=True)
class CommandResult:
    """What a command line call gave."""

    code: int
    out: str
    err: str


_HEAD = "dict(type='PruneHead', in_channels=48, channels=24, num_heads=2, num_classes=5)"
SEPARATE_RECIPE = f'''"""Tiny SegViT with CTS, its policy network apart."""
model = dict(
    type="EncoderDecoderPrune",
    backbone=dict(type="ViT_prune", img_size=(128, 128), embed_dims=48, num_layers=2, num_heads=3, out_indices=[1],
                  norm_cfg=dict(type="LN", eps=1e-6), with_cls_token=False),
    decode_head={_HEAD},
)
input = dict(shape=(1, 3, 128, 128), preprocess=dict(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], bgr_to_rgb=True))
output = "class_map"
reduction = dict(cts=dict(num_shared=5, align_tokens=1, policy="separate"))
'''
