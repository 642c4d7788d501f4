from __future__ import annotations

import pytest
from report_cases import (
    STATEMENT,
    latent_manifest,
    latent_tokens,
    manifest,
    merge_manifest,
    merge_tokens,
    parity,
    tokens,
)

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
    assert (view.path, view.path_ends, view.matching) == ("16 → 7 tokens", "from the patches to the final head", False)
    assert view.ratio == "1.34 with, 1.82 without the policy network"


def test_no_policy_network_has_one_sum() -> None:
    view = report_view(manifest(), tokens(policy=0), None).tokens
    assert view is not None and view.ratio == "1.82"
    assert [row.label for row in view.rows if row.emphasis] == ["sum"]


def test_facts_of_a_bundle_that_merges() -> None:
    view = report_view(merge_manifest(), None, None)
    facts = dict(view.facts)
    assert facts["Input"] == "uint8 1 x 64 x 64 x 3, RGB, normalised in the graph"
    assert facts["Output"] == "logits: float32 1 x 10"
    assert facts["Patches"] == "4 x 4 of 16 x 16 pixels"
    assert facts["Reduction"] == "8 tokens merged in blocks 2 to 3: 5, 3, inside windows of 3 x 3 tokens in block 2"
    assert [row.name for row in view.checks] == ["Parity"]
    assert "merged" in view.picture and "Classes" not in view.picture


def test_pictures_of_other_bundles_are_described() -> None:
    assert "shared and pruned" in report_view(manifest(), None, None).picture
    plain = report_view(manifest(num_shared=0, prune=[]), None, None).picture
    assert "shared" not in plain and "merged" not in plain


def test_token_schedule_of_a_classifier_counts_its_class_token() -> None:
    view = report_view(merge_manifest(), merge_tokens(), None).tokens
    assert view is not None
    assert [(bar.label, bar.tokens, round(bar.width, 1), bar.note) for bar in view.bars] == [
        ("image", 17, 100.0, "16 patches and class token"),
        ("block 1", 17, 100.0, ""),
        ("block 2", 17, 100.0, "window 3: merged 5"),
        ("block 3", 12, 70.6, "merged 3 (of 4 asked)"),
        ("head", 9, 52.9, ""),
    ]
    assert (view.path, view.path_ends) == ("17 → 9 tokens", "from the patches to the final head")
    rows = {row.label: row for row in view.rows}
    assert list(rows) == ["patch embedding", "block 1", "block 2", "block 3", "classifier head", "sum"]
    assert view.matching and (rows["block 1"].matching, rows["block 2"].matching) == ("0", "0.020")
    assert (rows["block 2"].attention, rows["block 2"].mlp, rows["block 2"].total) == ("1.700", "2.400", "4.120")
    assert rows["classifier head"].tokens == "9"


def test_prefix_tokens_are_counted() -> None:
    view = report_view(merge_manifest(), {**merge_tokens(), "num_prefix": 2}, None).tokens
    assert view is not None and (view.bars[0].tokens, view.bars[0].note) == (18, "16 patches and 2 prefix tokens")


def test_a_diffusion_block_has_positions_and_no_head() -> None:
    report = report_view(latent_manifest(), latent_tokens(), None)
    facts, view = dict(report.facts), report.tokens
    assert facts["Input"] == "float32 1 x 64 x 32; context: float32 1 x 7 x 24"
    assert facts["Latent grid"] == "8 x 8"
    assert (
        facts["Reduction"]
        == "32 tokens merged in block 1, into one token of every 2 x 2 cell, around every residual branch"
    )
    assert report.checks == ()
    assert view is not None
    assert [(bar.label, bar.tokens, bar.note) for bar in view.bars] == [
        ("latent", 64, "positions"),
        ("block 1", 64, "merged 32, unmerged after"),
        ("output", 64, ""),
    ]
    assert [row.label for row in view.rows] == ["block 1", "sum"]
    assert view.path == "64 → 32 → 64 tokens"


def test_clips_and_spectrograms() -> None:
    entry = {**merge_manifest()["input"], "preprocess": None, "dtype": "float32"}
    clip = {**entry, "shape": [1, 3, 16, 64, 64], "frames": 16}
    facts = dict(report_view({**merge_manifest(), "input": clip}, None, None).facts)
    assert facts["Input"] == "float32 1 x 3 x 16 x 64 x 64, RGB, taken normalised"
    assert facts["Patches"] == "4 x 4 of 16 x 16 pixels, over clips of 16 frames"
    spectrogram = {**entry, "shape": [1, 1, 64, 64], "num_channels": 1}
    facts = dict(report_view({**merge_manifest(), "input": spectrogram}, None, None).facts)
    assert facts["Input"] == "float32 1 x 1 x 64 x 64, taken normalised"


def test_small_work_has_two_decimals() -> None:
    totals = {**merge_tokens()["totals"], "macs": 710_000_000, "dense_macs": 1_260_000_000}
    view = report_view(merge_manifest(), {**merge_tokens(), "totals": totals}, None).tokens
    assert view is not None and view.headline == "0.71 of 1.26 GMAC"


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
