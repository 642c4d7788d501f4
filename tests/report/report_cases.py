"""A bundle's JSON files as a build writes them, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeexport.verify.compare import Comparison, DecisionDifference, OutputDifference

STATEMENT = "random weights, seed 0: predictions mean nothing"


def manifest(**changes: Any) -> dict[str, Any]:
    """manifest.json."""
    return {
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
        **changes,
    }


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
    return {
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


def parity() -> dict[str, Any]:
    """parity.json: one comparison passed, one failed, one not applicable."""
    comparisons = [
        Comparison(
            "adaptive against fixed",
            "torch adaptive",
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
            "fixed torch against exported graph",
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
        Comparison("batch", "a", "b", (), "not-applicable", "a near tie"),
    ]
    return {"schema": "edgeexport.parity/1", "comparisons": [item.as_dict() for item in comparisons]}


def write_bundle(folder: Path, **files: Any) -> Path:
    """Writes ``name=content`` as name.json; manifest.json is there unless given."""
    folder.mkdir()
    for name, content in {"manifest": manifest(), **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder
