"""The first screen: does it pay, is it right, whose weights; each answer where the figures turn."""

from __future__ import annotations

from typing import Any

import pytest
from measured_cases import bench, orin_bench, verify, work
from report_cases import manifest, parity

from edgeexport.report.bundle_files import BundleFiles
from edgeexport.report.first_view import FirstView
from edgeexport.report.report_view import report_view


def first(files: BundleFiles) -> FirstView:
    return report_view(files).first


def pays(*times: tuple[float, float], macs: tuple[int, int] = (3 * 10**9, 4 * 10**9)) -> dict[str, Any]:
    """The manifest's ``pays``: (reduced, dense) ms of MAXN, 50W, ..."""
    rows = [
        {
            "precision": "fp32",
            "power_mode": mode,
            "reduced_ms": reduced,
            "dense_ms": dense,
            "reduced_cuda_graph_ms": reduced,
            "dense_cuda_graph_ms": dense,
        }
        for mode, (reduced, dense) in zip(("MAXN", "50W", "30W"), times, strict=False)
    ]
    other = [{**row, "precision": "fp16", "reduced_ms": 99.0} for row in rows]
    kernels = {"fp32": {"reduced": 30, "dense": 20}, "fp16": {"reduced": 3, "dense": 2}}
    return {
        "provenance": "predicted",
        "macs": {"reduced": macs[0], "dense": macs[1]},
        "composed": False,
        "kernels": kernels if rows else {},
        "predicted": [*other, *rows],
    }


@pytest.mark.parametrize(
    ("times", "word", "tone", "warns", "says"),
    [
        (
            ((1.0, 2.0), (2.0, 3.0)),
            "yes",
            "passed",
            (),
            "Predicted 1.50 to 2.00 times as fast as its dense model in FP32",
        ),
        (((2.0, 1.0), (3.0, 2.0)), "no", "warning", (0, 1), "slower than its dense model in FP32 in every power mode"),
        (((2.0, 1.0), (2.0, 3.0)), "in part", "warning", (0,), "predicted slower in MAXN and faster in 50W"),
        (((2.0, 2.0), (3.0, 3.01)), "no difference", "warning", (0, 1), "within 0.5%"),
        (((2.0, 2.0), (2.0, 3.0)), "in part", "warning", (0,), "predicted faster in 50W"),
    ],
)
def test_whether_it_pays_is_of_the_bundles_precision(
    times: tuple[tuple[float, float], ...], word: str, tone: str, warns: tuple[int, ...], says: str
) -> None:
    view = first(BundleFiles(manifest(pays=pays(*times))))
    assert (view.pays.word, view.pays.tone) == (word, tone) and says in view.pays.text
    assert "3.00 of 4.00 GMAC (computed), 30 kernels beside 20" in view.pays.text
    assert view.times is not None and view.beside and view.times.warns == warns
    assert [row[0] for row in view.times.rows] == ["MAXN", "50W"]


def test_without_times_the_answer_is_not_yes() -> None:
    less = first(BundleFiles(manifest(pays=pays()))).pays
    assert (less.word, less.tone) == ("not known", "none") and "3.00 of 4.00 GMAC" in less.text
    more = first(BundleFiles(manifest(pays=pays(macs=(5 * 10**9, 4 * 10**9))))).pays
    assert (more.word, more.tone) == ("costs more products", "warning")
    roofline = first(BundleFiles(manifest(pays=pays()), work=work()))
    assert roofline.times is not None and not roofline.beside
    dense = first(BundleFiles(manifest(pays=None, num_shared=0, prune=[])))
    assert dense.pays.word == "dense" and "No time is predicted" in dense.pays.text and dense.times is None


def test_is_it_right_in_a_sentence() -> None:
    failed = first(BundleFiles(manifest(), parity=parity())).right
    assert (failed.word, failed.tone) == ("no", "failed")
    assert "1 of 2 comparisons failed; the first: fixed torch against exported graph, on chelsea.jpg" in failed.text
    comparisons = [parity()["comparisons"][0]]
    passed = first(BundleFiles(manifest(), parity={**parity(), "comparisons": comparisons})).right
    assert passed.tone == "passed"
    assert passed.text == (
        "1 comparison on 1 input passed: 1 of 1 token decision equal, all pixels equal, largest absolute error 1.1e-06."
    )
    skipped = {**parity(), "comparisons": [*comparisons, parity()["comparisons"][2]]}
    assert "1 comparison could not be made" in first(BundleFiles(manifest(), parity=skipped)).right.text
    none = first(BundleFiles(manifest())).right
    assert (none.word, none.tone) == ("not known", "warning")


def test_a_verification_that_failed_later_counts() -> None:
    comparisons = {**parity(), "comparisons": parity()["comparisons"][:1]}
    later = first(BundleFiles(manifest(), parity=comparisons, verify={**verify(), "status": "failed"})).right
    assert later.tone == "failed" and "Verified after the build by TensorRT" in later.text


def test_measured_stands_only_where_something_was() -> None:
    assert first(BundleFiles(manifest())).measured == ""
    alone = first(BundleFiles(manifest(), bench=bench())).measured
    assert alone.startswith("9.50 ms at the median, on Some CPU")
    assert "1.50 times as fast as tiny_dense" in first(BundleFiles(manifest(), bench=orin_bench())).measured


def test_weights_and_what_it_is() -> None:
    random = first(BundleFiles(manifest()))
    assert (random.weights.word, random.weights.tone) == ("random", "warning")
    assert random.what == (
        "For Jetson AGX Orin 64GB in FP32: image of 64 x 64 x 3 to class_map of 64 x 64. "
        "Reduction: 2 shared windows; 3 tokens pruned after block 1."
    )
    weights = {"origin": "checkpoint", "file": "x.pth", "sha256": "cd" * 32, "statement": "weights of x.pth"}
    trained = first(BundleFiles(manifest(weights=weights))).weights
    assert (trained.word, trained.text) == ("trained", "Weights of x.pth, sha256 cdcdcdcdcdcd…")
