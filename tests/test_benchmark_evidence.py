"""The page of `python -m benchmarks evidence`, of made-up figures: what stands where, and what is said of parts left out."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence_page import evidence_page


def figure(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def row(method: str, r: int, *, built: bool) -> dict[str, Any]:
    shown = {"class token": figure(0.9), "patch tokens": figure(0.8), "saliency IoU": figure(0.7)}
    told = {"reduced": figure(60.0), "against": figure(62.5), "difference": figure(-2.5)}
    pays = {
        "composed": True,
        "kernels": {"fp16": {"reduced": 90 + r, "dense": 70}},
        "predicted": [
            {"precision": "fp32", "power_mode": "MAXN", "reduced_ms": 9.0, "dense_ms": 9.5},
            {"precision": "fp16", "power_mode": "MAXN", "reduced_ms": 1.25, "dense_ms": 1.5},
        ],
    }
    half = {
        "images": 4,
        "merged": 1000,
        "elsewhere": r,
        "flipped": 2,
        "explained": 4,
        "class token": 0.9999,
        "patch tokens": 0.999,
    }
    return {
        "method": method,
        "r": r,
        "macs": (6 - r // 4) * 10**9,
        "dense_macs": 6 * 10**9,
        "photographs": {"images": 17, "runtime": "torch 9", "figures": shown},
        "textiles": {
            "images": 45, "classes": ["a", "b"], "neighbours": 5, "figures": shown, "accuracy": {"nearest neighbours": told}
        },
        **({"pays": pays} if built else {}),
        **({"float16": half} if built and method != "random" else {}),
    }  # fmt: skip


def found(*, built: bool, timed: bool) -> dict[str, Any]:
    speed = {"speedup": {"median": 1.2, "q1": 1.1, "q3": 1.3}}
    timing = {
        "rounds": 7,
        "threads": 1,
        "load_per_core": 3.0,
        "onnxruntime": "1.0",
        "forms": {"tome8": speed, "dsm8": speed},
    }
    wheels = [{"name": "w", "version": "1", "licence": "MIT", "sha256": "ab" * 32, "holds": "things"}]
    rows = [row("dsm", 8, built=built), row("tome", 8, built=built), row("random", 4, built=False)]
    return {"rows": rows, "wheels": wheels, "timing": timing if timed else None}


def test_rows_stand_by_rate_and_method_with_every_figure() -> None:
    page = evidence_page(found(built=True, timed=True), "make it so", "e.json").splitlines()
    assert "    make it so" in page and f"| w 1 | MIT | things | `{'ab' * 32}` |" in page
    assert any("[e.json](e.json)" in line for line in page)
    features = [line for line in page if line.endswith("| 0.7000 (0.6000 to 0.8000) |")]
    assert [line.split(" | ")[:3] for line in features] == [
        ["| random", "4", "5.00"], ["| ToMe", "8", "4.00"], ["| DSM", "8", "4.00"]
    ]  # fmt: skip
    assert "| dense | | 6.00 | 1 | 1 | 1 |" in page
    assert any("ToMe | 8 | 60.0 (59.9 to 60.1) | -2.5 (-2.6 to -2.4) | 0.9000" in line for line in page)
    assert "| ToMe | 8 | 98 (70) | 1.25 (1.50) | 1.20 (1.10 to 1.30) | 0.80 |" in page  # 1.2 of 6 / 4
    assert "| ToMe | 8 | 0.80 % of 1000 | 2 of 4 | 4 of 4 | 0.99990 | 0.99900 |" in page
    text = "\n".join(page)
    assert "machine that was loaded (3.0 runnable" in text and "power mode MAXN" in text and "17 photographs" in text


def test_what_was_left_out_is_said() -> None:
    untimed = evidence_page(found(built=True, timed=False), "x", "e.json")
    assert "The CPU was not timed in this run." in untimed and "| ToMe | 8 | 98 (70) | 1.25 (1.50) |  |  |" in untimed
    assert "builds were left out" in evidence_page(found(built=False, timed=False), "x", "e.json")
    assert "float16" not in evidence_page(found(built=False, timed=False), "x", "e.json")
    without = found(built=False, timed=False)
    for item in without["rows"]:
        del item["textiles"]
    assert "pictures of textiles were left out" in evidence_page(without, "x", "e.json")
