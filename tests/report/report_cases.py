"""A bundle's JSON files as builds wrote them, with figures that are small and easy to follow.

Each rests on a document of a real bundle, so that a case cannot hold what no build writes: `with_values` refuses names and
types that the document lacks, and keeps what a case does not name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeexport.cost.work import GraphWork, work_bytes
from edgeexport.verify.compare import Comparison, DecisionDifference, OutputDifference
from edgeexport.verify.reference import BATCH_CHECK, ORIGINAL_CHECK, RUNTIME_CHECK

STATEMENT = "random weights, seed 0: predictions mean nothing"
BUILT: dict[str, dict[str, Any]] = {}
"""Documents of bundles that were built for this run, as 'tiny/manifest'; the folder's conftest fills it in."""


def with_values(built: Any, values: Any, where: str = "") -> Any:
    """``built`` with ``values`` in place of its own; None may stand for, or give way to, anything."""
    if built is None or values is None:
        return values
    if isinstance(values, dict):
        assert isinstance(built, dict), f"builds write {type(built).__name__} as {where}"
        assert values.keys() <= built.keys(), f"no build writes {sorted(values.keys() - built.keys())} in {where}"
        return {**built, **{name: with_values(built[name], value, f"{where}.{name}") for name, value in values.items()}}
    if isinstance(values, list):
        assert isinstance(built, list), f"builds write {type(built).__name__} as {where}"
        return [with_values(built[0], value, f"{where}[]") for value in values] if built else values
    numbers = (int, float)
    same = isinstance(values, numbers) if isinstance(built, numbers) else type(values) is type(built)
    assert same, f"builds write {type(built).__name__} as {where}, not {values!r}"
    return values


def manifest(**changes: Any) -> dict[str, Any]:
    """manifest.json of a SegViT that shares and prunes; ``changes`` replace whole entries."""
    values = {
        "schema": "edgeexport.bundle/1",
        "name": "tiny_cts_dtop",
        "description": "A small model.",
        "edgeexport": "0.1.0",
        "recipe": {"seed": 0, "output": "class_map"},
        "weights": {"origin": "random", "seed": 0, "file": None, "sha256": None, "statement": STATEMENT},
        "target": "orin",
        "precision": "fp32",
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": [1, 64, 64, 3],
            "height": 64,
            "width": 64,
            "channels": "BGR",
            "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": True},
        },
        "outputs": [{"name": "class_map", "dtype": "int32", "shape": [1, 64, 64]}],
        "inner_outputs": [],
        "grid": {"rows": 4, "columns": 4, "patch_size": 16},
        "num_shared": 2,
        "prune": [{"block": 1, "k": 3}],
        "classes": [],
        "palette": [],
        "checks": {
            "lint": {"status": "passed", "nodes": 731},
            "parity": {"status": "passed", "comparisons": 2},
            "tensorrt_rtx": {"status": "not-run", "version": None, "reason": "the wheel is not installed"},
            "tail": {
                "form": "fast",
                "candidates": 16,
                "uncertified_pixels": 0,
                "candidates_needed": 12,
                "images": 4,
            },
        },
        "versions": {"python": "3.11.7", "onnx": "1.23.2"},
        "files": {"model.onnx": "ab" * 32},
    }
    return {**with_values(BUILT["tiny/manifest"], values, "manifest"), **changes}


def tokens(policy: int = 1_971_000_000) -> dict[str, Any]:
    """tokens.json: 2 blocks, 16 patches, 10 tokens, 7 after block 1."""

    def block(number: int, entering: int, leaving: int, reason: str) -> dict[str, Any]:
        macs = {"attention": 100_000_000 * entering, "mlp": 200_000_000 * entering, "norms": 0}
        return {
            "block": number,
            "tokens_in": entering,
            "tokens_out": leaving,
            "reason": reason,
            "macs": {**macs, "total": sum(macs.values())},
            "dense_macs": 4_800_000_000,
        }

    without, dense = 5_500_000_000, 10_000_000_000
    values = {
        "schema": "edgeexport.tokens/1",
        "provenance": "computed",
        "convention": "multiply-accumulate 1",
        "patches": 16,
        "embedding": {"tokens": 10, "macs": 10_000_000, "dense_macs": 16_000_000},
        "blocks": [block(1, 10, 7, "shared 2 windows; pruned 3 after block 1"), block(2, 7, 7, "")],
        "heads": [
            {"name": "auxiliary_head.0", "blocks": [1], "tokens": 10, "macs": 200_000_000, "dense_macs": 0},
            {"name": "decode_head", "blocks": [2], "tokens": 7, "macs": 190_000_000, "dense_macs": 384_000_000},
        ],
        "final_norm": {"macs": 0, "dense_macs": 0},
        "tail": {"macs": 1000, "dense_macs": 1000},
        "policy_network": {"macs": policy, "dense_macs": 0},
        "totals": {
            "macs": without + policy,
            "macs_without_policy": without,
            "dense_macs": dense,
            "dense_over_reduced": dense / (without + policy),
            "dense_over_reduced_without_policy": dense / without,
        },
    }
    return with_values(BUILT["tiny/tokens"], values, "tokens")


def merge_manifest(**changes: Any) -> dict[str, Any]:
    """manifest.json of a classifier with a class token, 16 patches in 3 blocks; DSM merges 5 of them and then 3."""
    merging = {"prefix": 1, "dense": None}
    values = dict(
        name="tiny_dsm",
        description="A small model.",
        grid={"rows": 4, "columns": 4, "patch_size": 16},
        input={
            "name": "image",
            "dtype": "uint8",
            "shape": [1, 64, 64, 3],
            "height": 64,
            "width": 64,
            "num_channels": 3,
            "frames": None,
            "context": None,
            "channels": "RGB",
            "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": False},
        },
        extra_inputs=[],
        outputs=[{"name": "logits", "dtype": "float32", "shape": [1, 10]}],
        num_shared=0,
        prune=[],
        merges=[
            {"block": 2, "raster": True, "kind": "windows", "tokens": 17, "r": 5, "columns": 4, "window": 3, **merging},
            {
                "block": 3,
                "raster": False,
                "kind": "alternate",
                "tokens": 12,
                "r": 3,
                "columns": 0,
                "window": 0,
                **merging,
            },
        ],
    )
    checks = {"parity": {"status": "passed", "comparisons": 2}, "tail": {"form": "none"}}
    return {**with_values(BUILT["dsm/manifest"], values, "manifest"), "checks": checks, **changes}


def merge_tokens() -> dict[str, Any]:
    """tokens.json of `merge_manifest`; 4 were asked for in the last block."""

    def block(number: int, entering: int, leaving: int, reason: str) -> dict[str, Any]:
        matching = 20_000_000 if entering > leaving else 0
        macs = {"attention": 100_000_000 * entering, "matching": matching, "mlp": 200_000_000 * leaving, "norms": 0}
        return {
            "block": number,
            "tokens_in": entering,
            "tokens_out": leaving,
            "reason": reason,
            "macs": {**macs, "total": sum(macs.values())},
            "dense_macs": 5_100_000_000,
        }

    blocks = [block(1, 17, 17, ""), block(2, 17, 12, "window 3: merged 5"), block(3, 12, 9, "merged 3 (of 4 asked)")]
    macs, dense = sum(item["macs"]["total"] for item in blocks) + 180_000_000, 15_480_000_000
    values = {
        "schema": "edgeexport.tokens/1",
        "provenance": "computed",
        "convention": "multiply-accumulate 1",
        "image": [64, 64],
        "grid": [4, 4],
        "patches": 16,
        "class_token": True,
        "num_prefix": 1,
        "sharing": None,
        "merging": {"method": "dsm", "dense": None, "requested": [0, 5, 4], "realised": [0, 5, 3]},
        "embedding": {"tokens": 16, "macs": 100_000_000, "dense_macs": 100_000_000},
        "blocks": blocks,
        "heads": [{"name": "head", "type": "Linear", "blocks": [3], "tokens": 9, "pruned": 0, **_both(80_000_000)}],
        "final_norm": _both(0),
        "tail": _both(0),
        "policy_network": _both(0),
        "totals": {
            "macs": macs,
            "macs_without_policy": macs,
            "dense_macs": dense,
            "dense_over_reduced": dense / macs,
            "dense_over_reduced_without_policy": dense / macs,
        },
    }
    return with_values(BUILT["dsm/tokens"], values, "tokens")


def latent_manifest() -> dict[str, Any]:
    """manifest.json of a diffusion block on 8 x 8 positions that merges 32 of them around its branches."""
    entry = {"name": "hidden_states", "dtype": "float32", "shape": [1, 64, 32], "height": 8, "width": 8}
    layout = {"kind": "cells", "tokens": 64, "prefix": 0, "r": 32, "columns": 8, "window": 0}
    values = dict(
        description="A small model.",
        input={**entry, "num_channels": 32, "frames": None, "context": [7, 24], "channels": "RGB", "preprocess": None},
        extra_inputs=[{"name": "context", "dtype": "float32", "shape": [1, 7, 24]}],
        outputs=[{"name": "tokens", "dtype": "float32", "shape": [1, 64, 32]}],
        grid={"rows": 8, "columns": 8, "patch_size": 0},
        num_shared=0,
        prune=[],
        merges=[{"block": 1, "raster": False, "dense": "sd", **layout}],
    )
    return {**with_values(BUILT["latent/manifest"], values, "manifest"), "checks": {"tail": {"form": "none"}}}


def latent_tokens() -> dict[str, Any]:
    """tokens.json of `latent_manifest`."""
    macs = {"attention": 3_000_000_000, "matching": 1_000_000_000, "mlp": 2_000_000_000, "norms": 0}
    values = {
        "image": [8, 8],
        "grid": [8, 8],
        "patches": 64,
        "class_token": False,
        "num_prefix": 0,
        "merging": {"method": "tome", "dense": "sd", "requested": [32], "realised": [32]},
        "embedding": {"tokens": 64, **_both(0)},
        "blocks": [
            {
                "block": 1,
                "tokens_in": 64,
                "tokens_out": 64,
                "reason": "merged 32, unmerged after",
                "macs": {**macs, "total": 6_000_000_000},
                "dense_macs": 12_000_000_000,
            }
        ],
        "heads": [],
        "totals": {
            "macs": 6_000_000_000,
            "macs_without_policy": 6_000_000_000,
            "dense_macs": 12_000_000_000,
            "dense_over_reduced": 2.0,
            "dense_over_reduced_without_policy": 2.0,
        },
    }
    return with_values(BUILT["latent/tokens"], values, "tokens")


def _both(macs: int) -> dict[str, int]:
    return {"macs": macs, "dense_macs": macs}


def parity() -> dict[str, Any]:
    """parity.json: one comparison passed, one failed, one not applicable."""
    comparisons = [
        Comparison(
            ORIGINAL_CHECK,
            "torch original",
            "torch fixed",
            ("coffee.jpg",),
            "passed",
            outputs=(
                OutputDifference("token_scores", True, 1.1e-6, 3e-5, 1.0),
                OutputDifference("class_map", True, agreement=1.0, differing=0, unexplained=0),
            ),
            decisions=(DecisionDifference("shared_windows", True, 1.0, 104, 0, 1.3e-3, None),),
            facts={"thresholds": [{6: 0.5}]},
        ),
        Comparison(
            RUNTIME_CHECK,
            "torch fixed",
            "onnxruntime 1.31",
            ("chelsea.jpg",),
            "failed",
            "decisions differ first at pruned_tokens_8",
            outputs=(
                OutputDifference("class_map", False, agreement=0.999, differing=1262, unexplained=7),
                OutputDifference("class_scores", False),
            ),
            decisions=(DecisionDifference("pruned_tokens_8", False, 0.9862, 144, 2, 3e-4, 3e-4),),
        ),
        Comparison(BATCH_CHECK, "a", "b", (), "not-applicable", "a near tie"),
    ]
    values = {"schema": "edgeexport.parity/1", "comparisons": [item.as_dict() for item in comparisons]}
    return with_values({**BUILT["tiny/parity"], "comparisons": []}, values, "parity")


def write_bundle(folder: Path, **files: Any) -> Path:
    """Writes ``name=content`` as name.json; manifest.json is there unless given."""
    folder.mkdir()
    for name, content in {"manifest": manifest(), **files}.items():
        written = work_bytes(content) if isinstance(content, GraphWork) else json.dumps(content).encode()
        (folder / f"{name}.json").write_bytes(written)
    return folder
