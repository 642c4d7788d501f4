from __future__ import annotations

import pytest
from report_cases import STATEMENT, manifest, parity, tokens

from edgeexport.report.report_view import report_view


def test_facts_and_weights() -> None:
    view = report_view(manifest(), None, None)
    assert (view.weights, view.random_weights) == (STATEMENT, True)
    facts = dict(view.facts)
    assert facts["Target"] == "orin, fp32"
    assert facts["Input"] == "uint8 1 x 64 x 64 x 3, BGR, normalised in the graph"
    assert facts["Output"] == "class_map: int32 1 x 64 x 64"
    assert facts["Reduction"] == "2 shared windows; 3 tokens pruned after block 1"
    assert view.tokens is None and view.comparisons == () and view.checkpoint == ()


def test_checkpoint_is_named_and_dense_is_said() -> None:
    weights = {
        "origin": "checkpoint",
        "seed": None,
        "file": "x.pth",
        "sha256": "cd" * 32,
        "statement": "weights of x.pth",
    }
    view = report_view(manifest(weights=weights, num_shared=0, prune=[]), None, None)
    assert not view.random_weights
    assert view.checkpoint == (("file", "x.pth"), ("sha256", "cd" * 32))
    assert dict(view.facts)["Reduction"] == "none (dense)"


def test_checks_keep_their_status_and_reason() -> None:
    rows = {row.name: row for row in report_view(manifest(), None, None).checks}
    assert (rows["Static graph"].status, rows["Static graph"].detail) == ("passed", "731 nodes")
    assert rows["Parity"].detail == "2 comparisons"
    rtx = rows["TensorRT-RTX parses and builds it"]
    assert (rtx.status, rtx.detail) == ("not-run", "the wheel is not installed")


@pytest.mark.parametrize(
    ("tail", "status", "detail"),
    [
        (
            {"form": "fast", "candidates": 16, "uncertified_pixels": 0, "candidates_needed": 12, "images": 4},
            "passed",
            "16 candidates per cell: 0 uncertified pixels in 4 test images; 12 candidates would have sufficed",
        ),
        (
            {"form": "fast", "candidates": 8, "uncertified_pixels": 12345, "candidates_needed": 22, "images": 2},
            "warning",
            "8 candidates per cell: 12,345 uncertified pixels in 2 test images; 22 candidates would certify all",
        ),
        ({"form": "plain"}, "passed", "plain form"),
    ],
)
def test_uncertified_pixels_are_a_warning(tail: dict[str, object], status: str, detail: str) -> None:
    (row,) = report_view(manifest(checks={"tail": tail}), None, None).checks
    assert row.status == status and detail in row.detail


def test_scores_have_no_class_map_check() -> None:
    assert report_view(manifest(checks={"tail": {"form": "none"}, "lint": None}), None, None).checks == ()


def test_token_schedule_and_work() -> None:
    view = report_view(manifest(), tokens(), None).tokens
    assert view is not None and view.provenance == "computed"
    bars = [(bar.label, bar.tokens, bar.width, bar.note) for bar in view.bars]
    assert bars == [
        ("image", 16, 100.0, "patches"),
        ("block 1", 10, 62.5, "shared 2 windows; pruned 3 after block 1"),
        ("block 2", 7, 43.75, ""),
        ("head", 7, 43.75, ""),
    ]
    rows = {row.label: row for row in view.rows}
    assert "final norm" not in rows  # nothing to count
    assert (rows["block 2"].attention, rows["block 2"].mlp, rows["block 2"].total) == ("0.700", "1.400", "2.100")
    assert (rows["block 2"].dense, rows["block 2"].share) == ("4.800", "43.8 %")
    assert (rows["auxiliary_head.0 (reads block 1)"].dense, rows["auxiliary_head.0 (reads block 1)"].share) == ("0", "")
    assert rows["tail, as published"].total == "< 0.001"
    assert rows["sum without policy network"].total == "5.500" and rows["sum without policy network"].emphasis
    assert (rows["policy network"].total, rows["sum with policy network"].total) == ("1.971", "7.471")
    assert view.headline == "7.5 of 10.0 GMAC"
    assert view.ratio == "1.34 with, 1.82 without the policy network"


def test_no_policy_network_has_one_sum() -> None:
    view = report_view(manifest(), tokens(policy=0), None).tokens
    assert view is not None and view.ratio == "1.82"
    assert [row.label for row in view.rows if row.emphasis] == ["sum (there is no policy network)"]


def test_parity_figures() -> None:
    passed, failed, skipped = report_view(manifest(), None, parity()).comparisons
    assert (passed.status, passed.pair, passed.images) == ("passed", "torch adaptive against torch fixed", "coffee.jpg")
    assert [(value.name, value.status, value.figures) for value in passed.values] == [
        ("shared_windows", "passed", "same 104 chosen (Jaccard 1); score margin at the cut 0.0013"),
        ("token_scores", "passed", "max abs 1.1e-06, max rel 3e-05, cosine 1.000000000"),
        ("class_map", "passed", "all pixels equal"),
    ]
    assert passed.facts == (("thresholds", '[{"6": 0.5}]'),)
    assert [(value.status, value.figures) for value in failed.values] == [
        ("failed", "2 of 144 differ, Jaccard 0.9862; score margin at the cut 0.0003"),
        ("failed", "99.90000 % of pixels equal, 1,262 differ, 7 of them no near tie"),
        ("failed", "shapes differ"),
    ]
    assert (skipped.status, skipped.reason, skipped.values) == ("not-applicable", "a near tie", ())
