from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from measured_cases import bench, engine, orin_bench, verify, work
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

from edgeexport.backends.contract import EngineRecord
from edgeexport.report.bundle_files import BundleFiles
from edgeexport.report.comparison_view import comparison_view
from edgeexport.report.report_view import ReportView
from edgeexport.report.report_view import report_view as view_of_files
from edgeexport.verify.compare import Comparison, DecisionDifference
from edgeexport.verify.reference import FOLLOWED


def report_view(manifest: dict[str, Any], tokens: dict[str, Any] | None, parity: dict[str, Any] | None) -> ReportView:
    """Of a bundle with these files alone."""
    return view_of_files(BundleFiles(manifest, tokens, parity))


def test_facts_and_weights() -> None:
    view = report_view(manifest(), None, None)
    assert (view.weights, view.random_weights) == (STATEMENT, True)
    facts = dict(view.facts)
    assert facts["Target"] == "orin, fp32"
    assert facts["Input"] == "uint8 1 x 64 x 64 x 3, BGR, normalised in the graph"
    assert facts["Output"] == "class_map: int32 1 x 64 x 64"
    assert facts["Reduction"] == "2 shared windows; 3 tokens pruned after block 1"
    assert view.tokens is None and view.comparisons == ()
    assert view.checkpoint == (("origin of the weights", "random"), ("seed of the weights", "0"))
    assert view.engine is None and view.verify is None and view.bench is None and "edgeexport profile" in view.no_bench


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
    assert view.checkpoint == (
        ("origin of the weights", "checkpoint"),
        ("checkpoint file", "x.pth"),
        ("checkpoint sha256", "cd" * 32),
    )
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


def test_conversion_to_half_precision_is_told() -> None:
    half = {"nodes": 900, "half_nodes": 300, "casts": 40, "half_weights": 5_000_000}
    half |= {"subnormal_weights": 1200, "zeroed_weights": 7}
    (row,) = report_view(manifest(checks={"half_precision": {"status": "converted", **half}}), None, None).checks
    assert (row.name, row.status) == ("Products in float16", "converted")
    assert row.detail.startswith("300 of 900 nodes, 40 casts, 5,000,000 weights, of which 1,200 below float16's")
    assert "(7 became 0)" in row.detail


def test_scores_have_no_class_map_check() -> None:
    assert report_view(manifest(checks={"tail": {"form": "none"}, "lint": None}), None, None).checks == ()


def test_token_schedule_and_work() -> None:
    view = report_view(manifest(), tokens(), None).tokens
    assert view is not None and view.provenance == "computed"
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
    assert (view.path, view.path_ends) == ("17 → 9 tokens", "from the patches to the final head")
    rows = {row.label: row for row in view.rows}
    assert list(rows) == ["patch embedding", "block 1", "block 2", "block 3", "classifier head", "sum"]
    assert view.matching and (rows["block 1"].matching, rows["block 2"].matching) == ("0", "0.020")
    assert (rows["block 2"].attention, rows["block 2"].mlp, rows["block 2"].total) == ("1.700", "2.400", "4.120")
    assert rows["classifier head"].tokens == "9"


def test_prefix_tokens_are_counted() -> None:
    chart = report_view(merge_manifest(), {**merge_tokens(), "num_prefix": 2}, None).token_chart
    assert chart is not None and "16 patches and 2 prefix tokens" in chart.note


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
    assert report.token_chart is not None and "64 positions" in report.token_chart.note
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
    assert (passed.status, passed.pair, passed.images) == ("passed", "torch original against torch fixed", "coffee.jpg")
    assert [(value.name, value.status, value.figures) for value in passed.decisions] == [
        ("shared_windows", "passed", "same 104 chosen (Jaccard 1); score margin at the cut 0.0013"),
    ]
    assert [(value.name, value.status, value.figures) for value in passed.outputs] == [
        ("token_scores", "passed", "max abs 1.1e-06, max rel 3e-05, cosine 1.000000000"),
        ("class_map", "passed", "all pixels equal"),
    ]
    assert passed.facts == (("thresholds", '[{"6": 0.5}]'),)
    assert [(value.status, value.figures) for value in (*failed.decisions, *failed.outputs)] == [
        ("failed", "2 of 144 differ, Jaccard 0.9862; score margin at the cut 0.0003"),
        ("failed", "99.90000 % of pixels equal, 1,262 differ, 7 of them no near tie"),
        ("failed", "shapes differ"),
    ]
    assert (skipped.status, skipped.reason, skipped.decisions, skipped.outputs) == (
        "not-applicable",
        "a near tie",
        (),
        (),
    )


def test_measured_and_predicted_parts_share_a_chart_on_the_same_device_alone() -> None:
    files = BundleFiles(manifest(), tokens(), work=work(), bench=orin_bench())
    (together,) = view_of_files(files).layers
    assert together.provenance == ("measured", "predicted") and "predicted ms" in together.chart.table.headers
    assert together.note.startswith(
        "On TEST DATA Jetson AGX Orin, power mode MODE_30W, tensorrt 10.3.0: mean of 10 runs"
    )
    assert "97.5 % of the time could be placed, 10.0 % was divided" in together.note
    one, two = view_of_files(replace(files, bench=bench())).layers
    assert (one.provenance, two.provenance) == (("measured",), ("predicted",))
    assert "predicted ms" not in one.chart.table.headers and "measured ms" not in two.chart.table.headers
    (alone,) = view_of_files(replace(files, bench=None)).layers
    assert alone.provenance == ("predicted",) and "MAXN; no measurement" in alone.note
    assert view_of_files(BundleFiles(manifest(target="cpu"), tokens(), work=work())).layers == ()


def test_parts_whose_times_were_divided_are_an_estimate() -> None:
    layers = {**orin_bench()["layers"], "provenance": "estimate"}
    (view,) = view_of_files(BundleFiles(manifest(), tokens(), work=work(), bench=orin_bench(layers=layers))).layers
    assert view.provenance == ("estimate", "predicted") and "Estimated time of each part" in view.chart.svg


def test_files_of_other_schemas_are_not_read_as_ours() -> None:
    view = view_of_files(BundleFiles(manifest(), bench={"schema": "edgeexport.bench/9"}))
    assert view.bench is None and "'edgeexport.bench/9'" in view.no_bench
    layers = {"schema": "edgeexport.layers/9"}
    assert view_of_files(BundleFiles(manifest(), bench=bench(layers=layers))).layers == ()
    assert view_of_files(BundleFiles(manifest(), bench=bench(layers=None))).bench is not None


def test_verify_is_shown_with_what_was_executed() -> None:
    view = view_of_files(BundleFiles(manifest(), verify=verify("incomplete"))).verify
    assert view is not None and (view.status, view.runner) == ("incomplete", "TensorRT 10.3.0")
    assert view.original_not_run == "torch is not installed" and len(view.comparisons) == 1


def test_verify_of_what_is_gone_is_no_pass() -> None:
    record = EngineRecord.from_dict(engine())
    found = verify() | {"engine": "engine.plan", "engine_sha256": "34" * 32, "manifest_sha256": "ab" * 32}
    files = BundleFiles(manifest(), verify=found, engine=record, manifest_sha256="ab" * 32)

    def view(**changes: object) -> tuple[str, str]:
        shown = view_of_files(replace(files, **changes)).verify
        assert shown is not None
        return shown.status, shown.runner

    assert view() == ("passed", "TensorRT 10.3.0")
    status, runner = view(verify={**found, "engine_sha256": "99" * 32})
    assert status == "of-an-earlier-engine"
    assert runner == (
        "TensorRT 10.3.0: of an earlier engine (engine.plan 999999999999..., now 343434343434...), passed then"
    )
    assert view(manifest_sha256="cd" * 32)[0] == "of-an-earlier-engine"
    status, runner = view(verify={**found, "engine": "model.onnx", "engine_sha256": None})
    assert status == "of-model.onnx-alone" and "not of engine.plan" in runner
    assert view(verify={**found, "status": "failed", "engine_sha256": "99" * 32})[0] == "failed"


def test_what_was_not_verified_is_explained() -> None:
    shown = view_of_files(
        BundleFiles(manifest(), verify=verify("incomplete") | {"explanation": "2 of 2 passed"})
    ).verify
    assert shown is not None and shown.original_not_run == "torch is not installed; 2 of 2 passed"


def _decisions(*found: DecisionDifference, **facts: object) -> list[tuple[str, str]]:
    comparison = Comparison("c", "a", "b", ("x.jpg",), "passed", decisions=found, facts=facts)
    return [(item.status, item.figures) for item in comparison_view(comparison.as_dict()).decisions]


def _decision(farthest: float | None, image: int = 0) -> DecisionDifference:
    equal = farthest is None
    return DecisionDifference("s", equal, 1.0 if equal else 0.9, 20, 0 if equal else 2, 0.1, farthest, image, 1e-3)


def test_a_near_tie_is_no_failed_decision() -> None:
    """Of float16: the reference followed the other choice, and the comparison passed."""
    rows = _decisions(_decision(None), _decision(5e-4), _decision(2e-4), **{FOLLOWED: {"s": 2}})
    assert [status for status, _ in rows] == ["passed", "near-tie", "near-tie"]
    assert rows[1][1].endswith("; 0.0005 from the reference's order, up to 0.001 is rounding")
    assert [status for status, _ in _decisions(_decision(2e-3), _decision(5e-4), **{FOLLOWED: {"s": 2}})] == [
        "failed",
        "near-tie",
    ]


def test_what_follows_from_a_difference_is_not_judged() -> None:
    rows = _decisions(_decision(5e-4), _decision(0.5), _decision(0.5, image=1), _decision(math.inf, image=2))
    assert [status for status, _ in rows] == ["near-tie", "not-judged", "failed", "failed"]
    assert rows[1][1].endswith("; follows from an earlier difference")
